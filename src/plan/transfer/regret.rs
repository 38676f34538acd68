//! What wrong predictions cost: plans chosen by prediction, paid for in truth.
//!
//! Truth is what was published: which of the measured devices serves a model at
//! a rate, within a time, for least money. The planner sees none of the rows that
//! it would have to predict.

mod questions;

use super::{bench::Benchmarks, linear::quantile};
use crate::{
    profile::hardware_book::HardwareBook,
    units::{Fraction, UsdPerHour},
};
use questions::{image_questions, mlperf_questions, processor_questions};
use serde::Serialize;
use std::collections::BTreeMap;

/// What one device costs per hour with its share of the machine round it: a GPU
/// by its name in the hardware book, a processor by its name in [`PROCESSORS`].
pub type Prices = BTreeMap<String, UsdPerHour>;

/// Processors of the tables that clouds sell the like of: name there,
/// microarchitecture, logical processors of the whole machine. A machine like it
/// costs as many times a vCPU of that microarchitecture.
pub const PROCESSORS: [(&str, &str, u32); 8] = [
    ("CPU-i9-10940X", "Intel Cascade Lake", 28),
    ("Xeon Gold 5218T", "Intel Cascade Lake", 64),
    ("Xeon Silver 4216R", "Intel Cascade Lake", 64),
    ("Xeon Platinum 8270", "Intel Cascade Lake", 104),
    ("Xeon Silver 4316", "Intel Ice Lake-SP", 80),
    ("Xeon Platinum 8380", "Intel Ice Lake-SP", 160),
    ("Xeon Platinum 8490H", "Intel Sapphire Rapids", 240),
    ("Xeon Platinum 8580", "Intel Emerald Rapids", 240),
];

/// The smallest share of a server that clouds sell: two vCPU.
const SMALLEST_VCPUS: f64 = 2.0;

/// What was paid too much over all questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regret {
    /// Which questions, and what chose.
    pub name: String,
    /// Questions that some device can answer in truth.
    pub questions: usize,
    /// Middle of cost over cheapest cost, less one.
    pub median: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// Nineteen in twenty are below.
    pub p95: f64,
    /// Share of questions whose choice of CPU or GPU was that of the cheapest
    /// plan; none where there was no CPU to choose.
    pub kind_right: Option<Fraction>,
    /// Share of questions whose cheapest plan runs on a CPU.
    pub cpu_cheapest: Fraction,
    /// Share of questions whose chosen device does not hold the time in truth (it
    /// then counts with the next choice that does), or for which none was found.
    pub broken: Fraction,
}

/// Requests per second that are asked for.
const RATES: [f64; 4] = [5.0, 50.0, 500.0, 5000.0];

/// More of them where one device serves thousands.
const HIGHER_RATES: [f64; 2] = [20.0, 20_000.0];

/// Times that a request may take, in seconds.
const SLOS: [f64; 3] = [0.05, 0.2, 1.0];

/// Share of its throughput that a device is loaded with.
const LOAD: f64 = 0.8;

/// A device that could serve a model.
#[derive(Debug, Clone, Copy)]
struct Choice {
    /// Dollars per hour of one.
    price: f64,
    cpu: bool,
    /// Share of a machine that can be had; 1 where only whole ones are.
    least: f64,
    /// Items per second and seconds per batch, in truth.
    truth: (f64, f64),
    /// The same, predicted.
    predicted: (f64, f64),
    /// The same, by a datasheet ratio.
    datasheet: (f64, f64),
}

/// What was asked, and what each way of choosing came to.
#[derive(Debug, Clone, Copy)]
struct Answer {
    over: f64,
    right_kind: bool,
    cpu_cheapest: bool,
    broken: bool,
}

/// Cost of a rate on a device with this speed; none where it is too slow for the
/// time: a request waits for at most one batch before its own.
fn cost((items, batch): (f64, f64), choice: &Choice, (rate, slo): (f64, f64)) -> Option<f64> {
    (2.0 * batch <= slo && items > 0.0)
        .then(|| (rate / (LOAD * items) / choice.least).ceil() * choice.least * choice.price)
}

