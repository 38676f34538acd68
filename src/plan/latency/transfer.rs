//! Carrying a calibration over to other hardware.
//!
//! A CPU curve is the measured one, scaled by cores, clock, instruction set and
//! memory bandwidth. A GPU curve comes from the model's arithmetic and bytes and
//! the GPU's datasheet, since a CPU calibration says nothing about a GPU's speed.
//! Both are marked as transferred and carry a wide interval; a calibration taken
//! on the target takes their place.

use super::curve::{BatchPoint, LatencyCurve};
use crate::{
    estimate::{Estimate, Source},
    profile::{
        calibration::{ModelClass, ModelSummary, SessionLayout},
        hardware::{CpuSpec, GpuSpec},
    },
    units::{Bandwidth, Bytes, FlopRate, Fraction, Time},
};
use std::sync::Arc;

/// Share of cases that the intervals below are meant to hold.
const LEVEL: f64 = 0.9;

/// How far a CPU transfer may be off, as a factor both ways.
///
/// Datasheet ratios (the square root of FLOPs times bandwidth) are off by 73 %
/// at the 95th percentile over published pairs of devices.
const CPU_FACTOR: f64 = 1.73;

/// The same between machines of one microarchitecture, where only clock, cache
/// share and neighbours differ.
const SAME_CPU_FACTOR: f64 = 1.35;

/// What each doubling of threads beyond those measured adds to the upper end.
const PER_UNMEASURED_DOUBLING: f64 = 0.12;

/// How far a GPU estimate from FLOPs and bytes may be off, as a factor both ways.
///
/// Models never measured on a device are off by 67–124 % at the 95th percentile
/// over published tables (timm, NVIDIA, `MLPerf`).
const GPU_FACTOR: f64 = 2.2;

/// Share of the vector (non-tensor) single-precision peak reached by large
/// batches: 0.41–0.43 on T4 and V100 for `ResNet-50` in NVIDIA's published tables.
const FP32_EFFICIENCY: f64 = 0.42;

/// Share of the dense TF32 tensor peak reached by large batches: 0.33–0.34 on
/// A10 for `ResNet-50` in NVIDIA's published tables. ONNX Runtime's CUDA provider
/// uses TF32 for single-precision products by default.
const TF32_EFFICIENCY: f64 = 0.33;

/// Share of the datasheet's memory bandwidth that streaming kernels reach.
const BANDWIDTH_EFFICIENCY: f64 = 0.75;

/// Cost of one kernel launch in a stream of dependent small kernels.
const LAUNCH_MICROS: f64 = 6.0;

/// Share of a graph's operators that are left as kernels after fusion: 0.2 for
/// an exported encoder (`BERT-base`: 1,230 nodes become 150), 0.45 for
/// convolutional networks.
const KERNELS_PER_OPERATOR: f64 = 0.35;

/// Copies between host and device: `PCIe` 3.0 × 16 as pageable memory reaches it,
/// and what a synchronous round trip costs.
const PCIE_GB_PER_S: f64 = 6.0;
const COPY_MICROS: f64 = 30.0;

/// Batch sizes of a GPU curve.
const GPU_BATCHES: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// The machine that a CPU calibration was made on, as far as the transfer cares.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredOn<'m> {
    /// Its processor.
    pub cpu: &'m CpuSpec,
    /// Logical processors that were used.
    pub threads: u32,
    /// Name for people.
    pub name: &'m str,
}

/// The target of a CPU transfer.
#[derive(Debug, Clone, Copy)]
pub struct CpuTarget<'t> {
    /// Its processor.
    pub cpu: &'t CpuSpec,
    /// vCPUs of the machine.
    pub vcpus: u32,
}

impl CpuTarget<'_> {
    /// Physical cores behind the vCPUs, at least one.
    #[must_use]
    pub fn cores(&self) -> u32 {
        (self.vcpus / self.cpu.threads_per_core.max(1)).max(1)
    }
}

/// Carries the curves of a CPU calibration over to another CPU machine: one
/// curve per number of threads (powers of two up to all cores, at most 16),
/// with as many instances as fill the machine.
#[must_use]
pub fn to_cpu(
    measured: &[LatencyCurve],
    facts: &ModelSummary,
    from: MeasuredOn<'_>,
    target: CpuTarget<'_>,
) -> Vec<LatencyCurve> {
    let cores = target.cores();
    let mut threads: Vec<u32> = std::iter::successors(Some(1_u32), |t| t.checked_mul(2))
        .take_while(|t| *t <= cores.min(16))
        .collect();
    if cores <= 16 && threads.last() != Some(&cores) {
        threads.push(cores);
    }
    threads
        .into_iter()
        .filter_map(|intra_op_threads| {
            let layout = SessionLayout {
                instances: (cores / intra_op_threads).max(1),
                intra_op_threads,
                spinning: false,
            };
            cpu_curve(measured, facts, (from, target), layout)
        })
        .collect()
}

