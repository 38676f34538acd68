//! Job questions on made-up machines of known speed.

use super::*;
use super::{interruption::Hazard, option::Worker};
use crate::{
    error::Result,
    estimate::{Estimate, Source},
    plan::{
        advise::{
            Candidate, Candidates, Evidence, Kind, Machine, Verdict, footprint::MemoryUse,
            sizing::Room,
        },
        latency::{BatchPoint, LatencyCurve},
        pricing::{Offer, PriceBook, Term},
    },
    profile::{
        calibration::{ModelClass, ModelSummary, SessionLayout},
        hardware_book::HardwareBook,
        toml_text::TomlText,
    },
    units::{Bytes, Count, Flops, Fraction, Time, Usd},
};
use proptest::prelude::*;
use std::sync::Arc;

fn time(seconds: f64) -> Time {
    Time::new(seconds).unwrap()
}

fn question(items: u64, hours: f64) -> BatchQuestion {
    BatchQuestion {
        items: Count::new(items),
        deadline: time(hours * 3600.0),
        budget: None,
        term: Term::OnDemand,
        start_up: time(100.0),
        checkpoint: time(600.0),
        most_machines: 64,
        top: 6,
    }
}

/// A machine that does 100 items per second in batches of 10, and 40 one by one.
fn candidate(price: f64) -> Candidate {
    let exactly = |seconds: f64| {
        let level = Fraction::new(0.9).unwrap();
        Estimate::new(
            time(seconds),
            (time(seconds * 0.8), time(seconds * 1.25)),
            level,
            Source::Measured,
        )
    };
    let point = |batch_size, seconds| BatchPoint {
        batch_size,
        busy: exactly(seconds),
        alone: time(seconds),
        relative: Arc::from([1.0]),
    };
    Candidate {
        machine: Machine {
            provider: "p".to_owned(),
            instance_type: "m".to_owned(),
            region: "r".to_owned(),
            term: Term::OnDemand,
            price: Some(crate::units::UsdPerHour::new(price).unwrap()),
            kind: Kind::Cpu,
            hardware: "8 vCPU".to_owned(),
            memory: Bytes::from_gib(64.0),
            caveats: Vec::new(),
        },
        speed_key: "k".to_owned(),
        curves: Arc::new(vec![LatencyCurve {
            layout: SessionLayout {
                instances: 1,
                intra_op_threads: 8,
                spinning: false,
            },
            points: vec![point(1, 0.025), point(10, 0.1)],
            idle: Vec::new(),
            hold_ups: None,
            interference: None,
            source: Source::Measured,
        }]),
    }
}

fn model() -> ModelSummary {
    ModelSummary {
        name: "m".to_owned(),
        hash: "h".to_owned(),
        parameters: Count::new(1),
        weight_bytes: Bytes::from_mib(100),
        flops_per_item: Flops::new(1e9).unwrap(),
        activation_bytes_per_item: Bytes::from_mib(1),
        io_bytes_per_item: Bytes::new(1000),
        operators: 10,
        class: ModelClass::Dense,
        max_batch: None,
        memory: None,
    }
}

fn offer(billing: &str, spot: &str) -> Offer {
    let text = format!(
        "schema = 1\nprovider = \"p\"\ncurrency = \"USD\"\nas_of = 2026-11-01\nsource = \"t\"\n{billing}\n\
         [machines]\nm = {{ vcpus = 8, memory_gib = 64 }}\n[price.r]\nm = {{ on_demand = 1.0{spot} }}\n"
    );
    let hardware = HardwareBook::default();
    let book = PriceBook::from_texts(&[TomlText::new("t", &text)], &[], &hardware).unwrap();
    book.all()[0].clone()
}

const HOURLY: &str = "[billing]\ngranularity_s = 3600\nminimum_s = 3600";
const SECONDS: &str = "[billing]\ngranularity_s = 1\nminimum_s = 60";

fn worker<'c>(candidate: &'c Candidate, offer: &'c Offer, asked: &BatchQuestion) -> Worker<'c> {
    let model = model();
    let room = Room {
        model: &model,
        memory: MemoryUse::of(&model, None),
    };
    Worker::new(candidate, Some(offer), &room, (asked, time(20.0))).unwrap()
}

#[test]
fn the_time_is_start_and_work_and_the_cost_is_what_is_billed() {
    let (candidate, asked) = (candidate(1.0), question(3_600_000, 8.0));
    let by_second = offer(SECONDS, "");
    let by_second = worker(&candidate, &by_second, &asked).option(2, &asked);
    assert_eq!(by_second.batch_size, 10);
    // 3.6 million at 2 × 100 per second, and two minutes to start.
    assert!((by_second.time.value.get() - 18_120.0).abs() < 1e-6);
    assert!((by_second.cost.value.get() - 2.0 * 18_120.0 / 3600.0).abs() < 1e-9);
    let by_hour = offer(HOURLY, "");
    let by_hour = worker(&candidate, &by_hour, &asked).option(2, &asked);
    assert!((by_hour.cost.value.get() - 12.0).abs() < 1e-9);
    assert_eq!(by_hour.verdict, Verdict::Meets);
}

