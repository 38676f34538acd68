//! `advisor memory`: the textbook tiers, exit codes and bad input.

use crate::run::advisor;
use serde_json::Value;

fn memory(args: &[&str]) -> Value {
    let all = [&["memory", "--format", "json"], args].concat();
    advisor(&all).exits(0).json()
}

/// The verdict for the card of that label.
fn on<'v>(report: &'v Value, label: &str) -> &'v str {
    report["fits_on"]
        .as_array()
        .unwrap()
        .iter()
        .find(|card| card["card"].as_str().unwrap().starts_with(label))
        .and_then(|card| card["verdict"].as_str())
        .unwrap_or_else(|| panic!("no {label} in {report:#}"))
}

/// The smallest card that it goes into, if only just.
fn smallest(report: &Value) -> &str {
    report["fits_on"]
        .as_array()
        .unwrap()
        .iter()
        .find(|card| card["verdict"] != "does-not-fit")
        .and_then(|card| card["card"].as_str())
        .unwrap()
}

#[test]
fn training_a_cnn_of_50_million_parameters_needs_8_gb_for_small_images_and_16_gb_for_large_ones() {
    let train = [
        "--params",
        "50M",
        "--task",
        "train",
        "--precision",
        "fp32",
        "--batch",
        "64",
    ];
    let small = memory(&[&train[..], &["--image", "128"]].concat());
    let large = memory(&[&train[..], &["--image", "224"]].concat());
    assert!(smallest(&small).starts_with("8 GB"), "{small:#}");
    assert!(smallest(&large).starts_with("16 GB"), "{large:#}");
    let all = [&["memory"], &train[..], &["--image", "224"]].concat();
    let text = advisor(&all).exits(0).stdout();
    assert!(text.contains("decided by  activations"), "{text}");
}

#[test]
fn inference_of_1_3_billion_parameters_in_fp16_fits_8_gb() {
    let report = memory(&["--params", "1.3B", "--precision", "fp16"]);
    assert_eq!(on(&report, "8 GB"), "fits");
}

#[test]
fn inference_of_7_billion_parameters_in_fp16_is_tight_on_16_gb_and_comfortable_on_24() {
    for batch in ["1", "2"] {
        let report = memory(&["--params", "7B", "--precision", "fp16", "--batch", batch]);
        assert_eq!(on(&report, "16 GB"), "tight", "batch {batch}");
        assert_eq!(on(&report, "24 GB"), "fits", "batch {batch}");
        assert_eq!(on(&report, "8 GB"), "does-not-fit", "batch {batch}");
    }
}

#[test]
fn fine_tuning_bert_base_in_mixed_precision_at_32_by_128_fits_16_gb() {
    let report = memory(&[
        "--arch",
        "bert-base",
        "--task",
        "finetune",
        "--precision",
        "mixed",
        "--batch",
        "32",
        "--sequence",
        "128",
    ]);
    assert_eq!(on(&report, "16 GB"), "fits");
}

#[test]
fn the_kv_cache_of_llama_3_8b_is_exact_to_the_byte() {
    // 2 × 32 layers × 8 heads × 128 numbers × 2 bytes.
    let report = memory(&[
        "--arch",
        "llama-3-8b",
        "--precision",
        "fp16",
        "--sequence",
        "1024",
    ]);
    assert_eq!(report["kv_bytes_per_token"], 131_072);
}

#[test]
fn the_exit_code_can_guard_a_training_script() {
    advisor(&[
        "memory",
        "--arch",
        "llama-3-8b",
        "--task",
        "finetune",
        "--on",
        "T4",
    ])
    .exits(1);
    let run = advisor(&[
        "memory",
        "--arch",
        "llama-3-8b",
        "--precision",
        "int4",
        "--sequence",
        "512",
        "--on",
        "NVIDIA L4",
    ])
    .exits(0);
    assert!(run.stdout().contains("largest batch"), "{}", run.report());
}

#[test]
fn bad_questions_are_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, "{\"model_type\": \"llama\"}").unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--params", "7X"], "unknown suffix `X`"),
        (&["--config", config.to_str().unwrap()], "num_hidden_layers"),
        (
            &["--arch", "llama-3-8b", "--batch", "0"],
            "batch must be at least 1",
        ),
        (
            &["--arch", "llama-3-8b", "--task", "lora", "--rank", "9999"],
            "larger than the hidden size",
        ),
        (
            &["--arch", "llama-3-8b", "--on", "NVIDIA L5"],
            "did you mean",
        ),
        (&["--arch", "lama-3-8b"], "did you mean `llama-3-8b`"),
        (&[], "--params"),
    ];
    for (args, says) in cases {
        let all = [&["memory"], args].concat();
        advisor(&all).exits(2).complains(&[says]);
    }
}

#[test]
fn the_evaluation_shows_every_case_and_keeps_its_promises() {
    let report = advisor(&["memory", "--evaluate", "--format", "json"])
        .exits(0)
        .json();
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.len() > 1500, "{}", cases.len());
    let covered = cases.iter().filter(|case| case["covered"] == true).count();
    assert!(covered * 10 >= cases.len() * 9);
    for summary in report["summaries"].as_array().unwrap() {
        assert_eq!(summary["false_fits"], 0, "{summary:#}");
        if summary["set"] == "traced" {
            assert!(
                summary["median_error"].as_f64().unwrap() <= 0.015,
                "{summary:#}"
            );
            assert!(
                summary["p95_error"].as_f64().unwrap() <= 0.10,
                "{summary:#}"
            );
        }
    }
}

#[test]
fn a_models_memory_comes_from_its_graph_without_a_runtime() {
    let report = memory(&["--model", "minilm-l6", "--batch", "1,32"]);
    let mib = |row: usize| {
        report["rows"][row]["footprint"]["total_bytes"]["value"]
            .as_f64()
            .unwrap()
            / f64::from(1 << 20)
    };
    // Measured in fresh processes: 166 and 293 MiB.
    assert!((mib(0) - 166.0).abs() < 16.0, "{report:#}");
    assert!((mib(1) - 293.0).abs() < 24.0, "{report:#}");
    let text = advisor(&["memory", "--model", "mlp"]).exits(0).stdout();
    assert!(text.contains("MALLOC_MMAP_THRESHOLD_"), "{text}");
}

#[test]
fn what_does_not_go_together_with_a_model_is_refused() {
    let cases: [(&[&str], &str); 4] = [
        (&["--params", "7B", "--batch", "1,2"], "several sizes"),
        (&["--model", "mlp", "--batch", "0"], "batch"),
        (&["--model", "mpl"], "mlp"),
        (&["--params", "7B", "--measure"], "--model"),
    ];
    for (args, says) in cases {
        let all = [&["memory"], args].concat();
        advisor(&all).exits(2).complains(&[says]);
    }
}
