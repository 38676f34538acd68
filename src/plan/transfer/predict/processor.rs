//! Service times on a processor, carried over from those measured on another.

use super::{Predicted, Prediction, Work};
use crate::{
    estimate::{Estimate, Source},
    plan::transfer::{
        cloud::{bandwidth, columns, core_rate},
        conformal::LEVEL,
        evaluate::difficulty,
        fitted::Fitted,
    },
    profile::hardware::CpuSpec,
    units::{Bandwidth, Fraction, Time},
};

/// Weights up to this stay in a cache from one inference to the next: about what
/// one core's share and a shared cache hold on servers.
const CACHED_WEIGHTS: f64 = 32e6;

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
        let same = from.cpu.microarchitecture == target.cpu.microarchitecture;
        let runs = self.cpu.arithmetic.rows;
        let kind = if same {
            "of the same design"
        } else {
            "of another design"
        };
        let evidence = format!(
            "measured on {}; carried to {} {kind} by cores, core rate and memory bandwidth, as {runs} cloud runs and OpenVINO's table show",
            from.name, target.cpu.microarchitecture
        );
        let source = Source::Transferred {
            from: evidence.clone(),
        };
        let crowding = crowding(from.points);
        let mut sizes: Vec<u32> = from.points.iter().map(|point| point.batch_size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let points: Vec<Predicted> = sizes
            .into_iter()
            .filter_map(|batch_size| {
                let base = nearest(from.points, batch_size, target.threads)?;
                let alone = self.carried(
                    work,
                    (from, base),
                    CpuTarget {
                        instances: 1,
                        ..target
                    },
                );
                let shared = self.carried(work, (from, base), target);
                let busy = if target.instances > 1 {
                    shared.max(alone.scaled(crowding))
                } else {
                    alone
                };
                let cores = f64::from(target.threads.max(1)) / f64::from(base.threads.max(1));
                let wide = if same {
                    self.cpu.same_design
                } else {
                    self.cpu.other_design
                };
                let half = wide * difficulty(cores.ln());
                let ends = (busy.scaled((-half).exp()), busy.scaled(half.exp()));
                Some(Predicted {
                    batch_size,
                    busy: Estimate::new(busy, ends, Fraction::saturating(LEVEL), source.clone()),
                    alone: alone.min(busy),
                })
            })
            .collect();
        (!points.is_empty()).then_some(Prediction { points, evidence })
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
            columns(f64::from(threads), core_rate(cpu), bandwidth)
        };
        let each = 1.0 / f64::from(target.instances.max(1));
        let here = place(base.threads, from.cpu, bandwidths.map(|(here, _)| here));
        let there = place(
            target.threads,
            target.cpu,
            bandwidths.map(|(_, there)| there.scaled(each)),
        );
        let arithmetic = self.cpu.arithmetic.log_ratio(&here, &there).exp();
        let Some((read, _)) = bandwidths else {
            return base.time.scaled(arithmetic);
        };
        let weights = work.weight_bytes.get() as f64;
        let traffic = if weights > CACHED_WEIGHTS {
            weights
        } else {
            0.0
        } + work.moved_bytes() * f64::from(base.batch_size);
        let share = (traffic / read.get().max(1.0) / base.time.get().max(1e-9)).min(1.0);
        let memory = self.cpu.memory.log_ratio(&here, &there).exp();
        base.time
            .scaled((1.0 - share) * arithmetic + share * memory)
    }
}

/// How much slower an instance was when the measured machine was full of
/// instances than when it was alone; 1 where that was not measured.
fn crowding(points: &[CpuPoint]) -> f64 {
    points
        .iter()
        .filter(|point| point.instances > 1)
        .filter_map(|point| {
            let alone = points.iter().find(|p| {
                p.instances == 1 && p.threads == point.threads && p.batch_size == point.batch_size
            })?;
            Some(point.time.ratio(alone.time))
        })
        .filter(|ratio| ratio.is_finite())
        .fold(1.0, f64::max)
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
