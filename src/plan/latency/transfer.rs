//! Curves for machines that were not measured: a calibration carried over, or
//! what the model asks of a GPU, by the predictors that were learnt from
//! published measurements ([`crate::plan::transfer`]).
//!
//! This module knows which sessions a machine can be divided into and joins the
//! predicted means with what only a calibration knows: how much single
//! inferences vary, and what waiting does.

use super::curve::{BatchPoint, LatencyCurve};
use crate::{
    estimate::{Estimate, Source},
    plan::transfer::{
        CpuMeasured, CpuPoint, CpuTarget, Element, Fitted, Predicted, Work, WorkKind,
    },
    profile::{
        calibration::{ModelClass, ModelSummary, SessionLayout},
        hardware::{CpuSpec, GpuSpec},
        hardware_book::HardwareBook,
    },
    units::Time,
};
use std::sync::Arc;

/// Threads of one session beyond which the sweep does not go: more instances
/// serve better.
const MOST_THREADS: u32 = 16;

/// Copies between host and device, which published tables leave out: `PCIe` 3.0 ×
/// 16 as pageable memory reaches it, and what a synchronous round trip costs.
const PCIE_BYTES_PER_S: f64 = 6e9;
const COPY_SECONDS: f64 = 30e-6;

/// Measured curves and the machine that they were measured on.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredOn<'m> {
    /// Its processor.
    pub cpu: &'m CpuSpec,
    /// Logical processors that were used.
    pub threads: u32,
    /// Name for people.
    pub name: &'m str,
    /// What was measured.
    pub curves: &'m [LatencyCurve],
}

/// A processor and how many of its vCPUs a machine has.
#[derive(Debug, Clone, Copy)]
pub struct Processor<'t> {
    /// Its figures.
    pub cpu: &'t CpuSpec,
    /// vCPUs of the machine.
    pub vcpus: u32,
}

impl Processor<'_> {
    /// Physical cores behind the vCPUs, at least one.
    #[must_use]
    pub fn cores(&self) -> u32 {
        (self.vcpus / self.cpu.threads_per_core.max(1)).max(1)
    }

    /// One layout per number of threads, powers of two up to all cores, with as
    /// many instances as fill the machine.
    fn layouts(&self) -> Vec<SessionLayout> {
        let cores = self.cores();
        let mut threads: Vec<u32> = std::iter::successors(Some(1_u32), |t| t.checked_mul(2))
            .take_while(|t| *t <= cores.min(MOST_THREADS))
            .collect();
        if cores <= MOST_THREADS && threads.last() != Some(&cores) {
            threads.push(cores);
        }
        threads
            .into_iter()
            .map(|intra_op_threads| SessionLayout {
                instances: (cores / intra_op_threads).max(1),
                intra_op_threads,
                spinning: false,
            })
            .collect()
    }
}

/// What a model asks of a device, from its facts.
#[must_use]
pub fn work(facts: &ModelSummary) -> Work {
    Work {
        kind: match facts.class {
            ModelClass::Transformer => WorkKind::Transformer,
            ModelClass::Convolutional => WorkKind::Convolutional,
            ModelClass::Dense => WorkKind::Dense,
            ModelClass::TreeEnsemble | ModelClass::Other => WorkKind::Other,
        },
        element: Element::of(facts.weight_bytes, facts.parameters.get()),
        flops: facts.flops_per_item,
        weight_bytes: facts.weight_bytes,
        activation_bytes: facts.activation_bytes_per_item,
        operators: facts.operators,
        max_batch: facts.max_batch,
    }
}

/// Carries the curves of a CPU calibration over to another CPU machine.
#[must_use]
pub fn to_cpu(
    fitted: &Fitted,
    facts: &ModelSummary,
    from: MeasuredOn<'_>,
    target: Processor<'_>,
) -> Vec<LatencyCurve> {
    let points = measured_points(from.curves);
    let measured = CpuMeasured {
        cpu: from.cpu,
        vcpus: from.threads,
        name: from.name,
        points: &points,
    };
    let work = work(facts);
    target
        .layouts()
        .into_iter()
        .filter_map(|layout| {
            let there = CpuTarget {
                cpu: target.cpu,
                vcpus: target.vcpus,
                instances: layout.instances,
                threads: layout.intra_op_threads,
            };
            let predicted = fitted.on_cpu(&work, measured, there)?;
            cpu_curve(from.curves, layout, predicted.points)
        })
        .collect()
}

