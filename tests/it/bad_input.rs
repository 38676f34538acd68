//! Bad input gets a message that names it and says what to do, exit code 2 (or 3
//! where the machine is at fault), and never a panic.

use crate::run::{advisor, calibration};
use std::fs;

#[test]
fn an_unknown_model_offers_the_nearest_names() {
    advisor(&[
        "plan", "--qps", "40", "--p95", "120ms", "--model", "brt-base",
    ])
    .exits(2)
    .complains(&[
        "error: no model is called `brt-base`",
        "hint: did you mean `bert-base`",
    ]);
}

#[test]
fn files_that_are_not_models_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 3] = [
        ("picture.onnx", b"\x89PNG\r\n\x1a\nrest of it", "PNG image"),
        ("empty.onnx", b"", "empty"),
        (
            "text.onnx",
            b"hello, I am no model at all, just a text",
            "not",
        ),
    ];
    for (name, bytes, says) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let run = advisor(&["calibrate", "--model", path.to_str().unwrap()])
            .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
            .exits(2);
        run.complains(&[name, says]);
    }
    advisor(&["calibrate", "--model", "missing.onnx"])
        .exits(2)
        .complains(&["missing.onnx"]);
}

#[test]
fn a_model_cut_short_says_so() {
    let folder = tempfile::tempdir().unwrap();
    advisor(&["models", "--write", folder.path().to_str().unwrap(), "mlp"]).exits(0);
    let whole = fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&whole).unwrap();
    let cut = folder.path().join("cut.onnx");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    advisor(&["calibrate", "--model", cut.to_str().unwrap()])
        .exits(2)
        .complains(&["cut.onnx", "cut short"]);
}

#[test]
fn questions_without_sense_are_refused() {
    let cases: [(&[&str], &str); 9] = [
        (&["--qps", "0", "--p95", "120ms"], "--qps: a rate of 0"),
        (&["--qps", "-4", "--p95", "120ms"], "must not be negative"),
        (&["--qps", "nan", "--p95", "120ms"], "not a request rate"),
        (&["--qps", "40", "--p95", "0ms"], "--p95: a latency of 0"),
        (&["--qps", "40", "--p95", "120"], "write `120ms` or `120s`"),
        (&["--qps", "40"], "no latency objective"),
        (
            &["--qps", "40", "--p95", "120ms", "--budget", "free"],
            "not a price",
        ),
        (
            &["--qps", "40", "--p95", "120ms", "--budget", "0"],
            "--budget: nothing can be had",
        ),
        (
            &["--qps", "40", "--p95", "120ms", "--dim", "sequence"],
            "NAME=N",
        ),
    ];
    let file = calibration("bert-base");
    for (args, says) in cases {
        let all = [&["plan", "--calibration", file.as_str()], args].concat();
        advisor(&all).exits(2).complains(&[says]);
    }
}

#[test]
fn unknown_regions_and_providers_offer_the_nearest() {
    let file = calibration("bert-base");
    let base = [
        "plan",
        "--calibration",
        &file,
        "--qps",
        "40",
        "--p95",
        "120ms",
    ];
    let region = [&base[..], &["--region", "us-est-1"]].concat();
    advisor(&region)
        .exits(2)
        .complains(&["us-est-1", "us-east-1"]);
    let provider = [&base[..], &["--provider", "asw"]].concat();
    advisor(&provider).exits(2).complains(&["asw", "aws"]);
}

#[test]
fn a_price_table_with_a_mistake_shows_line_and_caret() {
    let file = calibration("bert-base");
    for (text, says) in [
        ("on_demand = nan", "nan"),
        ("on_demand = -1.0", "negative"),
        ("on_demnd = 1.0", "on_demnd"),
    ] {
        let advisor = advisor(&[
            "plan",
            "--calibration",
            &file,
            "--qps",
            "40",
            "--p95",
            "120ms",
        ]);
        let folder = advisor.config().join("pricing");
        fs::create_dir_all(&folder).unwrap();
        let table = format!(
            "schema = 1\nprovider = \"mine\"\ncurrency = \"USD\"\nas_of = 2026-11-01\nsource = \"my contract\"\nlicense = \"private\"\n\n\
             [shapes]\n\"big\" = {{ vcpus = 8, memory_gib = 32.0, arch = \"x86_64\", cpu = \"aws/c7i\" }}\n\n[price.home]\n\"big\" = {{ {text} }}\n"
        );
        fs::write(folder.join("mine.toml"), table).unwrap();
        advisor.exits(2).complains(&["mine.toml", says, "^"]);
    }
}