fn cpu_curve(
    measured: &[LatencyCurve],
    facts: &ModelSummary,
    (from, target): (MeasuredOn<'_>, CpuTarget<'_>),
    layout: SessionLayout,
) -> Option<LatencyCurve> {
    let alone: Vec<&LatencyCurve> = measured
        .iter()
        .filter(|c| c.layout.instances == 1)
        .collect();
    let most_threads = alone.iter().map(|c| c.layout.intra_op_threads).max()?;
    let base = alone.iter().min_by_key(|c| c.layout.intra_op_threads)?;
    let crowding = crowding(measured);
    let factor = interval_factor(from.cpu, target.cpu, layout.intra_op_threads, most_threads);
    let source = Source::Transferred {
        from: from.name.to_owned(),
    };
    let points = base
        .points
        .iter()
        .map(|point| {
            let here: Vec<(u32, Time)> = alone
                .iter()
                .filter_map(|c| {
                    Some((
                        c.layout.intra_op_threads,
                        c.point(point.batch_size)?.busy.value,
                    ))
                })
                .collect();
            let on_threads = with_threads(&here, layout.intra_op_threads);
            let moved = traffic(facts, point.batch_size);
            let alone_time = carried(on_threads, moved, (from, target), 1);
            let busy_time = carried(on_threads, moved, (from, target), layout.instances)
                .scaled(if layout.instances > 1 { crowding } else { 1.0 });
            let spread = point.busy.high.ratio(point.busy.value).max(1.0);
            BatchPoint {
                batch_size: point.batch_size,
                busy: Estimate::new(
                    busy_time,
                    (
                        busy_time.scaled(1.0 / factor.0),
                        busy_time.scaled(factor.1 * spread),
                    ),
                    Fraction::saturating(LEVEL),
                    source.clone(),
                ),
                alone: alone_time.min(busy_time),
                relative: Arc::clone(&point.relative),
            }
        })
        .collect::<Vec<_>>();
    (!points.is_empty()).then_some(LatencyCurve {
        layout,
        points,
        // Cold caches and sleeping threads are much the same on another processor.
        idle: alone
            .iter()
            .find(|c| c.layout.intra_op_threads == layout.intra_op_threads)
            .map(|c| c.idle.clone())
            .unwrap_or_default(),
        source,
    })
}

/// How much slower an instance is when the measured machine is full of
/// instances than when it is alone, in the middle of all batch sizes; 1 where
/// that was not measured.
fn crowding(measured: &[LatencyCurve]) -> f64 {
    let mut ratios: Vec<f64> = measured
        .iter()
        .filter(|curve| curve.layout.instances > 1)
        .flat_map(|curve| &curve.points)
        .map(|point| point.busy.value.ratio(point.alone))
        .filter(|ratio| ratio.is_finite())
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios
        .get(ratios.len() / 2)
        .copied()
        .unwrap_or(1.0)
        .max(1.0)
}