/// Mean service times of all layouts; those with spinning threads only where
/// nothing else was measured, since transferred layouts do not spin.
fn measured_points(curves: &[LatencyCurve]) -> Vec<CpuPoint> {
    let still = curves.iter().any(|curve| !curve.layout.spinning);
    curves
        .iter()
        .filter(|curve| !(still && curve.layout.spinning))
        .flat_map(|curve| {
            curve.points.iter().map(|point| CpuPoint {
                instances: curve.layout.instances,
                threads: curve.layout.intra_op_threads,
                batch_size: point.batch_size,
                time: point.busy.value,
            })
        })
        .collect()
}

/// Joins predicted means with what the nearest measured layout knows.
fn cpu_curve(
    measured: &[LatencyCurve],
    layout: SessionLayout,
    predicted: Vec<Predicted>,
) -> Option<LatencyCurve> {
    let apart = |curve: &&LatencyCurve| {
        curve
            .layout
            .intra_op_threads
            .abs_diff(layout.intra_op_threads)
    };
    let alone = || measured.iter().filter(|curve| curve.layout.instances == 1);
    let base = alone().min_by_key(apart)?;
    let source = predicted.first()?.busy.source.clone();
    let points = predicted
        .into_iter()
        .map(|predicted| {
            let like = base.point(predicted.batch_size);
            // What the measuring itself left open comes on top.
            let open = like.map_or(1.0, |point| {
                point.busy.high.ratio(point.busy.value).max(1.0)
            });
            let mut busy = predicted.busy;
            busy.high = busy.high.scaled(open);
            BatchPoint {
                batch_size: predicted.batch_size,
                busy,
                alone: predicted.alone,
                relative: like.map_or_else(|| Arc::from([1.0]), |p| Arc::clone(&p.relative)),
            }
        })
        .collect();
    Some(LatencyCurve {
        layout,
        points,
        // Cold caches and sleeping threads are much the same on another processor.
        idle: alone()
            .find(|curve| curve.layout.intra_op_threads == layout.intra_op_threads)
            .map(|curve| curve.idle.clone())
            .unwrap_or_default(),
        hold_ups: base.hold_ups.clone(),
        interference: base.interference.clone(),
        source,
    })
}

/// The curve of a model on `count` GPUs from its arithmetic, bytes and operators,
/// or from published curves of the same work; none where ONNX Runtime's CUDA
/// provider cannot run it well: other vendors' devices, tree ensembles, for which
/// it has no kernel, and weights that are not in single precision, of which
/// nothing was learnt.
#[must_use]
pub fn to_gpu(
    (fitted, hardware): (&Fitted, &HardwareBook),
    facts: &ModelSummary,
    (gpu, count): (&GpuSpec, u32),
) -> Option<LatencyCurve> {
    if facts.class == ModelClass::TreeEnsemble {
        return None;
    }
    let mut predicted = fitted.on_gpu(&work(facts), gpu, hardware)?.points;
    for point in &mut predicted {
        let bytes = facts.io_bytes_per_item.get() as f64 * f64::from(point.batch_size);
        let copies = Time::saturating(2.0 * COPY_SECONDS + bytes / PCIE_BYTES_PER_S);
        point.alone = point.alone + copies;
        let busy = &point.busy;
        point.busy = Estimate::new(
            busy.value + copies,
            (busy.low + copies, busy.high + copies),
            busy.level,
            busy.source.clone(),
        );
    }
    gpu_curve(predicted, count, &[])
}

/// The curve on `count` GPUs of another type, from curves measured on one GPU.
#[must_use]
pub fn gpu_to_gpu(
    fitted: &Fitted,
    (measured, from): (&[LatencyCurve], &GpuSpec),
    (gpu, count): (&GpuSpec, u32),
) -> Option<LatencyCurve> {
    let alone = measured.iter().find(|curve| curve.layout.instances == 1)?;
    let times: Vec<(u32, Time)> = alone
        .points
        .iter()
        .map(|point| (point.batch_size, point.busy.value))
        .collect();
    let predicted = fitted.gpu_to_gpu(&times, from, gpu)?.points;
    gpu_curve(predicted, count, &alone.points)
}

/// A measured curve of one GPU as that of `count` of them, which do not disturb
/// each other.
#[must_use]
pub fn on_gpus(measured: &[LatencyCurve], count: u32, source: &Source) -> Vec<LatencyCurve> {
    measured
        .iter()
        .map(|curve| {
            let mut curve = curve.clone();
            curve.layout.instances = curve.layout.instances.saturating_mul(count.max(1));
            curve.source = source.clone();
            for point in &mut curve.points {
                point.busy.source = source.clone();
            }
            curve
        })
        .collect()
}

