//! Batch service: M/D^[b] with batches made when the server is free.

use super::{mean_agrees, rate, run, time};
use advisor::plan::queueing::analytic::{batch_service_mean_latency, inoue_bound};
use advisor::plan::queueing::{Quantity, ServicePoint, ServiceTimes};
use advisor::units::Time;
use advisor::workload::{Batcher, ServingConfiguration};

/// A batch of b takes 2 ms + b × 1 ms.
fn linear(largest: u32) -> (ServiceTimes, Vec<Time>) {
    let means: Vec<Time> = (1..=largest)
        .map(|b| time(0.002 + 0.001 * f64::from(b)))
        .collect();
    let points = (1..)
        .zip(&means)
        .map(|(batch, mean)| ServicePoint::constant(batch, *mean))
        .collect();
    (
        ServiceTimes::new(points, None).expect("service times"),
        means,
    )
}

#[test]
fn mean_latency_of_batch_service_agrees_with_the_chain() {
    for largest in [1, 4, 16] {
        let (service, means) = linear(largest);
        let most = f64::from(largest) / means[largest as usize - 1].get();
        for utilisation in [0.2, 0.5, 0.8, 0.9] {
            let case = format!("M/D^[{largest}] at {utilisation}");
            let load = rate(utilisation * most);
            let exact = batch_service_mean_latency(load, &means).expect("a steady state");
            for batcher in [
                Batcher::WhenFree,
                Batcher::Triton {
                    preferred_batch_sizes: vec![],
                },
            ] {
                let configuration =
                    ServingConfiguration::when_free(1, largest, Time::ZERO).with_batcher(batcher);
                let steady = run(&service, &configuration, load, Quantity::Latency);
                mean_agrees(&case, &steady, exact, 0.25);
            }
        }
    }
}

#[test]
fn mean_latency_of_unlimited_batches_stays_below_inoues_bound() {
    let (service, _) = linear(256);
    for load in [50.0, 200.0, 500.0, 800.0] {
        let configuration = ServingConfiguration::when_free(1, 256, Time::ZERO);
        let steady = run(&service, &configuration, rate(load), Quantity::Latency);
        let mean = steady.mean.expect("a mean");
        let bound = inoue_bound(rate(load), time(0.001), time(0.002)).expect("a bound");
        assert!(mean.low <= bound, "{load}: {mean:?} {bound}");
        assert!(bound.ratio(mean.value) < 1.15, "{load}: {mean:?} {bound}");
    }
}
