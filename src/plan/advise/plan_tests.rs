//! Plans are monotone: what money can buy more of never makes them worse.

use super::*;
use crate::{
    estimate::{Estimate, Source},
    plan::{
        advise::{Candidate, Machine},
        latency::{BatchPoint, LatencyCurve},
        pricing::Term,
        transfer::Fitted,
    },
    profile::{
        calibration::{Calibration, SessionLayout},
        hardware_book::HardwareBook,
    },
    units::{Bytes, Fraction, Rate, Time, UsdPerHour},
    workload::{Balancer, Percentile, Slo, Slos},
};
use proptest::prelude::*;
use std::{path::Path, sync::Arc};

/// A machine with two instances that are served alone in `single`, known to within
/// a tenth.
fn candidate(name: &str, kind: Kind, single: Time, price: f64) -> Candidate {
    let points = [1_u32, 4, 16]
        .into_iter()
        .map(|batch| {
            let time = single.scaled(0.4 + 0.6 * f64::from(batch));
            BatchPoint {
                batch_size: batch,
                busy: Estimate::new(
                    time,
                    (time.scaled(0.9), time.scaled(1.1)),
                    Fraction::saturating(0.9),
                    Source::Measured,
                ),
                alone: time,
                relative: Arc::from([0.95, 1.0, 1.05]),
            }
        })
        .collect();
    Candidate {
        machine: Machine {
            provider: "somebody".to_owned(),
            instance_type: name.to_owned(),
            region: "somewhere".to_owned(),
            term: Term::OnDemand,
            price: Some(UsdPerHour::saturating(price)),
            kind,
            hardware: "a machine".to_owned(),
            memory: Bytes::new(1 << 40),
            caveats: Vec::new(),
        },
        // Twins share it, so that they are equally fast to the last bit.
        speed_key: format!("{:x}", single.get().to_bits()),
        curves: Arc::new(vec![LatencyCurve {
            layout: SessionLayout {
                instances: 2,
                intra_op_threads: 1,
                spinning: false,
            },
            points,
            idle: Vec::new(),
            hold_ups: None,
            interference: None,
            source: Source::Measured,
        }]),
    }
}

fn plan_for(list: &[Candidate], rate: f64, budget: Option<f64>) -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("profiles/measured/amd-epyc-turin-2-threads-mlp.json");
    let calibrations: Vec<Calibration> = vec![crate::profile::store::load(&file).unwrap()];
    let hardware = HardwareBook::shipped().unwrap();
    let question = Question {
        rate: Rate::saturating(rate),
        slos: Slos::new(vec![Slo {
            percentile: Percentile::P95,
            latency: Time::from_millis(100.0),
        }])
        .unwrap(),
        budget: budget.map(UsdPerHour::saturating),
        term: Term::OnDemand,
        balancer: Balancer::Random,
        top: 8,
        accept: Accept::Unproven,
    };
    let candidates = Candidates {
        list: list.to_vec(),
        caveats: Vec::new(),
    };
    let fitted = Fitted::shipped().unwrap();
    let evidence = Evidence {
        calibrations: &calibrations,
        elsewhere: &[],
        fitted: &fitted,
        hardware: &hardware,
        here: None,
        here_name: "here",
    };
    advise(&question, &candidates, &evidence).unwrap()
}

fn recommended(plan: &Plan) -> Option<&ServingOption> {
    plan.recommended.and_then(|at| plan.options.get(at))
}

/// Speed in milliseconds, dollars per hour, and whether it is a GPU.
fn machines() -> impl Strategy<Value = Vec<(f64, f64, bool)>> {
    prop::collection::vec((2.0..95.0f64, 0.05..3.0f64, any::<bool>()), 1..6)
}

fn list(of: &[(f64, f64, bool)]) -> Vec<Candidate> {
    of.iter()
        .enumerate()
        .map(|(i, (single, price, gpu))| {
            let kind = if *gpu { Kind::Gpu } else { Kind::Cpu };
            candidate(&format!("m{i}"), kind, Time::from_millis(*single), *price)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_dearer_price_never_ranks_above_an_identical_cheaper_one(
        of in machines(),
        twin in any::<prop::sample::Index>(),
        dearer in 1.0001..3.0f64,
        rate in 5.0..2000.0f64,
    ) {
        let mut all = list(&of);
        let (single, price, gpu) = of[twin.index(of.len())];
        let kind = if gpu { Kind::Gpu } else { Kind::Cpu };
        // First in the list, and by name, so that only the price puts it behind.
        all.insert(0, candidate("a-twin", kind, Time::from_millis(single), price * dearer));
        let name = format!("m{}", twin.index(of.len()));
        let plan = plan_for(&all, rate, None);
        let place = |name: &str| plan.options.iter().position(|o| o.machine.instance_type == name);
        if let Some(twin) = place("a-twin") {
            let original = place(&name);
            prop_assert!(original.is_some_and(|original| original < twin), "{:?}", plan.options);
        }
        prop_assert!(recommended(&plan).is_none_or(|o| o.machine.instance_type != "a-twin"));
    }

    #[test]
    fn more_budget_never_gives_a_worse_plan(
        of in machines(),
        rate in 5.0..2000.0f64,
        budget in 0.05..30.0f64,
        more in 1.0..5.0f64,
    ) {
        let all = list(&of);
        let little = plan_for(&all, rate, Some(budget));
        let much = plan_for(&all, rate, Some(budget * more));
        if let Some(with_little) = recommended(&little) {
            let with_much = recommended(&much);
            prop_assert!(with_much.is_some_and(|m| (m.verdict, m.cost) <= (with_little.verdict, with_little.cost)));
            prop_assert!(with_little.cost <= Some(UsdPerHour::saturating(budget)));
        }
    }

    #[test]
    fn a_lower_price_of_everything_never_costs_more(
        of in machines(),
        rate in 5.0..2000.0f64,
        share in 0.1..1.0f64,
    ) {
        let cheaper: Vec<_> = of.iter().map(|(s, p, g)| (*s, p * share, *g)).collect();
        let before = plan_for(&list(&of), rate, None);
        let after = plan_for(&list(&cheaper), rate, None);
        if let Some(before) = recommended(&before) {
            let after = recommended(&after);
            prop_assert!(after.is_some_and(|after| (after.verdict, after.cost) <= (before.verdict, before.cost)));
        }
    }
}

#[test]
fn an_interval_down_to_zero_is_planned_with() {
    let mut one = candidate("m0", Kind::Cpu, Time::from_millis(5.0), 1.0);
    let mut curves = one.curves.to_vec();
    for point in curves.iter_mut().flat_map(|curve| &mut curve.points) {
        point.busy.low = Time::ZERO;
    }
    one.curves = Arc::new(curves);
    let plan = plan_for(&[one], 20.0, None);
    assert!(recommended(&plan).is_some());
}