#[test]
fn calibrations_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(calibration("bert-base")).unwrap();
    let other_schema = text.replacen("\"schema\":2", "\"schema\":99", 1);
    assert_ne!(text, other_schema);
    let mut edited: serde_json::Value = serde_json::from_str(&text).unwrap();
    edited["rows"][0]["hold_ups"] =
        serde_json::json!({ "count": 1_000_000_000_000_000_000_u64, "lengths_s": [0.1] });
    let edited = edited.to_string();
    let mut torn: serde_json::Value = serde_json::from_str(&text).unwrap();
    torn["rows"][0]["interference"] = serde_json::json!([1.0, 0.0, 1.5]);
    let torn = torn.to_string();
    for (name, text, says) in [
        ("held-up.json", edited.as_str(), "was held up"),
        ("torn.json", torn.as_str(), "has an interference"),
        (
            "half.json",
            &text[..text.len() / 2],
            "not a saved calibration",
        ),
        ("schema.json", other_schema.as_str(), "has schema 99"),
        ("empty.json", "", "not a saved calibration"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        advisor(&[
            "plan",
            "--calibration",
            path.to_str().unwrap(),
            "--qps",
            "40",
            "--p95",
            "120ms",
        ])
        .exits(2)
        .complains(&[name, says]);
    }
    advisor(&[
        "plan",
        "--calibration",
        "no-such.json",
        "--qps",
        "40",
        "--p95",
        "120ms",
    ])
    .exits(2)
    .complains(&["no-such.json"]);
    let (one, other) = (calibration("bert-base"), calibration("mlp"));
    advisor(&[
        "plan",
        "--calibration",
        &one,
        "--calibration",
        &other,
        "--qps",
        "40",
        "--p95",
        "120ms",
    ])
    .exits(2)
    .complains(&["one file is of bert-base, another of mlp"]);
}

#[test]
fn a_data_folder_that_cannot_be_written_to_is_found_before_measuring() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    advisor(&[
        "calibrate",
        "--model",
        "mlp",
        "--data-dir",
        file.to_str().unwrap(),
    ])
    .exits(3)
    .complains(&["cannot write to the data folder", "--data-dir DIR"]);
}

#[test]
fn a_full_disk_leaves_no_half_written_file() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(folder.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("not checked: a small file system can be mounted only by root");
        return;
    }
    let run = advisor(&[
        "models",
        "--write",
        folder.path().to_str().unwrap(),
        "resnet50",
    ]);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run.exits(3).complains(&["cannot write"]);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }));
    let _ = std::process::Command::new("umount")
        .arg(folder.path())
        .output();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_runtime_that_is_none_is_named_and_nothing_panics() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    fs::write(&text, "this is no library").unwrap();
    for (path, says) in [
        (text.to_str().unwrap(), "not a library"),
        ("/nowhere/libonnxruntime.so", "is not a file"),
    ] {
        advisor(&["calibrate", "--model", "mlp"])
            .env("ORT_DYLIB_PATH", path)
            .exits(3)
            .complains(&["ORT_DYLIB_PATH names no usable ONNX Runtime", says, "hint"]);
    }
    // A real library that is something else.
    let libc = [
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/aarch64-linux-gnu/libm.so.6",
        "/usr/lib64/libm.so.6",
    ]
    .into_iter()
    .find(|path| std::path::Path::new(path).exists());
    if let Some(path) = libc {
        advisor(&["runtime"])
            .env("ORT_DYLIB_PATH", path)
            .exits(3)
            .complains(&["not ONNX Runtime"]);
    }
}

#[test]
fn without_a_runtime_and_without_a_package_client_all_ways_are_told() {
    let empty = tempfile::tempdir().unwrap();
    let run = advisor(&["calibrate", "--model", "mlp"])
        .env("PATH", empty.path())
        .env("LD_LIBRARY_PATH", "")
        .exits(3);
    run.complains(&[
        "no ONNX Runtime was found",
        "could not be fetched",
        "`uv`: not installed",
        "pip install onnxruntime",
        "ORT_DYLIB_PATH",
    ]);
}
