//! Calibrations that are disturbed on purpose: whatever happens to a child, to
//! the program or to the disk, what was measured before stands.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why it was skipped"
)]

mod advisor;
mod container;
mod disk;
mod serving;

use advisor::{Bench, rounds};
use std::time::Duration;

/// A sweep that is in its rounds has written at least this many journal lines.
const IN_THE_MIDDLE: usize = 20;

#[test]
fn a_child_that_is_killed_costs_only_what_it_had_not_measured() {
    for (signal, said) in [("KILL", "killed (SIGKILL"), ("SEGV", "crashed (SIGSEGV)")] {
        let bench = Bench::new();
        let run = bench.start(&["--model", "mlp", "--time", "6s", "--format", "json"]);
        bench.wait_for_lines(IN_THE_MIDDLE);
        let victim = *run.children().last().expect("a measuring child runs");
        advisor::signal(victim, signal);
        if signal == "SEGV" {
            // The first is swallowed: Rust's handler for stack overflows waits
            // for the instruction to fault again, which this one does not.
            std::thread::sleep(Duration::from_millis(100));
            advisor::signal(victim, signal);
        }
        let output = run.finish();
        assert_eq!(output.code, 0, "{}", output.stderr);
        let calibration = &output.json()[0];
        let caveats = calibration["caveats"].to_string();
        assert!(caveats.contains(said), "{caveats}");
        assert!(caveats.contains("what was measured before"), "{caveats}");
        let layouts = calibration["starts"].as_array().unwrap().len();
        assert!(layouts >= 2, "the other layouts stand");
        let all = rounds(calibration);
        assert!(all.iter().any(|n| *n >= 6), "the others went on: {all:?}");
        // What the dead child had measured is there as well.
        assert!(all.iter().all(|n| *n >= 1), "{all:?}");
    }
}