#[test]
fn the_fewest_machines_hold_the_deadline_and_one_fewer_does_not() {
    use crate::plan::latency::End;
    let (candidate, by_second) = (candidate(1.0), offer(SECONDS, ""));
    for items in [1, 1_000, 5_000_000, 80_000_000] {
        let asked = question(items, 8.0);
        let worker = worker(&candidate, &by_second, &asked);
        let machines = worker.machines(&asked, End::Pessimistic).unwrap();
        assert!(worker.time(machines, &asked, End::Pessimistic) <= asked.deadline);
        if machines > 1 {
            assert!(worker.time(machines - 1, &asked, End::Pessimistic) > asked.deadline);
        }
    }
    let too_much = question(10_000_000_000, 8.0);
    assert_eq!(
        worker(&candidate, &by_second, &too_much).machines(&too_much, End::Middle),
        None
    );
}

#[test]
fn machines_billed_by_the_hour_are_counted_so_that_their_hours_are_full() {
    use crate::plan::latency::End;
    let (candidate, by_hour) = (candidate(1.0), offer(HOURLY, ""));
    for items in [400_000, 1_500_000, 2_345_678, 9_999_999] {
        let asked = question(items, 8.0);
        let worker = worker(&candidate, &by_hour, &asked);
        let chosen = worker.machines(&asked, End::Middle).unwrap();
        let cost = |n| worker.option(n, &asked).cost.value;
        let in_time = |n: &u32| worker.time(*n, &asked, End::Middle) <= asked.deadline;
        let cheapest = (1..=64).filter(in_time).map(cost).min().unwrap();
        assert_eq!(cost(chosen), cheapest, "{items}");
    }
}

#[test]
fn interruptions_make_spot_longer_but_seldom_dearer() {
    let candidate = candidate(0.3);
    let mut asked = question(20_000_000, 24.0);
    let calm = offer(SECONDS, "");
    let plain = worker(&candidate, &calm, &asked).option(4, &asked);
    asked.term = Term::Spot;
    let taken = offer(SECONDS, ", spot = 0.3, interruption = \">20%\"");
    let spot = worker(&candidate, &taken, &asked).option(4, &asked);
    assert!(spot.time.value > plain.time.value && spot.time.high > plain.time.high);
    // 60 % a month is one loss in 800 hours: a per cent or so.
    assert!(spot.time.value.ratio(plain.time.value) < 1.02);
    assert!(Hazard::of(None).high > 0.0);
}

fn answer(asked: &BatchQuestion, candidates: Vec<Candidate>) -> Result<BatchPlan> {
    let hardware = HardwareBook::default();
    let calibrations = [calibration()];
    let evidence = Evidence {
        calibrations: &calibrations,
        elsewhere: &[],
        fitted: &crate::plan::transfer::Fitted::shipped()?,
        hardware: &hardware,
        here: None,
        here_name: "here",
    };
    let by_second = offer(SECONDS, "");
    let candidates = Candidates {
        list: candidates,
        caveats: Vec::new(),
    };
    batch(asked, &candidates, &[&by_second], &evidence)
}

fn calibration() -> crate::profile::calibration::Calibration {
    crate::profile::store::load(std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/calibrations/minilm-l6.json"
    )))
    .unwrap()
}

#[test]
fn what_cannot_be_is_refused_with_advice() {
    let none = answer(&question(0, 8.0), vec![candidate(1.0)]).unwrap_err();
    assert!(none.message().contains("0 items"), "{none}");
    let late = answer(&question(10, 0.01), vec![candidate(1.0)]).unwrap_err();
    assert!(
        late.message().contains("nothing can be done within"),
        "{late}"
    );
    let mut never = question(10, 8.0);
    never.checkpoint = Time::ZERO;
    assert!(answer(&never, vec![candidate(1.0)]).is_err());
    // Too much for all machines there are: an answer that says how far it is.
    let plan = answer(&question(10_000_000_000, 8.0), vec![candidate(1.0)]).unwrap();
    assert_eq!(plan.recommended, None);
    assert!(plan.reasons[0].contains("64"), "{:?}", plan.reasons);
}

#[test]
fn a_budget_turns_a_dear_option_away() {
    let mut asked = question(3_600_000, 8.0);
    asked.budget = Some(Usd::new(1.0).unwrap());
    let plan = answer(&asked, vec![candidate(1.0)]).unwrap();
    assert_eq!(plan.recommended, None);
    assert!(plan.options[0].why.contains("above the budget"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_dearer_price_never_ranks_above_an_identical_cheaper_one(
        cheap in 0.1..5.0_f64, more in 1.0001..3.0_f64, items in 1_000..50_000_000_u64,
    ) {
        let mut dear = candidate(cheap * more);
        dear.machine.instance_type = "a-dear-one".to_owned();
        let plan = answer(&question(items, 8.0), vec![dear, candidate(cheap)]).unwrap();
        let at = |name: &str| plan.options.iter().position(|o| o.machine.instance_type == name);
        let (dear, cheap) = (at("a-dear-one"), at("m"));
        prop_assert!(dear > cheap, "{dear:?} {cheap:?}");
    }

    #[test]
    fn a_later_deadline_never_costs_more(items in 1_000..50_000_000_u64, hours in 1.0..20.0_f64) {
        let cost = |hours| {
            let plan = answer(&question(items, hours), vec![candidate(1.0)]).unwrap();
            plan.recommended.map(|i| plan.options[i].cost.value)
        };
        if let (Some(soon), Some(later)) = (cost(hours), cost(hours * 1.5)) {
            // Up to the second that each machine's billing rounds up.
            prop_assert!(later.get() <= soon.get() + 64.0 / 3600.0, "{later} {soon}");
        }
    }
}
