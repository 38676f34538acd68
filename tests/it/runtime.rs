//! With a real ONNX Runtime, which the program fetches itself.

use crate::run::{Advisor, advisor};
use std::{path::PathBuf, sync::OnceLock};

/// A data folder that all these tests share and that is kept between runs, so
/// that the runtime is fetched once.
fn data() -> &'static PathBuf {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("data");
        with_data(&["runtime", "--fetch"], &folder).exits(0);
        folder
    })
}

/// The program with a data folder, and with the user's settings of their package
/// client, which live in their home folder.
fn with_data(args: &[&str], folder: &PathBuf) -> Advisor {
    let home = std::env::var_os("HOME").unwrap_or_default();
    advisor(args)
        .env("ADVISOR_DATA_DIR", folder)
        .env("HOME", home)
}

#[test]
fn runtime_shows_the_library_that_was_fetched() {
    let found = with_data(&["runtime", "--format", "json"], data())
        .exits(0)
        .json();
    assert_eq!(found["found"]["origin"], "fetched", "{found:#}");
    let providers = found["found"]["providers"].as_array().unwrap();
    assert!(providers.iter().any(|p| p == "CPUExecutionProvider"));
    assert!(
        found["found"]["version"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
}

#[test]
fn a_model_is_measured_saved_and_planned_from() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("mlp.json");
    let args = [
        "calibrate",
        "--model",
        "mlp",
        "--time",
        "1s",
        "--max-batch",
        "4",
        "--format",
        "json",
        "--save",
        file.to_str().unwrap(),
    ];
    let measured = with_data(&args, data()).exits(0).json();
    let rows = measured[0]["rows"].as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        for round in row["rounds"].as_array().unwrap() {
            let mean = round["mean_s"].as_f64().unwrap();
            assert!(mean > 1e-7 && mean < 1.0, "{row:#}");
        }
        assert!(row["samples_s"].as_array().unwrap().len() >= 2);
    }
    let again = with_data(
        &[
            "plan", "--model", "mlp", "--qps", "100", "--p95", "20ms", "--here", "--price", "0.1",
        ],
        data(),
    )
    .exits(0);
    assert!(
        again.stderr().contains("Using the calibration in"),
        "{}",
        again.report()
    );
    assert!(
        again.stdout().contains("this machine"),
        "{}",
        again.report()
    );
    let planned = with_data(
        &[
            "plan",
            "--calibration",
            file.to_str().unwrap(),
            "--qps",
            "100",
            "--p95",
            "20ms",
        ],
        data(),
    );
    assert!(planned.exits(0).stdout().contains("Serve mlp on"));
}

#[test]
fn a_library_cut_short_costs_a_message_not_the_program() {
    let found = with_data(&["runtime", "--format", "json"], data())
        .exits(0)
        .json();
    let whole = std::fs::read(found["found"]["path"].as_str().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("libonnxruntime.so.1.31.1");
    std::fs::write(&cut, &whole[..whole.len() / 3]).unwrap();
    advisor(&["runtime"])
        .env("ORT_DYLIB_PATH", &cut)
        .exits(3)
        .complains(&["ORT_DYLIB_PATH names no usable ONNX Runtime"]);
}

#[test]
fn a_gpu_that_is_not_there_is_told_plainly() {
    let probe = advisor(&["probe", "--format", "json"]).exits(0).json();
    if probe["gpus"]["state"] == "found" {
        eprintln!("not checked: this machine has a GPU");
        return;
    }
    with_data(&["calibrate", "--model", "mlp", "--only", "gpu"], data())
        .exits(3)
        .complains(&[
            "a GPU was asked for, but none can be used",
            "`advisor probe` says why",
        ]);
}