/// Answers a question by what a view of the choices shows.
fn answer(choices: &[Choice], (rate, slo): (f64, f64), view: View) -> Option<Answer> {
    let truth = |choice: &Choice| cost(choice.truth, choice, (rate, slo));
    let (best, cheapest) = choices
        .iter()
        .filter_map(|choice| Some((choice, truth(choice)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    // In order of predicted cost; what seems too slow comes last, fastest first.
    let mut order: Vec<&Choice> = choices.iter().collect();
    let key = |choice: &Choice| {
        cost(view(choice), choice, (rate, slo)).map_or((1, view(choice).1), |cost| (0, cost))
    };
    order.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let first = order.first()?;
    let holds = key(first).0 == 0 && truth(first).is_some();
    let (taken, paid) = order
        .iter()
        .find_map(|choice| Some((choice, truth(choice)?)))?;
    Some(Answer {
        over: paid / cheapest - 1.0,
        right_kind: taken.cpu == best.cpu,
        cpu_cheapest: best.cpu,
        broken: !holds,
    })
}

fn summary(name: &str, answers: &[Answer], kinds: bool) -> Option<Regret> {
    let over: Vec<f64> = answers.iter().map(|answer| answer.over).collect();
    let share = |condition: fn(&Answer) -> bool| {
        let count = answers.iter().filter(|answer| condition(answer)).count();
        Fraction::saturating(count as f64 / answers.len().max(1) as f64)
    };
    Some(Regret {
        name: name.to_owned(),
        questions: answers.len(),
        median: quantile(&over, 0.5)?,
        p90: quantile(&over, 0.9)?,
        p95: quantile(&over, 0.95)?,
        kind_right: kinds.then(|| share(|answer| answer.right_kind)),
        cpu_cheapest: share(|answer| answer.cpu_cheapest),
        broken: share(|answer| answer.broken),
    })
}

/// What is asked of a list of choices: pairs of rate and time.
fn asked(choices: &[Choice], ask: Ask) -> Vec<(f64, f64)> {
    match ask {
        Ask::Slos => RATES
            .iter()
            .flat_map(|rate| SLOS.map(|slo| (*rate, slo)))
            .collect(),
        Ask::Rates => RATES
            .iter()
            .chain(&HIGHER_RATES)
            .map(|rate| (*rate, f64::INFINITY))
            .collect(),
        // Rates that a tenth to a hundred of a middling device serve.
        Ask::RatesOfIts => {
            let rates: Vec<f64> = choices.iter().map(|choice| choice.truth.0).collect();
            let middle = quantile(&rates, 0.5).unwrap_or_default();
            RATES
                .map(|rate| (rate / 50.0 * middle, f64::INFINITY))
                .to_vec()
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    Slos,
    Rates,
    RatesOfIts,
}

/// Regret of choosing by prediction, and of choosing by the square root of the
/// datasheet ratios of FLOPs and bandwidth, over three sets of questions and all.
#[must_use]
pub fn regret(bench: &Benchmarks, hardware: &HardwareBook, prices: &Prices) -> Vec<Regret> {
    let sets = [
        (
            "image models measured on a CPU here, GPUs predicted (timm)",
            image_questions(bench, hardware, prices),
            (Ask::Slos, true),
        ),
        (
            "networks measured on one GPU here, others predicted (MLPerf)",
            mlperf_questions(bench, hardware, prices),
            (Ask::RatesOfIts, false),
        ),
        (
            "networks measured on one server CPU here, other CPUs and GPUs predicted (OpenVINO, MLPerf)",
            processor_questions(bench, hardware, prices),
            (Ask::Rates, true),
        ),
    ];
    let views: [(&str, View); 2] = [
        ("prediction", |choice| choice.predicted),
        ("datasheet square root", |choice| choice.datasheet),
    ];
    let mut out = Vec::new();
    for (way, view) in views {
        let mut all = Vec::new();
        for (name, questions, (ask, kinds)) in &sets {
            let answers: Vec<Answer> = questions
                .iter()
                .flat_map(|choices| {
                    asked(choices, *ask)
                        .into_iter()
                        .filter_map(move |asked| answer(choices, asked, view))
                })
                .collect();
            out.extend(summary(&format!("{name}, by {way}"), &answers, *kinds));
            all.extend(answers);
        }
        out.extend(summary(&format!("all questions, by {way}"), &all, false));
    }
    out
}

type View = fn(&Choice) -> (f64, f64);
