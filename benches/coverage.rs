//! How often the interval of a mean service time holds the mean of the next
//! calibration: `cargo bench --bench coverage -- [--runs N] [--time T] [--models A,B]`.
//!
//! Calibrates each model again and again, on the machine as it is and beside a
//! process that burns one processor in bursts, and prints for each kind of
//! interval how often it held the next mean of the same row and how wide it
//! was. The default of 61 runs (60 pairs) takes about half an hour per model.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its results, and fails by panicking"
)]

use advisor::{
    estimate::Source,
    profile::{
        calibration::{Calibration, Row},
        store,
    },
    stats::{Sample, interval_of_mean},
    units::Fraction,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The kinds of interval, in the order of the columns.
const KINDS: [&str; 4] = [
    "reported",
    "within the run",
    "between rounds",
    "i.i.d. samples",
];

struct Settings {
    runs: usize,
    time: String,
    models: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--burn") {
        burn();
    }
    let settings = settings(&arguments);
    println!(
        "{} calibrations of {} each; share of next means inside the 95 % interval (median half-width)",
        settings.runs, settings.time
    );
    println!(
        "{:<12} {:<8} {:>6}  {}",
        "model",
        "beside",
        "pairs",
        KINDS.map(|kind| format!("{kind:>20}")).join("  ")
    );
    for model in &settings.models {
        for bursts in [false, true] {
            let mut burner = bursts.then(start_burner);
            let runs = calibrations(model, &settings);
            if let Some(burner) = &mut burner {
                let _ = burner.kill();
                let _ = burner.wait();
            }
            report(model, if bursts { "bursts" } else { "nothing" }, &runs);
        }
    }
}

fn settings(arguments: &[String]) -> Settings {
    let value = |name: &str, default: &str| {
        arguments
            .iter()
            .position(|a| a == name)
            .and_then(|at| arguments.get(at + 1))
            .map_or_else(|| default.to_owned(), Clone::clone)
    };
    Settings {
        runs: value("--runs", "61")
            .parse()
            .expect("--runs takes a number"),
        time: value("--time", "10s"),
        models: value("--models", "mlp,minilm-l6")
            .split(',')
            .map(str::to_owned)
            .collect(),
    }
}

/// Calibrates again and again in one data folder, so that the program learns
/// from earlier runs as it does for a user.
fn calibrations(model: &str, settings: &Settings) -> Vec<Calibration> {
    let folder = tempfile::tempdir().expect("a folder");
    let saved = folder.path().join("saved.json");
    (0..settings.runs)
        .filter_map(|_| {
            let status = Command::new(env!("CARGO_BIN_EXE_advisor"))
                .args(["calibrate", "--quiet", "--only", "cpu", "--max-batch", "4"])
                .args(["--model", model, "--time", &settings.time, "--data-dir"])
                .arg(folder.path())
                .arg("--save")
                .arg(&saved)
                .stdout(Stdio::null())
                .status()
                .expect("advisor runs");
            status.success().then(|| load(&saved))
        })
        .collect()
}

fn load(path: &Path) -> Calibration {
    store::load(path).expect("what was just saved can be read")
}

/// The ends of each kind of interval of a row.
fn intervals(calibration: &Calibration, row: &Row) -> [Option<(f64, f64)>; 4] {
    let level = Fraction::saturating(0.95);
    let estimate = |between| {
        row.service_time(between, &Source::Measured)
            .map(|e| (e.low.get(), e.high.get()))
    };
    let plain = |values: Vec<f64>| {
        let interval = interval_of_mean(&Sample::new(values).ok()?, level)?;
        Some((interval.low, interval.high))
    };
    [
        estimate(calibration.between_runs.as_ref()),
        estimate(None),
        plain(row.rounds.iter().map(|r| r.mean.get()).collect()),
        plain(row.samples.iter().map(|s| s.get()).collect()),
    ]
}

fn mean(row: &Row) -> f64 {
    row.rounds.iter().map(|r| r.mean.get()).sum::<f64>() / row.rounds.len().max(1) as f64
}

fn report(model: &str, beside: &str, runs: &[Calibration]) {
    let mut held = [0_usize; 4];
    let mut widths: [Vec<f64>; 4] = Default::default();
    let mut pairs = 0_u32;
    for pair in runs.windows(2) {
        let [now, next] = pair else { continue };
        for row in &now.rows {
            let same =
                |other: &&Row| (other.layout, other.batch_size) == (row.layout, row.batch_size);
            let Some(following) = next.rows.iter().find(same).map(mean) else {
                continue;
            };
            pairs += 1;
            for (kind, interval) in intervals(now, row).into_iter().enumerate() {
                let Some((low, high)) = interval else {
                    continue;
                };
                held[kind] += usize::from((low..=high).contains(&following));
                widths[kind].push((high - low) / 2.0 / mean(row));
            }
        }
    }
    let cells: Vec<String> = (0..KINDS.len())
        .map(|kind| {
            widths[kind].sort_by(f64::total_cmp);
            let width = widths[kind].get(widths[kind].len() / 2).copied();
            format!(
                "{:>10.1} % (±{:>4.1} %)",
                100.0 * held[kind] as f64 / f64::from(pairs.max(1)),
                100.0 * width.unwrap_or(f64::NAN)
            )
        })
        .collect();
    println!("{model:<12} {beside:<8} {pairs:>6}  {}", cells.join("  "));
}

fn start_burner() -> Child {
    Command::new(std::env::current_exe().expect("its own path"))
        .arg("--burn")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts")
}

/// Burns one processor in bursts of 0.1 to 2 s with pauses of as long.
fn burn() -> ! {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut x = 1_u64;
    loop {
        let length = Duration::from_secs_f64(0.1 + 1.9 * rng.random::<f64>());
        let begin = Instant::now();
        while begin.elapsed() < length {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005));
        }
        std::thread::sleep(Duration::from_secs_f64(0.1 + 1.9 * rng.random::<f64>()));
    }
}
