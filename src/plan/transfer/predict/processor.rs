//! Service times on a processor, carried over from those measured on another.

use super::{Element, Predicted, Prediction, UNLIKE_ANY, Work, WorkKind};
use crate::{
    estimate::{Estimate, Source},
    plan::transfer::{
        cloud::{bandwidth, columns},
        conformal::LEVEL,
        evaluate::difficulty,
        fitted::Fitted,
        linear::median,
    },
    profile::hardware::CpuSpec,
    units::{Bandwidth, Fraction, Time},
};

/// Weights up to this stay in a cache from one inference to the next: about what
/// one core's share and a shared cache hold on servers.
const CACHED_WEIGHTS: f64 = 32e6;

/// What handing one operator of a graph to the runtime costs, whatever it computes:
/// the seven operators of a small perceptron take 4 µs in all, its arithmetic included.
const DISPATCH: f64 = 0.4e-6;

/// Share of the time on one thread below which more threads count as a gain.
const GAIN: f64 = 0.95;

/// What was measured on a processor.
#[derive(Debug, Clone, Copy)]
pub struct CpuMeasured<'m> {
    /// The processor.
    pub cpu: &'m CpuSpec,
    /// Logical processors of the machine.
    pub vcpus: u32,
    /// Its name for people.
    pub name: &'m str,
    /// Mean service times.
    pub points: &'m [CpuPoint],
}

/// A mean service time, all instances busy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuPoint {
    /// Sessions that ran at the same time.
    pub instances: u32,
    /// Threads of each.
    pub threads: u32,
    /// Items per inference.
    pub batch_size: u32,
    /// What one inference took.
    pub time: Time,
}

/// A machine and how sessions share it.
#[derive(Debug, Clone, Copy)]
pub struct CpuTarget<'t> {
    /// Its processor.
    pub cpu: &'t CpuSpec,
    /// vCPUs of the machine.
    pub vcpus: u32,
    /// Sessions that run at the same time.
    pub instances: u32,
    /// Threads of each, on a core of its own.
    pub threads: u32,
}

