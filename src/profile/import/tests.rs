//! Published outputs of the tools, and what must be refused in them.

use super::*;
use crate::profile::calibration::example;

fn sample(name: &str) -> String {
    let path = format!("{}/tests/data/tools/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn subject() -> ToolSubject {
    let like = example(&[((1, 1), 1, 0.1)]);
    ToolSubject {
        model: like.model,
        machine: like.machine,
        machine_type: "azure/Standard_D4ps_v6".into(),
        device: Device::Cpu,
        taken_at: "2026-01-01T00:00:00Z".into(),
    }
}

fn brought(texts: &[&str], setup: ToolSetup) -> Result<Calibration> {
    let format = ToolFormat::guess(texts[0]).unwrap();
    let texts: Vec<ToolText<'_>> = texts
        .iter()
        .map(|text| ToolText { name: "f", text })
        .collect();
    import(format, &texts, setup, subject())
}

const ONE: ToolSetup = ToolSetup {
    batch_size: Some(1),
    instances: None,
    threads: None,
};

#[test]
fn perf_analyzer_gives_the_computing_time_of_requests_that_did_not_wait() {
    for (file, micros) in [
        ("perf_analyzer.csv", 206.0 + 11781.0 + 19.0),
        ("perf_client.csv", 4801.0),
    ] {
        let found = brought(&[&sample(file)], ONE).unwrap();
        assert_eq!(found.rows.len(), 1, "{file}");
        let row = &found.rows[0];
        assert!((row.rounds[0].mean.get() * 1e6 - micros).abs() < 1e-6);
        assert_eq!((row.layout.instances, row.batch_size), (1, 1));
        let left = found
            .caveats
            .iter()
            .any(|c| c.message.contains("concurrency 3, 4, 2"));
        assert!(left, "{:?}", found.caveats);
    }
}

#[test]
fn perf_test_gives_mean_percentiles_memory_and_start() {
    let found = brought(
        &[&sample("onnxruntime_perf_test.txt")],
        ToolSetup::default(),
    )
    .unwrap();
    let row = &found.rows[0];
    assert!((row.rounds[0].mean.as_millis() - 1.857_39).abs() < 1e-9);
    assert_eq!(row.rounds[0].inferences, 100);
    let mean = row.samples.iter().map(|s| s.get()).sum::<f64>() / row.samples.len() as f64;
    assert!((mean * 1e3 - 1.857_39).abs() < 1e-6);
    assert_eq!(row.peak_memory_bytes, Some(Bytes::new(36_696_064)));
    assert!((found.starts[0].load.as_millis() - 10.2016).abs() < 1e-9);
}

#[test]
fn loadgen_gives_the_mean_of_a_single_stream() {
    let found = brought(&[&sample("mlperf_log_summary.txt")], ToolSetup::default()).unwrap();
    let row = &found.rows[0];
    assert!((row.rounds[0].mean.as_millis() - 129.386_553).abs() < 1e-9);
    assert_eq!((row.batch_size, row.rounds[0].inferences), (1, 100));
}

#[test]
fn several_runs_are_visits_and_narrow_the_interval() {
    let text = sample("onnxruntime_perf_test.txt");
    let slower = text.replace("1.85739 ms", "1.86 ms");
    let source = crate::estimate::Source::Measured;
    let width = |texts: &[&str]| {
        let found = brought(texts, ToolSetup::default()).unwrap();
        let time = found.rows[0].service_time(None, &source).unwrap();
        time.high.ratio(time.low)
    };
    assert!(width(&[&text]) > 3.9);
    assert!(width(&[&text, &slower, &text]) < 1.1);
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    let (perf, test, mlperf) = (
        sample("perf_analyzer.csv"),
        sample("onnxruntime_perf_test.txt"),
        sample("mlperf_log_summary.txt"),
    );
    let cases: Vec<(String, ToolSetup, &str)> = vec![
        (
            perf.clone(),
            ToolSetup::default(),
            "f:1: the batch size is not in this format",
        ),
        (perf.replace("206,11781,19", "206,x,19"), ONE, "f:2: `x`"),
        (
            perf.replace("69.2,", "6920,"),
            ONE,
            "f:2: 6920 inferences/s are more",
        ),
        (
            perf.replace("Server Compute", "Client"),
            ONE,
            "f:1: the server's times",
        ),
        (
            test.replace("1.85739 ms", "1.85739"),
            ToolSetup::default(),
            "f:6: `Average inference time cost: 1.85739`: the unit is missing",
        ),
        (
            test.replace("1.85739 ms", "1.85739 s"),
            ToolSetup::default(),
            "f:6: a mean of 1.86 s lies outside",
        ),
        (
            mlperf.replace(": VALID", ": INVALID"),
            ToolSetup::default(),
            "f:8: the run is INVALID",
        ),
        (
            mlperf.replace("Single Stream", "Server"),
            ToolSetup::default(),
            "f:5: latencies of `Server` contain waiting",
        ),
        (
            mlperf.replace("Mean latency (ns) ", "Mean latency "),
            ToolSetup::default(),
            "`Mean latency (ns)`",
        ),
        (
            mlperf.replace("99.00 percentile latency (ns)", "99.00 percentile latency"),
            ToolSetup::default(),
            "f:25: the unit `(ns)` is missing",
        ),
    ];
    for (text, setup, why) in cases {
        let error = brought(&[&text], setup).unwrap_err();
        assert!(
            error.message().contains(why),
            "{} for {why}",
            error.message()
        );
    }
}
