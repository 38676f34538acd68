//! JSON is tested from the consumer's side: against the schemas in the repository,
//! which deny unknown fields.

use crate::run::{advisor, calibration};
use serde_json::Value;

pub fn check(schema: &str, value: &Value) {
    let path = format!("{}/schema/{schema}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn plans_follow_their_schema() {
    let cases: [(&str, &[&str], i32); 4] = [
        (
            "bert-base",
            &["--qps", "40", "--p95", "120ms", "--budget", "2"],
            0,
        ),
        ("bert-base", &["--qps", "40", "--p95", "1ms"], 1),
        (
            "gradient-boosting",
            &["--qps", "500", "--p50", "1ms", "--p99", "10ms"],
            0,
        ),
        (
            "resnet50",
            &[
                "--qps",
                "400",
                "--p95",
                "300ms",
                "--term",
                "spot",
                "--balancer",
                "round-robin",
            ],
            0,
        ),
    ];
    for (model, args, code) in cases {
        let file = calibration(model);
        let all = [
            &["plan", "--format", "json", "--calibration", file.as_str()],
            args,
        ]
        .concat();
        check("plan", &advisor(&all).exits(code).json());
    }
}

#[test]
fn saved_calibrations_follow_their_schema() {
    for model in [
        "bert-base",
        "minilm-l6",
        "resnet50",
        "mlp",
        "gradient-boosting",
    ] {
        let text = std::fs::read_to_string(calibration(model)).unwrap();
        check("calibration", &serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn probe_runtime_and_models_follow_their_schemas() {
    check(
        "probe",
        &advisor(&["probe", "--format", "json"]).exits(0).json(),
    );
    check(
        "models",
        &advisor(&["models", "--format", "json"]).exits(0).json(),
    );
    let empty = tempfile::tempdir().unwrap();
    let nothing = advisor(&["runtime", "--format", "json"])
        .env("PATH", empty.path())
        .env("LD_LIBRARY_PATH", "");
    let run = nothing.env("ADVISOR_DATA_DIR", empty.path());
    // A system-wide library may be there all the same.
    check("runtime", &run.any_exit().json());
}
