//! The simulator against queueing theory. Seeds are fixed, so that a test that
//! passes always passes; intervals are taken at 99.9 %, so that a hundred checks
//! agree by more than luck, and must be narrow, so that agreeing means something.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod batch_service;
mod coverage;
mod exponential;
mod fixed;
mod search;

use advisor::plan::queueing::{
    Quantity, ServicePoint, ServiceTimes, SimulationOptions, Simulator, Steady,
};
use advisor::units::{Fraction, Rate, Time};
use advisor::workload::{Arrivals, Percentile, ServingConfiguration};

/// Every case is checked at these utilisations.
const UTILISATIONS: [f64; 3] = [0.3, 0.6, 0.9];

/// The mean service time of all cases here.
const SERVICE: f64 = 0.010;

fn rate(value: f64) -> Rate {
    Rate::new(value).expect("a rate")
}

fn time(seconds: f64) -> Time {
    Time::new(seconds).expect("a time")
}

fn service(relative: Vec<f64>) -> ServiceTimes {
    let points = vec![ServicePoint {
        batch: 1,
        mean_by_busy: vec![time(SERVICE)],
        relative,
    }];
    ServiceTimes::new(points, None).expect("service times")
}

/// Quantiles of the exponential distribution.
fn exponential() -> Vec<f64> {
    let n = 1 << 17;
    (0..n)
        .map(|i| -(1.0 - (f64::from(i) + 0.5) / f64::from(n)).ln())
        .collect()
}

/// Runs one million requests, after which 99.9 % intervals are a few percent
/// wide even at utilisation 0.9.
fn run(
    service: &ServiceTimes,
    configuration: &ServingConfiguration,
    load: Rate,
    quantity: Quantity,
) -> Steady {
    let simulator = Simulator::new(SimulationOptions {
        requests: 1_000_000,
        seed: 20,
        arrivals: Arrivals::Poisson,
        level: Fraction::new(0.999).expect("a level"),
        quantity,
        ..SimulationOptions::default()
    })
    .expect("a simulator");
    let outcome = simulator
        .run(service, configuration, load)
        .expect("an outcome");
    outcome.steady().expect("a steady state").clone()
}

/// The exact mean lies in the interval, and the interval is at most `wide` of it.
#[track_caller]
fn mean_agrees(case: &str, steady: &Steady, exact: Time, wide: f64) {
    let mean = steady.mean.expect("a mean");
    assert!(
        (mean.low..=mean.high).contains(&exact),
        "{case}: the mean is {exact:?} but was {mean:?}"
    );
    let width = (mean.high - mean.low).ratio(exact);
    assert!(width < wide, "{case}: the interval is {width} of the mean");
}

/// The exact percentile lies in the interval, and the interval is at most `wide`
/// of it; where theory says zero, the simulation says zero.
#[track_caller]
fn percentile_agrees(case: &str, steady: &Steady, percentile: Percentile, exact: Time, wide: f64) {
    let found = steady.percentile(percentile).expect("the percentile");
    let (Some(value), Some(low), Some(high)) = (found.value, found.low, found.high) else {
        panic!("{case}: {percentile} has no interval: {found:?}");
    };
    if exact.is_zero() {
        assert!(value.is_zero(), "{case}: {percentile} is 0 but was {value}");
        return;
    }
    // A percentile exact to the last bit may stand a rounding beside an end
    // where the distribution has a step.
    let slack = exact.scaled(1e-6);
    assert!(
        low <= exact + slack && exact <= high + slack,
        "{case}: {percentile} is {exact:?} but was {found:?}"
    );
    let width = (high - low).ratio(exact);
    assert!(
        width < wide,
        "{case}: {percentile}: the interval is {width} of it"
    );
}
