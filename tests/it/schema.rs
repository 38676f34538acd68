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
    let cases: [(&str, &[&str], i32); 5] = [
        (
            "bert-base",
            &["--qps", "40", "--p95", "120ms", "--budget", "2"],
            0,
        ),
        ("bert-base", &["--qps", "40", "--p95", "1ms"], 1),
        (
            "minilm-l6",
            &[
                "--qps",
                "400",
                "--p95",
                "50ms",
                "--what-if",
                "--mixed",
                "--demand",
                "tests/data/traces/nab_elb_request_count_5min.csv",
            ],
            0,
        ),
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
fn hardware_fits_and_profiles_follow_their_schemas() {
    for args in [
        &["hardware", "list"][..],
        &["hardware", "show", "T4"],
        &["hardware", "show", "aws/c8a"],
    ] {
        let all = [args, &["--format", "json"]].concat();
        check("hardware", &advisor(&all).exits(0).json());
    }
    let data = format!("{}/tests/data/bench", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("speed.toml");
    let fit = ["fit-hardware", "--data", &data, "--format", "json"];
    let written = [&fit[..], &["--output", output.to_str().unwrap()]].concat();
    check("fit-hardware", &advisor(&written).exits(0).json());
    let evaluated = [&fit[..], &["--evaluate"]].concat();
    check("fit-hardware", &advisor(&evaluated).exits(0).json());
    let file = calibration("mlp");
    let import = ["profiles", "import", file.as_str()];
    advisor(&import)
        .env("ADVISOR_DATA_DIR", folder.path())
        .exits(0);
    let list = advisor(&["profiles", "list", "--format", "json"]);
    let list = list.env("ADVISOR_DATA_DIR", folder.path()).exits(0).json();
    assert_eq!(list["profiles"].as_array().unwrap().len(), 1);
    check("profiles", &list);
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

#[test]
fn the_memory_of_a_model_follows_its_schema() {
    for args in [
        &["--model", "minilm-l6", "--batch", "1,8"][..],
        &["--model", "gradient-boosting"],
    ] {
        let all = [&["memory", "--format", "json"], args].concat();
        check("memory-model", &advisor(&all).exits(0).json());
    }
}
