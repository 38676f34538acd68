//! `advisor profiles`, and jobs that measure on other machines.

use crate::run::{Advisor, advisor, calibration};
use serde_json::Value;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The program with a data folder that outlives one run.
fn with_data(data: &Path, args: &[&str]) -> Advisor {
    advisor(args).env("ADVISOR_DATA_DIR", data)
}

fn files_in(data: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(data.join("profiles"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A calibration of a two-processor Zen 5 machine as if of `aws/m8a.large`.
fn elsewhere(folder: &Path) -> String {
    let file = folder.join("there.json");
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(calibration("minilm-l6")).unwrap()).unwrap();
    value["machine_type"] = "aws/m8a.large".into();
    std::fs::write(&file, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn what_was_measured_there_takes_the_place_of_the_transfer_and_never_passes_for_here() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (elsewhere(folder.path()), folder.path().join("data"));
    let here = calibration("minilm-l6");
    let plan = || {
        let plan = with_data(
            &data,
            &[
                "plan",
                "--calibration",
                &here,
                "--qps",
                "20",
                "--p95",
                "200ms",
                "--provider",
                "aws",
                "--only",
                "cpu",
                "--top",
                "100",
                "--format",
                "json",
            ],
        )
        .exits(0)
        .json();
        let options = plan["options"].as_array().unwrap().clone();
        options
            .into_iter()
            .find(|option| option["machine"]["instance_type"] == "m8a.large")
            .expect("m8a.large is among the options")
    };
    assert_eq!(plan()["source"]["kind"], "transferred");
    with_data(&data, &["profiles", "import", &file]).exits(0);
    let measured = plan();
    assert_eq!(measured["source"]["kind"], "measured-elsewhere");
    assert!(
        measured["source"]["machine"]
            .as_str()
            .unwrap()
            .starts_with("aws/m8a.large on 2026-"),
        "{measured:#}"
    );
    let list = with_data(&data, &["profiles", "list", "--format", "json"])
        .exits(0)
        .json();
    let one = &list["profiles"][0];
    assert_eq!(
        (&one["elsewhere"], &one["machine_type"]),
        (&true.into(), &"aws/m8a.large".into())
    );
    let name = one["name"].as_str().unwrap();
    let text = with_data(&data, &["profiles", "show", name])
        .exits(0)
        .stdout();
    assert!(text.contains("aws/m8a.large"), "{text}");
    // Out again, under a name that is free, and not over what is there.
    let out = folder.path().join("out.json");
    let export = [
        "profiles",
        "export",
        name,
        "--output",
        out.to_str().unwrap(),
    ];
    with_data(&data, &export).exits(0);
    with_data(&data, &export)
        .exits(2)
        .complains(&["is there already"]);
}

#[test]
fn bad_profiles_are_refused_with_line_and_reason_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let good = elsewhere(folder.path());
    let text = std::fs::read_to_string(&good).unwrap();
    let bad = folder.path().join("bad.json");
    let line_of = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let swapped = |from: &str, to: &str| {
        assert!(text.contains(from), "no `{from}` in the file");
        text.replacen(from, to, 1)
    };
    let cases: Vec<(String, String)> = vec![
        // Another schema.
        (
            swapped("\"schema\": 2", "\"schema\": 99"),
            "has schema 99".into(),
        ),
        // A unit is missing.
        (
            swapped("\"mean_s\"", "\"mean\""),
            format!(
                "unknown field `mean`, expected one of `inferences`, `mean_s`, `at_s` at line {}",
                line_of("\"mean_s\"")
            ),
        ),
        // Another machine than the fingerprint's.
        (
            swapped("\"logical_cores\": 2", "\"logical_cores\": 64"),
            format!("bad.json:{}:", line_of("\"fingerprint\"")),
        ),
        (
            swapped("\"usable_threads\": 2", "\"usable_threads\": 4"),
            "usable threads: 4 against 2".into(),
        ),
        // More arithmetic than the processor can do.
        (
            swapped(
                "\"flops_per_item\": 2891173760.0",
                "\"flops_per_item\": 2891173760000.0",
            ),
            format!("bad.json:{}:", line_of("\"batch_size\"")),
        ),
        // Cut short.
        (
            text[..text.len() / 2].to_owned(),
            "is not a saved calibration: EOF".into(),
        ),
        // Not of that machine type.
        (
            text.replace("aws/m8a.large", "aws/c7i.large"),
            "this cannot be of aws/c7i.large: the processor was".into(),
        ),
        (
            text.replace("aws/m8a.large", "aws/m8a.4xlarge"),
            "the number of usable processors was 2, there it is 16".into(),
        ),
    ];
    for (broken, why) in cases {
        std::fs::write(&bad, &broken).unwrap();
        // A good file beside it is not taken either.
        with_data(&data, &["profiles", "import", &good, bad.to_str().unwrap()])
            .exits(2)
            .complains(&["bad.json", &why]);
        assert!(files_in(&data).is_empty(), "{why}");
    }
    with_data(&data, &["profiles", "import", &good]).exits(0);
    let kept = files_in(&data);
    assert_eq!(kept.len(), 1);
    // An older one does not take the place of a newer one unasked.
    let older = swapped("\"taken_at\": \"2026", "\"taken_at\": \"2020");
    std::fs::write(&bad, older).unwrap();
    let import = ["profiles", "import", bad.to_str().unwrap()];
    with_data(&data, &import)
        .exits(2)
        .complains(&["a newer profile"]);
    with_data(&data, &[&import[..], &["--replace"]].concat()).exits(0);
    assert_eq!(files_in(&data), kept);
}

#[test]
fn results_of_other_tools_count_on_their_machine_type_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    std::fs::create_dir_all(data.join("calibrations")).unwrap();
    // The facts of the model are taken from a calibration of it.
    std::fs::copy(calibration("mlp"), data.join("calibrations/mlp.json")).unwrap();
    let place = ["--model", "mlp", "--machine-type", "azure/Standard_D4ps_v6"];
    for file in [
        "onnxruntime_perf_test.txt",
        "mlperf_log_summary.txt",
        "perf_analyzer.csv",
        "perf_client.csv",
    ] {
        let file = format!("{ROOT}/tests/data/tools/{file}");
        let args = [
            &["profiles", "import", file.as_str(), "--batch-size", "1"],
            &place[..],
        ]
        .concat();
        with_data(data, &args).exits(0);
    }
    assert_eq!(files_in(data).len(), 3, "{:?}", files_in(data));
    let here = calibration("mlp");
    let plan = with_data(
        data,
        &[
            "plan",
            "--calibration",
            &here,
            "--qps",
            "5",
            "--p95",
            "900ms",
            "--provider",
            "azure",
            "--only",
            "cpu",
            "--top",
            "100",
            "--format",
            "json",
        ],
    )
    .exits(0)
    .json();
    for option in plan["options"].as_array().unwrap() {
        let there = option["machine"]["instance_type"] == "Standard_D4ps_v6";
        let kind = if there {
            "measured-elsewhere"
        } else {
            "transferred"
        };
        assert_eq!(option["source"]["kind"], kind, "{option:#}");
    }
    let file = format!("{ROOT}/tests/data/tools/perf_analyzer.csv");
    with_data(data, &["profiles", "import", &file])
        .exits(2)
        .complains(&["which machine it ran on", "--machine-type"]);
    with_data(
        data,
        &[&["profiles", "import", file.as_str()], &place[..]].concat(),
    )
    .exits(2)
    .complains(&["perf_analyzer.csv:1: the batch size", "--batch-size"]);
}

#[test]
fn jobs_are_written_for_each_machine_type_and_their_results_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    let save = jobs.to_str().unwrap();
    let types = "aws/c7i.2xlarge,gcp/n1-standard-4+1xT4";
    let value = advisor(&[
        "calibrate",
        "--on",
        "skypilot",
        "--model",
        "mlp",
        "--machine-type",
        types,
        "--save",
        save,
        "--format",
        "json",
    ])
    .exits(0)
    .json();
    assert_eq!(value["jobs"].as_array().unwrap().len(), 2);
    let gpu = std::fs::read_to_string(jobs.join("advisor-gcp-n1-standard-4-1xt4.yaml")).unwrap();
    for part in [
        "accelerators: {\"T4\": 1}",
        "--machine-type gcp/n1-standard-4+1xT4",
        "--only gpu",
    ] {
        assert!(gpu.contains(part), "no `{part}` in\n{gpu}");
    }
    advisor(&[
        "calibrate",
        "--on",
        "kubernetes",
        "--image",
        "registry.example/advisor:1",
        "--model",
        "mlp",
        "--machine-type",
        "aws/g6.xlarge",
        "--save",
        save,
    ])
    .exits(0);
    let job = std::fs::read_to_string(jobs.join("advisor-aws-g6-xlarge.yaml")).unwrap();
    assert!(
        job.contains("kind: Job") && job.contains("nvidia.com/gpu: \"1\""),
        "{job}"
    );
    for (more, why) in [
        (
            &["--machine-type", "aws/c7i.2xlargo"][..],
            "no price file has a machine type",
        ),
        (
            &["--machine-type", "hyperstack/n3-RTX-A4000x1"],
            "SkyPilot has no cloud `hyperstack`",
        ),
        (&[], "on which machine types"),
    ] {
        let empty = folder.path().join("none");
        let args = [
            &[
                "calibrate",
                "--on",
                "skypilot",
                "--model",
                "mlp",
                "--save",
                empty.to_str().unwrap(),
            ],
            more,
        ]
        .concat();
        advisor(&args).exits(2).complains(&[why]);
        assert!(!empty.exists(), "{why}");
    }
    // What the jobs leave behind is taken together.
    let results = jobs.join("results");
    std::fs::create_dir_all(&results).unwrap();
    let text = std::fs::read_to_string(calibration("mlp")).unwrap();
    for machine in ["aws/m8a.large", "aws/c8a.large"] {
        let mut one: Value = serde_json::from_str(&text).unwrap();
        one["machine_type"] = machine.into();
        let name = machine.replace(['/', '.'], "-");
        std::fs::write(results.join(format!("{name}.json")), one.to_string()).unwrap();
    }
    let data = folder.path().join("data");
    with_data(&data, &["profiles", "import", results.to_str().unwrap()]).exits(0);
    assert_eq!(files_in(&data).len(), 2);
}