/// Service time with `threads`, from those measured: Amdahl's law (Amdahl 1967),
/// serial part and parallel part by least squares over the measured numbers of
/// threads, neither below zero.
fn with_threads(here: &[(u32, Time)], threads: u32) -> Time {
    if let Some((_, time)) = here.iter().find(|(t, _)| *t == threads) {
        return *time;
    }
    let points: Vec<(f64, f64)> = here
        .iter()
        .map(|(t, time)| (1.0 / f64::from((*t).max(1)), time.get()))
        .collect();
    let n = points.len() as f64;
    let (mean_x, mean_y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let parallel = if spread > 0.0 {
        (points
            .iter()
            .map(|p| (p.0 - mean_x) * (p.1 - mean_y))
            .sum::<f64>()
            / spread)
            .clamp(0.0, mean_y / mean_x)
    } else {
        // One number of threads measured: nothing is known of how it scales, so
        // nothing is gained.
        0.0
    };
    let serial = (mean_y - parallel * mean_x).max(0.0);
    Time::saturating(serial + parallel / f64::from(threads.max(1)))
}

/// Bytes that one batch moves through memory: the weights once, the activations per item.
fn traffic(facts: &ModelSummary, batch_size: u32) -> Bytes {
    facts.weight_bytes + facts.activation_bytes_per_item * u64::from(batch_size)
}

/// The additive form: the part of the measured time that is explained by memory
/// traffic scales with bandwidth, the rest with arithmetic.
fn carried(
    time: Time,
    moved: Bytes,
    (from, target): (MeasuredOn<'_>, CpuTarget<'_>),
    instances: u32,
) -> Time {
    let arithmetic = core_rate(from.cpu).ratio(core_rate(target.cpu));
    let from_bandwidth = bandwidth(from.cpu, from.threads);
    let target_bandwidth = bandwidth(target.cpu, target.vcpus);
    let (Some(here), Some(there)) = (from_bandwidth, target_bandwidth) else {
        return time.scaled(arithmetic);
    };
    // Weights that stay in a cache move faster than memory: traffic explains at
    // most half of the time.
    let memory = Time::saturating(moved.get() as f64 / here.get()).min(time.scaled(0.5));
    let compute = time - memory;
    compute.scaled(arithmetic) + memory.scaled(here.ratio(there) * f64::from(instances.max(1)))
}

/// Peak arithmetic of one physical core.
fn core_rate(cpu: &CpuSpec) -> FlopRate {
    FlopRate::saturating(cpu.all_core_ghz * 1e9 * cpu.fp32_flop_per_cycle)
}

/// Read bandwidth of a machine of that many vCPUs: measured where it was, in
/// between by proportion, beyond the largest as that.
fn bandwidth(cpu: &CpuSpec, vcpus: u32) -> Option<Bandwidth> {
    let known = &cpu.measured_bandwidth;
    let (Some(first), Some(last)) = (known.first(), known.last()) else {
        return cpu.socket_bandwidth;
    };
    if vcpus <= first.vcpus {
        return Some(
            first
                .bandwidth
                .scaled(f64::from(vcpus) / f64::from(first.vcpus.max(1))),
        );
    }
    if vcpus >= last.vcpus {
        return Some(last.bandwidth);
    }
    known.windows(2).find_map(|pair| {
        let [low, high] = pair else { return None };
        (low.vcpus <= vcpus && vcpus <= high.vcpus).then(|| {
            let share = f64::from(vcpus - low.vcpus) / f64::from((high.vcpus - low.vcpus).max(1));
            Bandwidth::saturating(
                low.bandwidth.get() + (high.bandwidth.get() - low.bandwidth.get()) * share,
            )
        })
    })
}

/// The factors down and up of a CPU transfer.
fn interval_factor(
    from: &CpuSpec,
    target: &CpuSpec,
    threads: u32,
    measured_threads: u32,
) -> (f64, f64) {
    let base = if from.microarchitecture == target.microarchitecture {
        SAME_CPU_FACTOR
    } else {
        CPU_FACTOR
    };
    let doublings = (f64::from(threads.max(1)) / f64::from(measured_threads.max(1)))
        .log2()
        .max(0.0);
    (base, base * (1.0 + PER_UNMEASURED_DOUBLING * doublings))
}

/// The curve of a model on `count` GPUs from its arithmetic, bytes and operators; none
/// where ONNX Runtime's CUDA provider cannot run it well: other vendors' devices,
/// and tree ensembles, for which it has no kernel.
///
/// The additive form of launches, arithmetic, memory traffic and copies: its
/// errors have the shorter tails compared with the larger of the terms (roofline).
#[must_use]
pub fn to_gpu(facts: &ModelSummary, gpu: &GpuSpec, count: u32) -> Option<LatencyCurve> {
    if gpu.vendor != "nvidia" || facts.class == ModelClass::TreeEnsemble {
        return None;
    }
    let rate = match gpu.tf32 {
        Some(tf32) => tf32
            .scaled(TF32_EFFICIENCY)
            .get()
            .max(gpu.fp32.get() * FP32_EFFICIENCY),
        None => gpu.fp32.get() * FP32_EFFICIENCY,
    };
    let bandwidth = gpu.bandwidth.get() * BANDWIDTH_EFFICIENCY;
    if rate <= 0.0 || bandwidth <= 0.0 {
        return None;
    }
    let source = Source::Transferred {
        from: format!("FLOPs and bytes of {}", facts.name),
    };
    let largest = facts.max_batch.unwrap_or(u32::MAX);
    let points: Vec<BatchPoint> = GPU_BATCHES
        .into_iter()
        .filter(|batch| *batch <= largest)
        .map(|batch_size| {
            let items = f64::from(batch_size);
            let launches = f64::from(facts.operators) * KERNELS_PER_OPERATOR * LAUNCH_MICROS * 1e-6;
            let arithmetic = facts.flops_per_item.get() * items / rate;
            let memory = traffic(facts, batch_size).get() as f64 / bandwidth;
            let copies = 2.0 * COPY_MICROS * 1e-6
                + facts.io_bytes_per_item.get() as f64 * items / (PCIE_GB_PER_S * 1e9);
            let time = Time::saturating(launches + arithmetic + memory + copies);
            BatchPoint {
                batch_size,
                busy: Estimate::new(
                    time,
                    (time.scaled(1.0 / GPU_FACTOR), time.scaled(GPU_FACTOR)),
                    Fraction::saturating(LEVEL),
                    source.clone(),
                ),
                alone: time,
                // A GPU's service time hardly varies; the interval's width is
                // what matters here.
                relative: Arc::from([1.0]),
            }
        })
        .collect();
    (!points.is_empty()).then_some(LatencyCurve {
        // One instance on each GPU; they do not disturb each other.
        layout: SessionLayout {
            instances: count.max(1),
            intra_op_threads: 1,
            spinning: false,
        },
        points,
        idle: Vec::new(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::hardware::BandwidthAt;

    fn cpu(name: &str, ghz: f64, flop: f64, threads_per_core: u32) -> CpuSpec {
        CpuSpec {
            name: name.into(),
            stands_for: vec![],
            microarchitecture: name.into(),
            arch: "x86_64".into(),
            instruction_sets: vec![],
            all_core_ghz: ghz,
            clock_source: "test".into(),
            threads_per_core,
            fp32_flop_per_cycle: flop,
            int8_op_per_cycle: None,
            matrix_bf16_flop_per_cycle: None,
            matrix_int8_op_per_cycle: None,
            ambiguous: None,
            socket_bandwidth: None,
            measured_bandwidth: vec![
                BandwidthAt {
                    vcpus: 4,
                    bandwidth: Bandwidth::from_gb_per_s(40.0),
                },
                BandwidthAt {
                    vcpus: 8,
                    bandwidth: Bandwidth::from_gb_per_s(60.0),
                },
            ],
            source: "test".into(),
        }
    }

    #[test]
    fn bandwidth_is_interpolated_between_measured_sizes() {
        let spec = cpu("a", 3.0, 32.0, 1);
        let gb = |vcpus| bandwidth(&spec, vcpus).unwrap().get() / 1e9;
        assert!((gb(2) - 20.0).abs() < 1e-9);
        assert!((gb(6) - 50.0).abs() < 1e-9);
        assert!((gb(64) - 60.0).abs() < 1e-9);
    }

    #[test]
    fn amdahl_goes_through_two_measured_numbers_of_threads() {
        let t = Time::from_millis;
        let here = [(1, t(180.0)), (2, t(95.0))];
        assert_eq!(with_threads(&here, 2), t(95.0));
        let four = with_threads(&here, 4).as_millis();
        assert!((four - 52.5).abs() < 1e-9, "{four}");
        // One number of threads says nothing about more of them.
        assert_eq!(with_threads(&here[..1], 8), t(180.0));
    }

    #[test]
    fn a_core_of_twice_the_speed_takes_half_the_time_where_memory_does_not_matter() {
        let (slow, fast) = (cpu("slow", 3.0, 32.0, 1), cpu("fast", 3.0, 64.0, 1));
        let from = MeasuredOn {
            cpu: &slow,
            threads: 4,
            name: "here",
        };
        let target = CpuTarget {
            cpu: &fast,
            vcpus: 4,
        };
        let time = carried(Time::from_millis(100.0), Bytes::ZERO, (from, target), 1);
        assert!((time.as_millis() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn the_interval_is_wider_for_another_design_and_for_more_threads() {
        let (a, b) = (cpu("a", 3.0, 32.0, 1), cpu("b", 3.0, 32.0, 1));
        let same = interval_factor(&a, &a, 2, 2);
        let other = interval_factor(&a, &b, 2, 2);
        let more = interval_factor(&a, &b, 16, 2);
        assert!(same.1 < other.1 && other.1 < more.1);
    }
}