#[test]
fn a_killed_program_leaves_a_journal_that_the_next_run_goes_on_from() {
    let bench = Bench::new();
    let run = bench.start(&["--model", "mlp", "--time", "20s"]);
    bench.wait_for_lines(2 * IN_THE_MIDDLE);
    let children = run.children();
    assert!(!children.is_empty());
    run.kill();
    // The children end with it, even those inside a library.
    let gone = advisor::within(Duration::from_secs(5), || {
        children.iter().all(|pid| !advisor::is_alive(*pid))
    });
    assert!(gone, "children outlive the program");
    let lines = bench.journal_lines();
    let began = lines[0].clone();
    let visits = lines.iter().filter(|l| l.contains("\"visited\"")).count();

    // A crash in the middle of a write, and a bad sector.
    bench.damage_journal();
    let output = bench.run(&["--model", "mlp", "--time", "1s", "--format", "json"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("damaged lines"), "{}", output.stderr);
    assert!(output.stderr.contains("going on from"), "{}", output.stderr);
    let calibration = &output.json()[0];
    let taken_at = calibration["taken_at"].as_str().unwrap();
    assert!(began.contains(taken_at), "{began}: {taken_at}");
    let kept: usize = rounds(calibration).iter().sum();
    assert!(kept + 2 > visits, "{kept} rounds after {visits} visits");
    assert!(
        bench.journal_lines().is_empty(),
        "a whole calibration needs no journal"
    );
}

#[test]
fn ctrl_c_keeps_and_shows_what_was_measured() {
    let bench = Bench::new();
    let run = bench.start(&["--model", "mlp", "--time", "60s", "--format", "json"]);
    bench.wait_for_lines(IN_THE_MIDDLE);
    advisor::signal(run.id(), "INT");
    let output = run.finish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let calibration = &output.json()[0];
    assert!(calibration["caveats"].to_string().contains("interrupted"));
    assert!(rounds(calibration).iter().sum::<usize>() > 5);
    assert!(bench.saved().is_some(), "it is saved");
    assert!(
        bench.journal_lines().len() > IN_THE_MIDDLE,
        "and can be gone on with"
    );
}

#[test]
fn a_layout_that_takes_too_much_memory_is_stopped_and_the_others_stand() {
    let bench = Bench::new();
    // A child with a small model takes some 30 to 45 MiB.
    let arguments = ["--model", "mlp", "--time", "1s", "--format", "json"];
    let output = bench.run(&[&arguments[..], &["--memory-limit", "60MiB"]].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    let calibration = &output.json()[0];
    let left_out = calibration["left_out"].to_string();
    assert!(left_out.contains("MiB"), "{left_out}");
    assert!(!calibration["rows"].as_array().unwrap().is_empty());

    let bench = Bench::new();
    let output = bench.run(&[&arguments[..], &["--memory-limit", "8MiB"]].concat());
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(output.stderr.contains("MiB of memory"), "{}", output.stderr);
}

#[test]
fn what_surrounds_the_rows_is_measured_as_well() {
    let bench = Bench::new();
    let output = bench.run(&["--model", "mlp", "--time", "5s", "--format", "json"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let calibration = &output.json()[0];
    let overheads = &calibration["overheads"];
    let harness = overheads["harness_s"].as_f64().unwrap();
    assert!(
        harness < 2e-6,
        "measuring adds {harness} s to each inference"
    );
    let empty = overheads["empty_session_s"].as_f64().unwrap();
    assert!(empty > harness && empty < 1e-3, "{empty}");
    let outside = overheads["outside_inference"].as_f64().unwrap();
    assert!(
        outside < 0.05,
        "{outside} of the processor time is not inference"
    );
    let gaps = calibration["idle_gaps"].as_array().unwrap();
    assert!(gaps.len() >= 5, "{gaps:?}");
    assert!(calibration["steadiness"].is_string());
    assert!(!calibration["settings"].as_array().unwrap().is_empty());
    // Peaks do not shrink as batches grow, and the plan can read it back.
    let saved = bench.saved().expect("saved");
    let one = &saved.rows[0].layout;
    let peaks: Vec<_> = saved.rows.iter().filter(|r| r.layout == *one).collect();
    assert!(
        peaks
            .windows(2)
            .all(|w| w[0].peak_memory_bytes <= w[1].peak_memory_bytes)
    );
}

#[test]
fn a_gpu_that_is_not_there_is_told_plainly() {
    let bench = Bench::new();
    let probe = bench.advisor(&["probe", "--format", "json"]).finish();
    if probe.stdout.contains("\"found\"") {
        eprintln!("SKIPPED a_gpu_that_is_not_there_is_told_plainly: there is a GPU");
        return;
    }
    let output = bench
        .advisor(&[
            "compare", "--model", "mlp", "--on", "cpu,gpu", "--time", "1s",
        ])
        .finish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(
        output.stderr.contains("no GPU can be used"),
        "{}",
        output.stderr
    );
    assert!(output.stdout.contains("Missing"), "{}", output.stdout);
    let output = bench
        .advisor(&["calibrate", "--model", "mlp", "--only", "gpu"])
        .finish();
    assert_eq!(output.code, 3, "{}", output.stdout);
}

#[test]
fn thread_counts_and_number_formats_compare_side_by_side() {
    let bench = Bench::new();
    let output = bench
        .advisor(&[
            "compare",
            "--model",
            "mlp",
            "--threads",
            "1",
            "--variants",
            "fp32,int8",
            "--batch",
            "4",
            "--time",
            "1s",
            "--format",
            "json",
        ])
        .finish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let json: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let lines = json["lines"].as_array().unwrap();
    let seen: Vec<(String, u64)> = lines
        .iter()
        .map(|line| {
            let model = line["model"].as_str().unwrap().to_owned();
            (model, line["batch_size"].as_u64().unwrap())
        })
        .collect();
    let expected = [("mlp", 1), ("mlp-int8", 1), ("mlp", 4), ("mlp-int8", 4)];
    assert_eq!(seen, expected.map(|(m, b)| (m.to_owned(), b)));
    assert!((lines[0]["speed_up"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    // A weight takes a byte instead of four, and memory was measured on both sides.
    let weights = |line: usize| lines[line]["weight_bytes"].as_u64().unwrap();
    assert!(weights(1) * 3 < weights(0), "{} {}", weights(1), weights(0));
    assert!(lines.iter().all(|line| line["peak_memory_bytes"].is_u64()));
}
