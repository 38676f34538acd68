//! `advisor hardware` and `advisor fit-hardware`.

use crate::run::advisor;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn hardware_is_listed_with_its_sources() {
    let list = advisor(&["hardware", "list", "--format", "json"])
        .exits(0)
        .json();
    assert!(list["gpus"].as_array().unwrap().len() >= 60);
    assert!(list["cpus"].as_array().unwrap().len() >= 90);
    for kind in ["gpus", "cpus"] {
        for one in list[kind].as_array().unwrap() {
            assert!(!one["source"].as_str().unwrap().is_empty(), "{one:#}");
        }
    }
    let gpus = advisor(&["hardware", "list", "--only", "gpu"])
        .exits(0)
        .stdout();
    assert!(
        gpus.contains("L4") && !gpus.contains("CPU family"),
        "{gpus}"
    );
}

#[test]
fn one_is_shown_by_either_name_with_what_was_published_of_it() {
    for name in ["L4", "l4", "NVIDIA L4"] {
        let text = advisor(&["hardware", "show", name]).exits(0).stdout();
        for part in [
            "NVIDIA L4",
            "300 GB/s",
            "source",
            "bert-large-384",
            "MLPerf v",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }
    let cpu = advisor(&["hardware", "show", "aws/c7i", "--format", "markdown"])
        .exits(0)
        .stdout();
    for part in ["Intel Sapphire Rapids", "hyperthread", "amx-int8", "GB/s"] {
        assert!(cpu.contains(part), "no `{part}` in\n{cpu}");
    }
}

#[test]
fn a_name_that_is_unknown_brings_the_nearest() {
    advisor(&["hardware", "show", "A100-80G"])
        .exits(2)
        .complains(&["`A100-80G`", "did you mean `A100-80GB`"]);
    advisor(&["hardware", "show", "aws/c7j"])
        .exits(2)
        .complains(&["did you mean `aws/c7"]);
}

#[test]
fn the_shipped_fit_is_what_the_command_makes_of_the_shipped_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("speed.toml");
    let args = [
        "fit-hardware",
        "--data",
        &format!("{ROOT}/tests/data/bench"),
        "--output",
        file.to_str().unwrap(),
        "--format",
        "json",
    ];
    let first = advisor(&args).exits(0).json();
    assert_eq!(first["changed"], true);
    let without_day = |path: &str| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("fitted_on"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        without_day(file.to_str().unwrap()),
        without_day(&format!("{ROOT}/profiles/fitted/speed.toml"))
    );
    // Nothing new: the file is left as it is.
    assert_eq!(advisor(&args).exits(0).json()["changed"], false);
}

#[test]
fn the_evaluation_meets_its_bars_and_shows_datasheets_beside_them() {
    let data = format!("{ROOT}/tests/data/bench");
    let value = advisor(&[
        "fit-hardware",
        "--evaluate",
        "--data",
        &data,
        "--format",
        "json",
    ])
    .exits(0)
    .json();
    let splits = value["splits"].as_array().unwrap();
    let barred: Vec<&Value> = splits.iter().filter(|s| !s["bar"].is_null()).collect();
    assert!(splits.len() >= 25 && barred.len() >= 15);
    for split in barred {
        assert_eq!(split["meets_bar"], true, "{split:#}");
        let share = split["coverage"]["share"].as_f64().unwrap();
        assert!((0.88..=0.97).contains(&share), "{split:#}");
    }
    let of_plans = splits
        .iter()
        .find(|split| split["name"].as_str().unwrap().contains("as plans do"))
        .unwrap();
    assert!(of_plans["cases"].as_u64().unwrap() > 1000);
    let all: Vec<&Value> = value["regret"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"] == "all questions, by prediction")
        .collect();
    assert_eq!(all.len(), 4);
    for one in all {
        assert!(one["questions"].as_u64().unwrap() >= 200, "{one:#}");
        assert!(one["p90"].as_f64().unwrap() <= 0.15, "{one:#}");
    }
    let text = advisor(&["fit-hardware", "--evaluate", "--data", &data])
        .exits(0)
        .stdout();
    for part in ["Held out", "Datasheet ratios", "Regret", "met: median"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn data_that_is_not_there_or_broken_is_named() {
    advisor(&["fit-hardware", "--data", "/nowhere"])
        .exits(2)
        .complains(&["/nowhere/timm_infer.csv", "tests/data/bench"]);
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("bench"), folder.path().join("old.toml"));
    std::fs::create_dir_all(data.join("cc-by-sa-4.0")).unwrap();
    for name in [
        "timm_infer.csv",
        "nvidia_tables.csv",
        "mlperf.csv",
        "openvino_cpu.csv",
        "networks.csv",
        "cc-by-sa-4.0/llamacpp_cpu.csv",
    ] {
        let text = std::fs::read_to_string(format!("{ROOT}/tests/data/bench/{name}")).unwrap();
        std::fs::write(data.join(name), text.replace(",Offline,", ",Offline,x")).unwrap();
    }
    std::fs::write(&file, "old").unwrap();
    advisor(&[
        "fit-hardware",
        "--data",
        data.to_str().unwrap(),
        "--output",
        file.to_str().unwrap(),
    ])
    .exits(2)
    .complains(&["mlperf.csv, line "]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
}