fn gpu_curve(
    predicted: Vec<Predicted>,
    count: u32,
    measured: &[BatchPoint],
) -> Option<LatencyCurve> {
    let source = predicted.first()?.busy.source.clone();
    let points = predicted
        .into_iter()
        .map(|predicted| BatchPoint {
            batch_size: predicted.batch_size,
            busy: predicted.busy,
            alone: predicted.alone,
            // A GPU's service time hardly varies; the interval's width is what
            // matters where nothing was measured.
            relative: measured
                .iter()
                .find(|point| point.batch_size == predicted.batch_size)
                .map_or_else(|| Arc::from([1.0]), |point| Arc::clone(&point.relative)),
        })
        .collect();
    Some(LatencyCurve {
        // One instance on each GPU; they do not disturb each other.
        layout: SessionLayout {
            instances: count.max(1),
            intra_op_threads: 1,
            spinning: false,
        },
        points,
        idle: Vec::new(),
        hold_ups: None,
        interference: None,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::example;

    fn book() -> HardwareBook {
        HardwareBook::shipped().unwrap()
    }

    fn curves(rows: &[((u32, u32), u32, f64)]) -> Vec<LatencyCurve> {
        LatencyCurve::from_calibration(&example(rows), &Source::Measured).unwrap()
    }

    fn facts(rows: &[((u32, u32), u32, f64)]) -> ModelSummary {
        example(rows).model
    }

    #[test]
    fn a_machine_is_divided_into_powers_of_two_and_all_its_cores() {
        let book = book();
        let of = |name: &str, vcpus| {
            let cpu = book.cpu(name).unwrap();
            Processor { cpu, vcpus }
                .layouts()
                .iter()
                .map(|l| (l.instances, l.intra_op_threads))
                .collect::<Vec<_>>()
        };
        // Two hyperthreads are one core; an Arm vCPU is one.
        assert_eq!(of("aws/c7i", 2), [(1, 1)]);
        assert_eq!(of("aws/c7g", 2), [(2, 1), (1, 2)]);
        assert_eq!(of("aws/c7i", 12), [(6, 1), (3, 2), (1, 4), (1, 6)]);
        assert_eq!(
            of("aws/c7i", 192),
            [(96, 1), (48, 2), (24, 4), (12, 8), (6, 16)]
        );
    }

    #[test]
    fn what_gained_nothing_from_threads_here_gains_nothing_there() {
        let rows = [((1, 1), 1, 4e-6), ((1, 2), 1, 5e-6)];
        let book = book();
        let fitted = Fitted::shipped().unwrap();
        let measured = curves(&rows);
        let cpu = book.cpu("aws/c8a").unwrap();
        let from = MeasuredOn {
            cpu,
            threads: 2,
            name: "here",
            curves: &measured,
        };
        let there = to_cpu(&fitted, &facts(&rows), from, Processor { cpu, vcpus: 16 });
        let least = there
            .iter()
            .map(|curve| curve.points[0].alone.get())
            .fold(f64::INFINITY, f64::min);
        assert!((least - 4e-6).abs() < 0.5e-6, "{least}");
    }

    #[test]
    fn intervals_grow_with_the_distance_and_keep_what_measuring_left_open() {
        let rows = [((1, 1), 1, 0.1), ((1, 2), 1, 0.055)];
        let book = book();
        let fitted = Fitted::shipped().unwrap();
        let measured = curves(&rows);
        let here = book.cpu("aws/c8a").unwrap();
        let from = MeasuredOn {
            cpu: here,
            threads: 2,
            name: "here",
            curves: &measured,
        };
        let width = |name: &str, vcpus| {
            let cpu = book.cpu(name).unwrap();
            let curves = to_cpu(&fitted, &facts(&rows), from, Processor { cpu, vcpus });
            let last = &curves.last().unwrap().points[0].busy;
            last.high.ratio(last.low)
        };
        let near = width("aws/c8a", 2);
        assert!(near < width("aws/c8a", 16));
        assert!(near < width("aws/c7i", 4));
        assert!(width("aws/c7i", 4) < width("aws/c7i", 32));
    }

    #[test]
    fn several_gpus_are_as_many_instances_and_eight_bits_are_not_guessed_at() {
        let mut model = facts(&[((1, 1), 1, 0.1)]);
        let book = book();
        let fitted = Fitted::shipped().unwrap();
        let gpu = book.gpu("L4").unwrap();
        let curve = to_gpu((&fitted, &book), &model, (gpu, 4));
        // One MiB of weights for one parameter is no number format below 32 bits.
        assert_eq!(curve.unwrap().layout.instances, 4);
        model.parameters = crate::units::Count::new(model.weight_bytes.get());
        assert!(to_gpu((&fitted, &book), &model, (gpu, 1)).is_none());
    }
}
