//! SLO capacity where the answer is known.

use super::tests::{ms, service, simulator};
use super::*;
use crate::estimate::Source;
use crate::units::{Fraction, Rate};
use crate::workload::{Batcher, Percentile, ServingConfiguration, Slo, Slos};

fn range(s: ServiceTimes, ends: (f64, f64)) -> ServiceRange {
    ServiceRange::scaled(s, ends, Fraction::saturating(0.95), Source::Measured)
}

#[test]
fn the_capacity_holds_and_a_little_more_does_not() {
    let s = service(&[1.0, 1.4], false);
    let sim = simulator(100_000);
    let slos = Slos::one(Percentile::P95, ms(60.0)).unwrap();
    for c in [
        ServingConfiguration::unbatched(1),
        ServingConfiguration::unbatched(2),
        ServingConfiguration::when_free(2, 8, ms(3.0)),
        ServingConfiguration::when_free(1, 4, ms(3.0)).with_batcher(Batcher::MlServer),
    ] {
        let capacity = sim
            .slo_capacity(&range(s.clone(), (0.95, 1.05)), &c, &slos)
            .unwrap();
        let found = &capacity.rate;
        assert!(
            found.low < found.value && found.value < found.high,
            "{found:?}"
        );
        assert_eq!(capacity.limited_by, CapacityLimit::Slo(slos.as_slice()[0]));
        let p95 = |r: Rate| {
            let outcome = sim.run(&s, &c, r).unwrap();
            outcome
                .steady()
                .unwrap()
                .percentile(Percentile::P95)
                .unwrap()
                .value
                .unwrap()
        };
        assert!(p95(found.value) <= ms(60.0));
        assert!(p95(found.value.scaled(1.01)) > ms(60.0));
    }
}

/// One exponential server: p95 of the latency is ln 20 / (μ − λ), so an SLO of L
/// holds up to λ = μ − ln 20 / L exactly.
#[test]
fn the_capacity_of_one_exponential_server_is_known() {
    let exponential: Vec<f64> = (0..1024)
        .map(|i| -(1.0 - (f64::from(i) + 0.5) / 1024.0).ln())
        .collect();
    let points = vec![ServicePoint {
        batch: 1,
        mean_by_busy: vec![ms(10.0)],
        relative: exponential,
    }];
    let s = ServiceTimes::new(points, None).unwrap();
    let sim = simulator(200_000);
    for limit in [60.0, 100.0, 200.0] {
        let slos = Slos::one(Percentile::P95, ms(limit)).unwrap();
        let c = ServingConfiguration::unbatched(1);
        let capacity = sim
            .slo_capacity(&range(s.clone(), (1.0, 1.0)), &c, &slos)
            .unwrap();
        let exact = 100.0 - 20f64.ln() / (limit * 1e-3);
        let (low, high) = (capacity.rate.low.get(), capacity.rate.high.get());
        assert!((low..=high).contains(&exact), "{exact} {:?}", capacity.rate);
        assert!(high - low < 0.08 * exact, "{:?}", capacity.rate);
    }
}

#[test]
fn the_tightest_of_several_objectives_decides() {
    let s = service(&[1.0], false);
    let sim = simulator(50_000);
    let c = ServingConfiguration::unbatched(1);
    let capacity = |slos: Vec<Slo>| {
        let slos = Slos::new(slos).unwrap();
        sim.slo_capacity(&range(s.clone(), (1.0, 1.0)), &c, &slos)
            .unwrap()
    };
    let slo = |percentile, limit| Slo {
        percentile,
        latency: ms(limit),
    };
    let median = slo(Percentile::P50, 15.0);
    let tail = slo(Percentile::P99, 100.0);
    let both = capacity(vec![median, tail]);
    let single = capacity(vec![median])
        .rate
        .value
        .min(capacity(vec![tail]).rate.value);
    assert!((both.rate.value.ratio(single) - 1.0).abs() < 0.01);
    assert!(matches!(both.limited_by, CapacityLimit::Slo(s) if s == median || s == tail));
}

#[test]
fn an_objective_below_the_service_time_is_unreachable() {
    let s = service(&[1.0], false);
    let sim = simulator(5000);
    let slos = Slos::one(Percentile::P95, ms(8.0)).unwrap();
    let c = ServingConfiguration::unbatched(1);
    let capacity = sim.slo_capacity(&range(s, (0.5, 1.05)), &c, &slos).unwrap();
    assert!(capacity.rate.value.is_zero());
    assert!(capacity.rate.high > Rate::ZERO, "half the time would do");
    let CapacityLimit::Unreachable {
        unloaded: Some(unloaded),
        ..
    } = capacity.limited_by
    else {
        panic!("{:?}", capacity.limited_by);
    };
    assert!((11.0..12.5).contains(&unloaded.as_millis()), "{unloaded}");
}

#[test]
fn a_generous_objective_is_limited_by_saturation() {
    let s = ServiceTimes::new(vec![ServicePoint::constant(1, ms(10.0))], None).unwrap();
    let slos = Slos::one(Percentile::P50, ms(5000.0)).unwrap();
    let c = ServingConfiguration::unbatched(1);
    let found = slo_capacity(
        &range(s, (1.0, 1.0)),
        &c,
        &slos,
        SimulationOptions::coarse(),
    )
    .unwrap();
    assert_eq!(found.limited_by, CapacityLimit::Saturation);
    assert!((found.rate.value.get() - 98.0).abs() < 1e-6);
    assert!(found.lowest.is_zero());
}

#[test]
fn a_window_longer_than_the_objective_holds_only_under_load() {
    // A lone request waits 50 ms for company; with 400 req/s a batch of 8 is
    // full after 18 ms.
    let s = ServiceTimes::new(vec![ServicePoint::constant(8, ms(10.0))], None).unwrap();
    let sim = simulator(20_000);
    let slos = Slos::one(Percentile::P90, ms(45.0)).unwrap();
    let c = ServingConfiguration::when_free(1, 8, ms(50.0));
    let capacity = sim.slo_capacity(&range(s, (1.0, 1.0)), &c, &slos).unwrap();
    assert!(capacity.rate.value.get() > 500.0, "{:?}", capacity.rate);
    let lowest = capacity.lowest.get();
    assert!((100.0..500.0).contains(&lowest), "{lowest}");
}
