//! Commands that look at this machine but do not measure.

use crate::run::advisor;

#[test]
fn probe_knows_this_machine_and_gives_reasons_for_what_it_does_not_know() {
    let probe = advisor(&["probe", "--format", "json"]).exits(0).json();
    assert!(probe["cpu"]["logical_cores"].as_u64().unwrap() >= 1);
    assert!(probe["memory_bytes"]["known"].as_u64().unwrap() > 100_000_000);
    let state = probe["gpus"]["state"].as_str().unwrap();
    let reason = match state {
        "no-driver" => probe["gpus"]["tried"].as_str(),
        "driver-failed" | "no-device" => probe["gpus"]["why"].as_str(),
        "found" => Some("devices"),
        other => panic!("unknown state {other}"),
    };
    assert!(reason.is_some_and(|why| !why.is_empty()));
    let text = advisor(&["probe"]).exits(0).stdout();
    assert!(
        text.contains("instruction sets") && text.contains("to be used"),
        "{text}"
    );
}

#[test]
fn models_lists_every_reference_model_with_its_parameters() {
    let models = advisor(&["models", "--format", "json"]).exits(0).json();
    let names: Vec<&str> = models
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    for name in [
        "bert-base",
        "minilm-l6",
        "resnet50",
        "mobilenet-v2",
        "mlp",
        "gradient-boosting",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let bert = models
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "bert-base")
        .unwrap();
    assert_eq!(bert["parameters"], 109_482_240);
    let run = advisor(&["models", "resnet5"]).exits(2);
    run.complains(&[
        "no reference model is called `resnet5`",
        "did you mean `resnet50`",
    ]);
}

#[test]
fn help_and_version_are_results() {
    let help = advisor(&["--help"]).exits(0).stdout();
    for command in ["plan", "calibrate", "probe", "runtime", "models"] {
        assert!(help.contains(command), "{help}");
    }
    assert!(!help.contains("worker"), "{help}");
    assert!(
        advisor(&["--version"])
            .exits(0)
            .stdout()
            .starts_with("advisor ")
    );
    let run = advisor(&["pla"]).exits(2);
    assert!(run.stderr().contains("plan"), "{}", run.report());
}
