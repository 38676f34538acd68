//! The field's textbook cases have known answers.

use crate::run::{advisor, calibration};
use serde_json::Value;

fn plan(model: &str, args: &[&str], code: i32) -> Value {
    let file = calibration(model);
    let all = [
        &["plan", "--format", "json", "--calibration", file.as_str()],
        args,
    ]
    .concat();
    advisor(&all).exits(code).json()
}

fn winner(plan: &Value) -> &Value {
    let index = plan["recommended"].as_u64().expect("a recommended option");
    &plan["options"][usize::try_from(index).unwrap()]
}

#[test]
fn a_small_model_at_low_volume_and_tight_budget_goes_to_a_cpu_with_small_batches() {
    let plan = plan(
        "mlp",
        &["--qps", "5", "--p95", "50ms", "--budget", "0.10"],
        0,
    );
    let winner = winner(&plan);
    assert_eq!(winner["machine"]["kind"], "cpu", "{plan:#}");
    assert!(
        winner["setup"]["max_batch"].as_u64().unwrap() <= 4,
        "{winner:#}"
    );
    assert_eq!(winner["replicas"], 1);
    assert_eq!(winner["verdict"], "MEETS");
}

#[test]
fn a_large_network_at_a_high_rate_goes_to_gpus() {
    let plan = plan("bert-base", &["--qps", "2000", "--p95", "200ms"], 0);
    assert_eq!(winner(&plan)["machine"]["kind"], "gpu", "{plan:#}");
}

#[test]
fn the_text_classifier_at_40_requests_per_second_gets_an_answer_and_a_reason() {
    let plan = plan(
        "bert-base",
        &["--qps", "40", "--p95", "120ms", "--budget", "2"],
        0,
    );
    let winner = winner(&plan);
    assert_ne!(winner["verdict"], "MISSES");
    assert!(winner["cost_usd_per_hour"].as_f64().unwrap() <= 2.0);
    let reasons = plan["reasons"].as_array().unwrap();
    assert!(
        reasons[0].as_str().unwrap().contains("won as"),
        "{reasons:?}"
    );
    let kinds: Vec<&str> = plan["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|option| option["machine"]["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"cpu") && kinds.contains(&"gpu"),
        "{kinds:?}"
    );
    let lost = reasons
        .iter()
        .any(|reason| reason.as_str().unwrap().starts_with("the best CPU option"));
    assert!(lost, "{reasons:?}");
}

#[test]
fn gradient_boosting_never_goes_to_a_gpu() {
    for (qps, latency) in [("5", "50ms"), ("20000", "20ms"), ("1M", "100ms")] {
        let plan = plan("gradient-boosting", &["--qps", qps, "--p95", latency], 0);
        for option in plan["options"].as_array().unwrap() {
            assert_eq!(option["machine"]["kind"], "cpu", "{option:#}");
        }
        let told = plan["caveats"].as_array().unwrap().iter().any(|caveat| {
            caveat["message"]
                .as_str()
                .unwrap()
                .contains("no GPU kernel for tree ensembles")
        });
        assert!(told, "{plan:#}");
    }
    plan_on_gpus_only_finds_nothing();
}

fn plan_on_gpus_only_finds_nothing() {
    let nothing = plan(
        "gradient-boosting",
        &["--qps", "5", "--p95", "50ms", "--only", "gpu"],
        1,
    );
    assert_eq!(nothing["recommended"], Value::Null);
}