impl Fitted {
    /// Service times on a machine with another processor, size or layout; none
    /// where nothing was measured with one instance.
    #[must_use]
    pub fn on_cpu(
        &self,
        work: &Work,
        from: CpuMeasured<'_>,
        target: CpuTarget<'_>,
    ) -> Option<Prediction> {
        let evidence = self.cpu_sentence(work, (from, target));
        let source = Source::Transferred {
            from: evidence.clone(),
        };
        let crowding = crowding(from.points);
        let wide = self.cpu_half_width(work, (from, target));
        let mut sizes: Vec<u32> = from.points.iter().map(|point| point.batch_size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let points: Vec<Predicted> = sizes
            .into_iter()
            .filter_map(|batch_size| {
                // Where more threads gained nothing here, they gain nothing there.
                let threads = if gains(from.points, batch_size) {
                    target.threads
                } else {
                    1
                };
                let base = nearest(from.points, batch_size, threads)?;
                let there = CpuTarget { threads, ..target };
                let one = CpuTarget {
                    instances: 1,
                    ..there
                };
                let alone = self.carried(work, (from, base), one);
                let busy = if target.instances > 1 {
                    let shared = self.carried(work, (from, base), there);
                    shared.max(alone.scaled(crowding))
                } else {
                    alone
                };
                let ends = (busy.scaled((-wide).exp()), busy.scaled(wide.exp()));
                Some(Predicted {
                    batch_size,
                    busy: Estimate::new(busy, ends, Fraction::saturating(LEVEL), source.clone()),
                    alone: alone.min(busy),
                })
            })
            .collect();
        (!points.is_empty()).then_some(Prediction { points, evidence })
    }

    fn cpu_sentence(
        &self,
        work: &Work,
        (from, target): (CpuMeasured<'_>, CpuTarget<'_>),
    ) -> String {
        let (name, there) = (from.name, &target.cpu.microarchitecture);
        let same = from.cpu.microarchitecture == *there;
        let runs = self.cpu.arithmetic.rows;
        match (work.kind, same) {
            (WorkKind::Other, false) => format!(
                "measured on {name}; carried to {there} by cores and clock alone, with a wider interval, since nothing was published of such work"
            ),
            (WorkKind::Other, true) => {
                format!(
                    "measured on {name}; carried to other sizes of the same design by cores and clock"
                )
            }
            (_, true) => format!(
                "measured on {name}; carried to other sizes of the same design by cores and memory bandwidth, as learnt from {runs} cloud runs"
            ),
            (_, false) => format!(
                "measured on {name}; carried to {there} by cores, core rate and memory bandwidth, as learnt from {runs} cloud runs and OpenVINO's table"
            ),
        }
    }

    /// Half the width of the interval of log time: that of the same or of another
    /// design, growing with how many cores are busy there for one that was here.
    fn cpu_half_width(&self, work: &Work, (from, target): (CpuMeasured<'_>, CpuTarget<'_>)) -> f64 {
        let same = from.cpu.microarchitecture == target.cpu.microarchitecture;
        let wide = if same {
            self.cpu.same_design
        } else {
            self.cpu.other_design
        };
        // Between designs, what was learnt is of single precision and of matrix
        // products; nothing else was published to learn from.
        let unlike = work.kind == WorkKind::Other || work.element == Element::EightBit;
        let unlike = if unlike && !same { UNLIKE_ANY } else { 1.0 };
        let here = from
            .points
            .iter()
            .map(|point| point.instances.saturating_mul(point.threads))
            .max()
            .unwrap_or(1);
        let there = target.instances.saturating_mul(target.threads);
        let cores = f64::from(there.max(1)) / f64::from(here.max(1));
        wide * unlike * difficulty(cores.ln())
    }

    /// The part of the time that memory traffic explains follows the memory
    /// exponents, the rest those of arithmetic.
    fn carried(
        &self,
        work: &Work,
        (from, base): (CpuMeasured<'_>, &CpuPoint),
        target: CpuTarget<'_>,
    ) -> Time {
        let bandwidths = bandwidth(from.cpu, from.vcpus).zip(bandwidth(target.cpu, target.vcpus));
        let place = |threads: u32, cpu: &CpuSpec, bandwidth: Option<Bandwidth>| {
            let bandwidth = bandwidth.map_or(1.0, Bandwidth::get);
            columns(f64::from(threads), core_rate(work, cpu), bandwidth)
        };
        let each = 1.0 / f64::from(target.instances.max(1));
        let here = place(base.threads, from.cpu, bandwidths.map(|(here, _)| here));
        let there = place(
            target.threads,
            target.cpu,
            bandwidths.map(|(_, there)| there.scaled(each)),
        );
        let arithmetic = self.cpu.arithmetic.log_ratio(&here, &there).exp();
        let time = base.time.get().max(1e-9);
        // Handing operators over is one thread's work and follows the clock alone.
        let handing = (f64::from(work.operators) * DISPATCH).min(time);
        let clock = from.cpu.all_core_ghz / target.cpu.all_core_ghz.max(0.1);
        let work_time = time - handing;
        let there_time = match bandwidths {
            None => work_time * arithmetic,
            Some((read, _)) => {
                let weights = work.weight_bytes.get() as f64;
                let traffic = if weights > CACHED_WEIGHTS {
                    weights
                } else {
                    0.0
                } + work.moved_bytes() * f64::from(base.batch_size);
                let share = (traffic / read.get().max(1.0) / time).min(1.0);
                let memory = self.cpu.memory.log_ratio(&here, &there).exp();
                work_time * ((1.0 - share) * arithmetic + share * memory)
            }
        };
        Time::saturating(handing * clock + there_time)
    }
}

/// What one core does of the work in a second: vector arithmetic in single
/// precision or on eight bits (dot products, or the matrix unit where there is
/// one), the clock alone for comparisons and jumps.
fn core_rate(work: &Work, cpu: &CpuSpec) -> f64 {
    let per_cycle = match (work.kind, work.element) {
        (WorkKind::Other, _) => 1.0,
        (_, Element::EightBit) => cpu
            .matrix_int8_op_per_cycle
            .or(cpu.int8_op_per_cycle)
            .unwrap_or(cpu.fp32_flop_per_cycle),
        _ => cpu.fp32_flop_per_cycle,
    };
    (cpu.all_core_ghz * 1e9 * per_cycle).max(1.0)
}

/// Whether more threads made one instance faster at a batch size; yes where only
/// one number of threads was measured.
fn gains(points: &[CpuPoint], batch_size: u32) -> bool {
    let alone = points
        .iter()
        .filter(|point| point.instances == 1 && point.batch_size == batch_size);
    let fewest = alone.clone().min_by_key(|point| point.threads);
    let most = alone.max_by_key(|point| point.threads);
    match (fewest, most) {
        (Some(few), Some(many)) if few.threads < many.threads => {
            many.time.get() < few.time.get() * GAIN
        }
        _ => true,
    }
}

/// How much slower an instance was when the measured machine was full of
/// instances than when it was alone, in the middle of all that were measured both
/// ways; 1 where none was.
fn crowding(points: &[CpuPoint]) -> f64 {
    let ratios: Vec<f64> = points
        .iter()
        .filter(|point| point.instances > 1)
        .filter_map(|point| {
            let alone = points.iter().find(|p| {
                p.instances == 1 && p.threads == point.threads && p.batch_size == point.batch_size
            })?;
            Some(point.time.ratio(alone.time))
        })
        .filter(|ratio| ratio.is_finite())
        .collect();
    median(&ratios).max(1.0)
}

/// The point of one instance with the nearest number of threads.
fn nearest(points: &[CpuPoint], batch_size: u32, threads: u32) -> Option<&CpuPoint> {
    let apart = |point: &CpuPoint| {
        (f64::from(point.threads.max(1)) / f64::from(threads.max(1)))
            .ln()
            .abs()
    };
    points
        .iter()
        .filter(|point| point.instances == 1 && point.batch_size == batch_size)
        .min_by(|a, b| apart(a).total_cmp(&apart(b)))
}
