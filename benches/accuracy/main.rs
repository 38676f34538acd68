//! Predicted against measured under real load:
//! `cargo bench --bench accuracy -- [--cells N] [--models A,B] [--data-dir DIR] [--out DIR]`.
//!
//! A cell is a model, a serving configuration and a utilisation. Its load comes
//! in stretches, and before each its layout is calibrated again for a moment, so
//! that calibration and load take turns while the machine drifts; each stretch is
//! predicted from what was calibrated before it: the mix of batch sizes takes turns
//! without pause, the rounds of the last ten seconds give the spread and the latest
//! one the pace. Two errors per
//! cell: *model error* (the simulator is fed with the service times recorded in
//! that very run) and *total error* (with the calibration taken before). Both
//! simulations see the arrivals of the run. All cells are printed and kept, with
//! the closed forms that others use, in `benches/results/`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a benchmark prints its results, and fails by panicking"
)]

mod calibrating;
mod cell;
mod closed_forms;
mod grid;
mod judging;
mod results;

use advisor::{
    measure::{
        probe::probe,
        runtime::{Surroundings, find, release::Build},
    },
    profile::calibration::{Device, Fingerprint},
};
use std::path::{Path, PathBuf};

/// What was typed.
struct Settings {
    cells: Option<usize>,
    models: Vec<String>,
    data: PathBuf,
    out: PathBuf,
}

fn main() {
    let settings = settings();
    let program = Path::new(env!("CARGO_BIN_EXE_advisor"));
    let machine = probe();
    let surroundings = Surroundings::current(&settings.data);
    let library = find(program, &surroundings, Build::Cpu)
        .expect("looking for ONNX Runtime")
        .found
        .expect("an ONNX Runtime: run `advisor runtime --fetch` first, with the same --data-dir");
    let fingerprint = Fingerprint::of(
        &machine,
        &Device::Cpu,
        &library.inspection.version,
        "several",
    );
    let bench = cell::Bench {
        program,
        machine: &machine,
        library: &library,
        models: settings.data.join("models"),
    };
    let mut wanted = grid::cells(&machine, &settings.models);
    if let Some(most) = settings.cells {
        wanted = grid::spread(wanted, most);
    }
    eprintln!("{} cells on {}", wanted.len(), fingerprint.cpu);
    println!("{}", results::HEADINGS);
    let mut cells = Vec::new();
    let mut kept = settings.out.clone();
    let mut todo = wanted.as_slice();
    while let Some(first) = todo.first() {
        let of_model = todo.partition_point(|cell| cell.model == first.model);
        let (now, later) = todo.split_at(of_model.max(1));
        bench.run(now, &mut |cell| {
            println!("{}", results::row(&cell));
            cells.push(cell);
        });
        // After every model, so that an interrupted run has its cells.
        kept = results::keep(&cells, &fingerprint, &settings.out).expect("keeping the results");
        todo = later;
    }
    println!("\n{}", results::summary(&cells));
    println!("kept in {} and beside it as Markdown", kept.display());
}

fn settings() -> Settings {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Settings {
        cells: value("--cells").map(|n| n.parse().expect("--cells: a number")),
        models: value("--models").map_or_else(Vec::new, |list| {
            list.split(',').map(str::to_owned).collect()
        }),
        data: value("--data-dir")
            .or_else(|| std::env::var("ADVISOR_DATA_DIR").ok())
            .map_or_else(|| root.join("target/accuracy"), PathBuf::from),
        out: value("--out").map_or_else(|| root.join("benches/results"), PathBuf::from),
    }
}
