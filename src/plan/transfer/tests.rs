//! The shipped fit: that it is what the shipped rows give, and what it predicts.

use super::*;
use crate::{
    profile::{hardware_book::HardwareBook, toml_text::TomlText},
    units::{Bytes, Flops, Time},
};
use std::sync::LazyLock;

static HARDWARE: LazyLock<HardwareBook> = LazyLock::new(|| HardwareBook::shipped().unwrap());

static FITTED: LazyLock<Fitted> = LazyLock::new(|| Fitted::shipped().unwrap());

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/fitted/speed.toml");

fn refitted() -> String {
    let texts: Vec<(&str, String)> = FILES
        .iter()
        .map(|name| {
            let path = format!("{}/tests/data/bench/{name}", env!("CARGO_MANIFEST_DIR"));
            (*name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let texts: Vec<BenchText> = texts
        .iter()
        .map(|(name, text)| BenchText { name, text })
        .collect();
    let bench = Benchmarks::parse(&texts).unwrap();
    fit(&bench, &HARDWARE, "2026-11-21")
        .unwrap()
        .to_toml()
        .unwrap()
}

fn work(kind: WorkKind, gflop: f64, weights_mb: f64, activations_mb: f64) -> Work {
    Work {
        kind,
        element: Element::Single,
        flops: Flops::new(gflop * 1e9).unwrap(),
        weight_bytes: Bytes::new((weights_mb * 1e6) as u64),
        activation_bytes: Bytes::new((activations_mb * 1e6) as u64),
        operators: 122,
        max_batch: None,
    }
}

/// ResNet-50 in single precision.
fn resnet50() -> Work {
    work(WorkKind::Convolutional, 8.18, 102.2, 220.0)
}

/// Something that no table has.
fn unheard_of() -> Work {
    work(WorkKind::Convolutional, 3.3, 20.0, 300.0)
}

#[test]
fn the_shipped_fit_is_what_the_shipped_rows_give() {
    let shipped = std::fs::read_to_string(SHIPPED).unwrap();
    assert!(
        refitted() == shipped,
        "write it anew: cargo test --lib rewrite_the_shipped_fit -- --ignored"
    );
}

#[test]
#[ignore = "writes profiles/fitted/speed.toml"]
fn rewrite_the_shipped_fit() {
    std::fs::write(SHIPPED, refitted()).unwrap();
}

#[test]
fn broken_fits_are_refused_with_the_reason() {
    let shipped = std::fs::read_to_string(SHIPPED).unwrap();
    for (from, to, why) in [
        ("schema = 1", "schema = 2", "schema"),
        ("same_design = ", "same_design = -", "same_design"),
        ("launch_s = ", "launch = ", "launch"),
    ] {
        let broken = shipped.replacen(from, to, 1);
        let error = Fitted::load(TomlText::new("mine.toml", &broken)).unwrap_err();
        assert!(
            error.message().contains("mine.toml") && error.message().contains(why),
            "{error}"
        );
    }
}

#[test]
fn a_published_curve_of_the_very_model_is_what_the_estimate_rests_on() {
    let t4 = FITTED
        .on_gpu(&resnet50(), HARDWARE.gpu("T4").unwrap(), &HARDWARE)
        .unwrap();
    assert!(t4.evidence.starts_with("resnet50 on T4"), "{}", t4.evidence);
    assert!(
        t4.evidence.contains("NVIDIA DeepLearningExamples"),
        "{}",
        t4.evidence
    );
    // PyTorch and TensorFlow reach 425 to 430 images per second with batches of 128.
    let rate = 128.0 / t4.points.last().unwrap().busy.value.get();
    assert!((380.0..480.0).contains(&rate), "{rate}");

    let l4 = FITTED
        .on_gpu(&resnet50(), HARDWARE.gpu("L4").unwrap(), &HARDWARE)
        .unwrap();
    assert!(l4.evidence.contains("carried to L4"), "{}", l4.evidence);
    assert!(
        l4.evidence.contains("resnet50 on L4: ") && l4.evidence.contains("MLPerf v"),
        "{}",
        l4.evidence
    );
}

#[test]
fn less_evidence_gives_wider_intervals() {
    let width = |work: &Work, gpu: &str| {
        let found = FITTED
            .on_gpu(work, HARDWARE.gpu(gpu).unwrap(), &HARDWARE)
            .unwrap();
        let busy = &found.points[0].busy;
        busy.high.ratio(busy.low)
    };
    let other = Work {
        kind: WorkKind::Other,
        ..unheard_of()
    };
    assert!(width(&resnet50(), "T4") < width(&unheard_of(), "T4"));
    assert!(width(&unheard_of(), "T4") < width(&unheard_of(), "L4"));
    assert!(width(&unheard_of(), "L4") < width(&other, "L4"));
}

#[test]
fn a_larger_batch_takes_longer_and_less_for_each_item() {
    for gpu in HARDWARE.gpus().filter(|gpu| gpu.vendor == "nvidia") {
        for work in [
            resnet50(),
            unheard_of(),
            work(WorkKind::Transformer, 22.35, 440.0, 600.0),
        ] {
            let points = FITTED.on_gpu(&work, gpu, &HARDWARE).unwrap().points;
            assert_eq!(points.len(), BATCH_SIZES.len());
            for pair in points.windows(2) {
                let (low, high) = (&pair[0], &pair[1]);
                let longer = high.busy.value.ratio(low.busy.value);
                assert!(
                    (1.0..=2.25).contains(&longer),
                    "{} {longer} at {}",
                    gpu.name,
                    low.batch_size
                );
                assert!(low.busy.low < low.busy.value && low.busy.value < low.busy.high);
            }
        }
    }
    let amd = HARDWARE.gpu("MI300X").unwrap();
    assert_eq!(FITTED.on_gpu(&resnet50(), amd, &HARDWARE), None);
    let single = Work {
        max_batch: Some(1),
        ..resnet50()
    };
    let t4 = HARDWARE.gpu("T4").unwrap();
    assert_eq!(
        FITTED.on_gpu(&single, t4, &HARDWARE).unwrap().points.len(),
        1
    );
}

#[test]
fn a_time_measured_on_one_gpu_carries_to_another() {
    let (t4, a100) = (
        HARDWARE.gpu("T4").unwrap(),
        HARDWARE.gpu("A100-80GB").unwrap(),
    );
    let measured = [(1, Time::from_millis(5.0)), (64, Time::from_millis(150.0))];
    let same = FITTED.gpu_to_gpu(&measured, t4, t4).unwrap();
    assert_eq!(same.points[1].busy.value, measured[1].1);
    let faster = FITTED.gpu_to_gpu(&measured, t4, a100).unwrap();
    let gain = measured[1].1.ratio(faster.points[1].busy.value);
    assert!((2.0..8.0).contains(&gain), "{gain}");
    // Launches take as long as before.
    assert!(measured[0].1.ratio(faster.points[0].busy.value) < gain);
}

fn point(instances: u32, threads: u32, millis: f64) -> CpuPoint {
    CpuPoint {
        instances,
        threads,
        batch_size: 1,
        time: Time::from_millis(millis),
    }
}

fn on_cpu(points: &[CpuPoint], from: (&str, u32), to: (&str, u32, u32, u32)) -> Predicted {
    let from = CpuMeasured {
        cpu: HARDWARE.cpu(from.0).unwrap(),
        vcpus: from.1,
        name: "here",
        points,
    };
    let target = CpuTarget {
        cpu: HARDWARE.cpu(to.0).unwrap(),
        vcpus: to.1,
        instances: to.2,
        threads: to.3,
    };
    FITTED.on_cpu(&resnet50(), from, target).unwrap().points[0].clone()
}

#[test]
fn the_same_machine_and_layout_gives_the_measured_time() {
    let points = [point(1, 4, 50.0)];
    let found = on_cpu(&points, ("aws/c7i", 8), ("aws/c7i", 8, 1, 4));
    assert!(
        (found.busy.value.as_millis() - 50.0).abs() < 1e-9,
        "{found:?}"
    );
    assert!(found.busy.low < found.busy.value && found.busy.value < found.busy.high);
}

#[test]
fn more_cores_are_faster_but_not_in_full() {
    let points = [point(1, 4, 50.0)];
    let eight = on_cpu(&points, ("aws/c7i", 8), ("aws/c7i", 16, 1, 8))
        .busy
        .value
        .as_millis();
    let sixteen = on_cpu(&points, ("aws/c7i", 8), ("aws/c7i", 32, 1, 16))
        .busy
        .value
        .as_millis();
    assert!((25.0..32.0).contains(&eight), "{eight}");
    assert!(sixteen < eight && sixteen > eight / 2.0, "{sixteen}");
}

#[test]
fn instances_that_share_memory_are_slower_together_and_measured_crowding_counts() {
    let alone = [point(1, 2, 80.0)];
    let shared = on_cpu(&alone, ("aws/c7i", 8), ("aws/c7i", 16, 4, 2));
    assert!(shared.busy.value > shared.alone);
    let crowded = [point(1, 2, 80.0), point(2, 2, 160.0)];
    let measured = on_cpu(&crowded, ("aws/c7i", 8), ("aws/c7i", 16, 4, 2));
    assert!(measured.busy.value.ratio(measured.alone) >= 2.0 - 1e-9);
}

#[test]
fn another_design_is_less_certain_and_so_are_more_threads() {
    let points = [point(1, 4, 50.0)];
    let width = |to| {
        let busy = on_cpu(&points, ("aws/c7i", 8), to).busy;
        busy.high.ratio(busy.low)
    };
    assert!(width(("aws/m7i", 8, 1, 4)) < width(("aws/c7a", 8, 1, 4)));
    assert!(width(("aws/c7a", 8, 1, 4)) < width(("aws/c7a", 32, 1, 16)));
}

#[test]
fn nothing_measured_gives_nothing() {
    let cpu = HARDWARE.cpu("aws/c7i").unwrap();
    let from = CpuMeasured {
        cpu,
        vcpus: 8,
        name: "here",
        points: &[],
    };
    let target = CpuTarget {
        cpu,
        vcpus: 8,
        instances: 1,
        threads: 4,
    };
    assert_eq!(FITTED.on_cpu(&resnet50(), from, target), None);
}

#[test]
fn every_machine_type_is_predicted_within_a_few_milliseconds() {
    let points: Vec<CpuPoint> = [1, 2, 4]
        .into_iter()
        .flat_map(|threads| {
            [1, 8, 32].map(|batch_size| CpuPoint {
                batch_size,
                ..point(
                    1,
                    threads,
                    80.0 * f64::from(batch_size) / f64::from(threads),
                )
            })
        })
        .collect();
    let began = std::time::Instant::now();
    let mut made = 0;
    // 1,265 machine types: one processor or GPU each, and four layouts.
    let (cpus, gpus): (Vec<_>, Vec<_>) = (HARDWARE.cpus().collect(), HARDWARE.gpus().collect());
    for k in 0..1265_usize {
        let from = CpuMeasured {
            cpu: cpus[0],
            vcpus: 8,
            name: "here",
            points: &points,
        };
        for threads in [1, 2, 4, 8] {
            let target = CpuTarget {
                cpu: cpus[k % cpus.len()],
                vcpus: 16,
                instances: 8 / threads,
                threads,
            };
            made += FITTED
                .on_cpu(&resnet50(), from, target)
                .map_or(0, |found| found.points.len());
        }
        let found = FITTED.on_gpu(&resnet50(), gpus[k % gpus.len()], &HARDWARE);
        made += found.map_or(0, |found| found.points.len());
    }
    assert!(made > 10_000);
    // Ten times what a release build may take: this one is hardly optimised.
    let took = began.elapsed();
    assert!(took.as_millis() < 200 * 5, "{took:?}");
}
