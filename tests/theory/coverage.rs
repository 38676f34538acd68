//! Intervals must hold the truth as often as they say: many seeds, one exact value.

use super::{SERVICE, exponential, rate, service, time};
use advisor::estimate::Source;
use advisor::plan::queueing::analytic::Mmc;
use advisor::plan::queueing::{ServiceRange, SimulationOptions, Simulator};
use advisor::workload::{Percentile, ServingConfiguration, Slos};

/// Seeds per case: the share of intervals that hold the truth is then known to
/// within some 2 %.
const SEEDS: u64 = 150;

fn simulator(seed: u64) -> Simulator {
    Simulator::new(SimulationOptions {
        requests: 40_000,
        seed,
        ..SimulationOptions::default()
    })
    .expect("a simulator")
}

#[test]
fn intervals_of_percentiles_hold_the_truth_as_often_as_they_say() {
    let service = service(exponential());
    for (servers, utilisation) in [(1, 0.5), (1, 0.8), (3, 0.7)] {
        let load = rate(utilisation * f64::from(servers) / SERVICE);
        let exact = Mmc::new(load, time(SERVICE), servers).expect("a steady state");
        for percentile in [Percentile::P50, Percentile::P95, Percentile::P99] {
            let truth = exact.latency(percentile);
            let held = (0..SEEDS)
                .filter(|&seed| {
                    let configuration = ServingConfiguration::unbatched(servers);
                    let outcome = simulator(seed).run(&service, &configuration, load);
                    let outcome = outcome.expect("an outcome");
                    let steady = outcome.steady().expect("a steady state");
                    let found = steady.percentile(percentile).expect("the percentile");
                    found.low.is_some_and(|low| low <= truth)
                        && found.high.is_none_or(|high| truth <= high)
                })
                .count() as f64;
            let share = held / SEEDS as f64;
            assert!(
                share >= 0.90,
                "{servers} servers at {utilisation}: {percentile} held in {share} of the runs"
            );
        }
    }
}

/// One exponential server holds p95 ≤ L up to μ − ln 20 / L.
#[test]
fn intervals_of_the_capacity_hold_the_truth_as_often_as_they_say() {
    let range = ServiceRange::exact(service(exponential()), Source::Measured);
    let configuration = ServingConfiguration::unbatched(1);
    for limit in [0.06, 0.15] {
        let exact = rate(1.0 / SERVICE - 20f64.ln() / limit);
        let slos = Slos::one(Percentile::P95, time(limit)).expect("an objective");
        let held = (0..SEEDS)
            .filter(|&seed| {
                let capacity = simulator(seed).slo_capacity(&range, &configuration, &slos);
                let found = capacity.expect("a capacity").rate;
                (found.low..=found.high).contains(&exact)
            })
            .count() as f64;
        let share = held / SEEDS as f64;
        assert!(share >= 0.90, "{limit} s: held in {share} of the runs");
    }
}
