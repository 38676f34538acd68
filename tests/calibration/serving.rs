//! `advisor verify` with real sessions: a replica under load, HTTP beside it,
//! interruption, a killed child.

use crate::advisor::{Bench, signal};
use std::time::Duration;

fn verify(bench: &Bench, more: &[&str]) -> crate::advisor::Run {
    let mut arguments = vec![
        "verify",
        "--model",
        "mlp",
        "--threads",
        "1",
        "--calibrate-for",
        "2s",
        "--format",
        "json",
    ];
    arguments.extend(more);
    bench.advisor(&arguments)
}

#[test]
fn a_replica_is_driven_and_everything_is_told() {
    let bench = Bench::new();
    let output = verify(
        &bench,
        &[
            "--qps",
            "500",
            "--time",
            "2s",
            "--max-batch",
            "4",
            "--window",
            "1ms",
            "--http",
        ],
    )
    .finish();
    // Whether a prediction holds is a matter of the machine's other work.
    assert!(output.code == 0 || output.code == 1, "{}", output.stderr);
    let json = output.json();
    let schema = include_str!("../../schema/verify.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&json)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let measured = &json["measured"];
    assert_eq!(measured["requests"], 1000);
    assert_eq!(
        (&measured["counted"], &measured["failed"]),
        (&950.into(), &0.into())
    );
    let batch = measured["mean_batch"].as_f64().unwrap();
    assert!((1.0..=4.0).contains(&batch), "{batch}");
    assert!(measured["utilisation"].as_f64().unwrap() > 0.0);
    for forecast in ["predicted", "replayed", "from_recorded"] {
        let p = json[forecast]["percentiles"].as_array().unwrap();
        assert_eq!(p.len(), 4, "{forecast}");
    }
    // Nothing is answered before its window is over or its batch is full.
    let p95 = measured["percentiles"][2]["latency_s"].as_f64().unwrap();
    assert!(p95 > 0.0005, "{p95}");
    let http = json["http_overhead_s"].as_f64().unwrap();
    assert!(http > 1e-6 && http < 0.02, "{http}");
    let dispatch = json["dispatch_delay_s"].as_f64().unwrap();
    assert!(dispatch > 0.0 && dispatch < 0.001, "{dispatch}");
    let ledger = std::fs::read_to_string(bench.folder.join("verifications.jsonl")).unwrap();
    assert_eq!(ledger.lines().count(), 1);
}

#[test]
fn an_interrupted_run_keeps_what_was_measured() {
    let bench = Bench::new();
    verify(&bench, &["--qps", "300", "--time", "1s"]).finish();
    let run = verify(&bench, &["--qps", "300", "--time", "60s"]);
    std::thread::sleep(Duration::from_secs(5));
    signal(run.0.id(), "INT");
    let output = run.finish();
    let json = output.json();
    let requests = json["measured"]["requests"].as_u64().unwrap();
    assert!(
        (20..18_000).contains(&requests),
        "{requests}: {}",
        output.stderr
    );
    assert!(json["caveats"].to_string().contains("interrupted"));
}

#[test]
fn a_replica_that_is_killed_is_a_failure_that_says_so() {
    let bench = Bench::new();
    verify(&bench, &["--qps", "300", "--time", "1s"]).finish();
    let run = verify(&bench, &["--qps", "300", "--time", "60s"]);
    std::thread::sleep(Duration::from_secs(5));
    signal(*run.children().last().expect("a replica runs"), "KILL");
    let output = run.finish();
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(output.stderr.contains("killed"), "{}", output.stderr);
}
