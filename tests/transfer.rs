//! The predictors for hardware that nobody here has, on the published rows that
//! they are fitted to: what is held out stays within the bars, and so does what
//! wrong choices cost.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "the figures are what one runs this for"
)]

use advisor::{
    plan::{
        pricing::{PriceBook, prices_per_device},
        transfer::{BenchText, Benchmarks, FILES, Regret, Split, evaluate, regret},
    },
    profile::hardware_book::HardwareBook,
};
use std::{fmt::Write as _, fs};

fn benchmarks() -> Benchmarks {
    let read = |name: &str| fs::read_to_string(format!("tests/data/bench/{name}"));
    let texts: Vec<(&str, String)> = FILES
        .iter()
        .map(|name| (*name, read(name).expect("the file is there")))
        .collect();
    let texts: Vec<BenchText<'_>> = texts
        .iter()
        .map(|(name, text)| BenchText { name, text })
        .collect();
    Benchmarks::parse(&texts).expect("the files are sound")
}

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

fn shown(split: &Split) -> String {
    let mut text = format!("{} (n = {}):", split.name, split.cases);
    for (what, e) in [
        ("throughput", &split.throughput),
        ("latency", &split.latency),
    ] {
        let _ = write!(
            text,
            " {what} {}/{}/{} %;",
            percent(e.median),
            percent(e.p90),
            percent(e.p95)
        );
    }
    if let Some(c) = &split.coverage {
        let _ = write!(
            text,
            " coverage {} %, half width {} %;",
            percent(c.share),
            percent(c.median_half_width)
        );
    }
    for (name, errors) in advisor::plan::transfer::DATASHEET
        .iter()
        .zip(&split.datasheet)
    {
        if let Some(e) = errors {
            let _ = write!(text, " {name} {}/{} %;", percent(e.median), percent(e.p95));
        }
    }
    text
}

#[test]
fn what_was_held_out_is_predicted_within_the_bars_and_better_than_by_datasheets() {
    let hardware = HardwareBook::shipped().expect("the shipped book is sound");
    let splits = evaluate(&benchmarks(), &hardware);
    let barred = splits.iter().filter(|split| split.bar.is_some()).count();
    assert!(barred >= 15, "{barred}");
    for split in &splits {
        println!("{}", shown(split));
        assert_ne!(split.meets_bar(), Some(false), "{}", shown(split));
        if split.bar.is_some() {
            let coverage = split.coverage.expect("there are enough groups");
            assert!((0.88..=0.97).contains(&coverage.share), "{}", shown(split));
            for errors in split.datasheet.iter().flatten() {
                assert!(split.throughput.median < errors.median, "{}", shown(split));
            }
        }
    }
}

#[test]
fn choosing_by_prediction_costs_little_more_than_knowing() {
    let hardware = HardwareBook::shipped().expect("the shipped book is sound");
    let book = PriceBook::shipped(&hardware).expect("the shipped prices are sound");
    let bench = benchmarks();
    for provider in [None, Some("aws"), Some("gcp"), Some("azure")] {
        let all = regret(
            &bench,
            &hardware,
            &prices_per_device(&book, &hardware, provider),
        );
        for one in &all {
            println!("{}: {}", provider.unwrap_or("all providers"), line(one));
        }
        let found = all
            .iter()
            .find(|one| one.name == "all questions, by prediction");
        let found = found.expect("questions were asked");
        assert!(
            found.questions >= 200 && found.median <= 0.0 && found.p90 <= 0.15,
            "{}",
            line(found)
        );
    }
}

fn line(one: &Regret) -> String {
    format!(
        "{} (n = {}): {}/{}/{} %, kind right {}, CPU cheapest {}, broken {}",
        one.name,
        one.questions,
        percent(one.median),
        percent(one.p90),
        percent(one.p95),
        one.kind_right
            .map_or_else(|| "-".to_owned(), |share| share.to_string()),
        one.cpu_cheapest,
        one.broken
    )
}
