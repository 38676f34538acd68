//! The kernels against the engine, and what the simulator must get right where
//! the answer is known without theory.

use super::cluster::{self, Route};
use super::interference::tests::trace;
use super::kernel::{self, Input, Server};
use super::replica::Unwatched;
use super::sink::{Quantity, Record};
use super::*;
use crate::profile::hold_ups::{HoldUpRate, HoldUps};
use crate::units::{Rate, Time};
use crate::workload::{Arrivals, Balancer, Batcher, Percentile, QueuePolicy, ServingConfiguration};
use proptest::prelude::*;

pub(super) fn ms(value: f64) -> Time {
    Time::from_millis(value)
}

pub(super) fn rate(value: f64) -> Rate {
    Rate::new(value).unwrap()
}

/// Service times that grow with the batch and, with more than one entry in
/// `contention`, with the number of busy instances.
pub(super) fn service(contention: &[f64], idle: bool) -> ServiceTimes {
    let spread: Vec<f64> = (0..100).map(|i| 0.8 + 0.004 * f64::from(i)).collect();
    let point = |batch: u32, mean: f64| ServicePoint {
        batch,
        mean_by_busy: contention.iter().map(|c| ms(c * mean)).collect(),
        relative: spread.clone(),
    };
    let slowdown = IdleSlowdown::new(&[(ms(1.0), 1.1), (ms(20.0), 1.6)]).unwrap();
    ServiceTimes::new(
        vec![point(1, 10.0), point(4, 22.0), point(8, 40.0)],
        idle.then_some(slowdown),
    )
    .unwrap()
}

/// Now and then, for 5 or 50 ms.
fn hold_ups(held: bool) -> Option<HoldUpRate> {
    let met = HoldUps {
        count: 2,
        lengths: vec![ms(5.0), ms(50.0)],
    };
    HoldUpRate::new(&met, Time::saturating(0.5)).filter(|_| held)
}

pub(super) fn simulator(requests: u32) -> Simulator {
    Simulator::new(SimulationOptions {
        requests,
        ..SimulationOptions::default()
    })
    .unwrap()
}

/// Spells of 40 ms in which everything takes 1.5 times as long, half of the time.
#[test]
fn interference_keeps_the_mean_and_lengthens_the_tail() {
    let steady = ServiceTimes::new(
        vec![ServicePoint::constant(1, Time::from_micros(100.0))],
        None,
    );
    let steady = steady.unwrap();
    let slowed = steady.clone().with_interference(Some(trace()));
    assert_eq!(slowed.mean(1, 1), steady.mean(1, 1));
    let c = ServingConfiguration::unbatched(1);
    let run = |s: &ServiceTimes, load: f64| {
        let outcome = simulator(400_000).run(s, &c, rate(load)).unwrap();
        let steady = outcome.steady().unwrap();
        (steady.utilisation.get(), steady.mean.unwrap().value.get())
    };
    // In 80 ms an instance does 400 requests fast and 267 slowly: 120 µs on average.
    let (calm, busy) = (run(&slowed, 100.0), run(&slowed, 9000.0));
    assert!((calm.0 - 0.01 * 25.0 / 24.0).abs() < 2e-4, "{calm:?}");
    let without = run(&steady, 9000.0);
    // Slow spells cannot carry that load; it waits for the fast ones.
    assert!(busy.1 > 3.0 * without.1, "{busy:?} {without:?}");
}

/// Hold-ups are in the mean that a configuration can sustain, and in the time
/// that its instances are busy.
#[test]
fn hold_ups_cost_the_time_that_they_take() {
    let s = service(&[1.0], false);
    let held = s.clone().with_hold_ups(hold_ups(true));
    let factor = held.mean(1, 1).unwrap().ratio(s.mean(1, 1).unwrap());
    assert!((factor - 1.11).abs() < 1e-9, "{factor}");
    let c = ServingConfiguration::unbatched(1);
    let busy = |s: &ServiceTimes| {
        let outcome = simulator(50_000).run(s, &c, rate(50.0)).unwrap();
        outcome.steady().unwrap().utilisation.get()
    };
    let share = busy(&held) / busy(&s);
    assert!((share - 1.11).abs() < 0.01, "{share}");
}

/// Latencies of all requests by kernel and by engine, with the tallies.
fn both(s: &ServiceTimes, c: &ServingConfiguration, load: f64) -> [(Vec<f64>, kernel::Tally); 2] {
    let sim = simulator(5000);
    let input = Input {
        interval: 1.0 / load,
        ..sim.input(1.0)
    };
    let server = Server {
        instances: c.instances as usize,
        max_batch: c.effective_max_batch() as usize,
        window: c.batch_window.get(),
    };
    let mut fast = Record::new(Quantity::Latency, 5000, 250);
    let fast_tally = kernel::run(s, server, input, &mut fast);
    let mut slow = Record::new(Quantity::Latency, 5000, 250);
    let slow_tally = cluster::run(
        s,
        (c, QueuePolicy::default()),
        (1, &Route::LeastOutstanding),
        input,
        (&mut slow, &mut Unwatched),
    );
    [(fast.times, fast_tally), (slow.times, slow_tally)]
}

fn bits(times: &[f64]) -> Vec<u64> {
    times.iter().map(|t| t.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn kernels_equal_the_engine_to_the_last_bit(
        instances in 1..5_u32,
        batch in 1..9_u32,
        window in prop_oneof![Just(0.0), 0.1..60.0f64],
        load in 5.0..400.0f64,
        (idle, held, slowed) in any::<(bool, bool, bool)>(),
    ) {
        let s = service(&[1.0], idle)
            .with_hold_ups(hold_ups(held))
            .with_interference(Some(trace()).filter(|_| slowed));
        let c = ServingConfiguration::when_free(instances, batch, ms(window));
        let [fast, slow] = both(&s, &c, load);
        prop_assert_eq!(bits(&fast.0), bits(&slow.0));
        prop_assert_eq!(fast.1.batches, slow.1.batches);
        prop_assert_eq!(fast.1.items, slow.1.items);
        prop_assert!((fast.1.busy - slow.1.busy).abs() < 1e-6 * slow.1.busy);
    }

    #[test]
    fn virtual_time_equals_the_engine_but_for_rounding(
        instances in 1..5_u32,
        batch in 1..9_u32,
        window in prop_oneof![Just(0.0), 0.1..60.0f64],
        load in 5.0..400.0f64,
        (idle, held, slowed) in any::<(bool, bool, bool)>(),
    ) {
        let s = service(&[1.0, 1.3, 1.7, 2.2], idle)
            .with_hold_ups(hold_ups(held))
            .with_interference(Some(trace()).filter(|_| slowed));
        let c = ServingConfiguration::when_free(instances, batch, ms(window));
        let [fast, slow] = both(&s, &c, load);
        for (a, b) in fast.0.iter().zip(&slow.0) {
            prop_assert!((a - b).abs() < 1e-6 * b.max(1e-3), "{} {}", a, b);
        }
        prop_assert_eq!(fast.1.batches, slow.1.batches);
        prop_assert_eq!(fast.1.items, slow.1.items);
        prop_assert!((fast.1.busy - slow.1.busy).abs() < 1e-6 * slow.1.busy);
    }

    /// Without a delay Triton's decisions are those of a batch made when an
    /// instance is free.
    #[test]
    fn triton_without_a_delay_is_when_free(
        instances in 1..4_u32,
        batch in 1..9_u32,
        load in 5.0..300.0f64,
    ) {
        let s = service(&[1.0], false);
        let ours = ServingConfiguration::when_free(instances, batch, Time::ZERO);
        let triton = ours.clone().with_batcher(Batcher::Triton { preferred_batch_sizes: vec![] });
        prop_assert_eq!(bits(&both(&s, &ours, load)[1].0), bits(&both(&s, &triton, load)[1].0));
    }

    /// With a delay they are as well when a queue limit switches prefetching off.
    #[test]
    fn triton_without_prefetching_is_when_free(
        instances in 1..4_u32,
        batch in 1..9_u32,
        window in 0.1..40.0f64,
        load in 5.0..300.0f64,
    ) {
        let s = service(&[1.0], false);
        let sim = Simulator::new(SimulationOptions {
            requests: 5000,
            policy: QueuePolicy { limit: Some(1_000_000), timeout: None },
            ..SimulationOptions::default()
        }).unwrap();
        let ours = ServingConfiguration::when_free(instances, batch, ms(window));
        let triton = ours.clone().with_batcher(Batcher::Triton { preferred_batch_sizes: vec![] });
        let run = |c| sim.run(&s, c, rate(load)).unwrap();
        prop_assert_eq!(run(&ours), run(&triton));
    }
}

#[test]
fn a_lone_request_waits_the_whole_window_and_nothing_else() {
    let s = ServiceTimes::new(vec![ServicePoint::constant(8, ms(10.0))], None).unwrap();
    let sim = Simulator::new(SimulationOptions {
        arrivals: Arrivals::Deterministic,
        requests: 2000,
        ..SimulationOptions::default()
    })
    .unwrap();
    for (batcher, latency) in [
        (Batcher::None, 10.0),
        (Batcher::WhenFree, 15.0),
        (Batcher::MlServer, 15.0),
        (Batcher::KServe, 15.0),
        (
            Batcher::Triton {
                preferred_batch_sizes: vec![],
            },
            15.0,
        ),
        (
            Batcher::Triton {
                preferred_batch_sizes: vec![1],
            },
            10.0,
        ),
    ] {
        let c = ServingConfiguration::when_free(1, 8, ms(5.0)).with_batcher(batcher.clone());
        let outcome = sim.run(&s, &c, rate(1.0)).unwrap();
        let steady = outcome.steady().unwrap();
        let p99 = steady.percentile(Percentile::P99).unwrap().value.unwrap();
        assert!((p99.as_millis() - latency).abs() < 1e-6, "{batcher}: {p99}");
        assert!((steady.mean_batch - 1.0).abs() < 1e-9);
    }
}

/// Requests every 4 ms; a worked example of each batcher by hand.
#[test]
fn batchers_make_the_batches_of_a_worked_example() {
    let s = ServiceTimes::new(vec![ServicePoint::constant(8, ms(10.0))], None).unwrap();
    let sim = Simulator::new(SimulationOptions {
        arrivals: Arrivals::Deterministic,
        requests: 2000,
        ..SimulationOptions::default()
    })
    .unwrap();
    let run = |batcher, batch, window, instances| {
        let c = ServingConfiguration::when_free(instances, batch, ms(window)).with_batcher(batcher);
        let outcome = sim.run(&s, &c, rate(250.0)).unwrap();
        let steady = outcome.steady().unwrap().clone();
        (steady.mean_batch, steady.mean.unwrap().value.as_millis())
    };
    // MLServer collects for 9 ms from the first: three requests (0, 4, 8), and
    // the next batch begins with the request at 12. Two workers in turn keep
    // up; latencies are 19, 15 and 11 ms.
    let (batch, mean) = run(Batcher::MlServer, 8, 9.0, 2);
    assert!((batch - 3.0).abs() < 0.01, "{batch}");
    assert!((mean - 15.0).abs() < 0.05, "{mean}");
    // KServe: one batch at a time. It takes what waits when the model is done and
    // then collects for 9 ms more; a cycle of 19 ms holds 4.75 requests.
    let (batch, _) = run(Batcher::KServe, 8, 9.0, 2);
    assert!((batch - 4.75).abs() < 0.05, "{batch}");
    // Ours, full at 2: a batch leaves every 8 ms, alternating between two instances.
    let (batch, mean) = run(Batcher::WhenFree, 2, 100.0, 2);
    assert!((batch - 2.0).abs() < 0.01, "{batch}");
    assert!((mean - 12.0).abs() < 0.05, "{mean}");
}

#[test]
fn contention_holds_while_both_are_busy() {
    // Two instances, each request 10 ms alone and 20 ms with a neighbour, pairs
    // of requests at the same moment: both run contended throughout.
    let points = vec![ServicePoint {
        batch: 1,
        mean_by_busy: vec![ms(10.0), ms(20.0)],
        relative: vec![],
    }];
    let s = ServiceTimes::new(points, None).unwrap();
    let trace = |gaps: &[f64]| {
        let times: Vec<Time> = gaps.iter().map(|g| ms(*g)).collect();
        Arrivals::Trace(crate::workload::Timestamps::new(&times).unwrap())
    };
    let p99 = |arrivals: Arrivals, load: f64| {
        let sim = Simulator::new(SimulationOptions {
            arrivals,
            requests: 2000,
            ..SimulationOptions::default()
        })
        .unwrap();
        let outcome = sim.run(&s, &ServingConfiguration::unbatched(2), rate(load));
        let steady = outcome.unwrap().steady().unwrap().clone();
        let at = |p| steady.percentile(p).unwrap().value.unwrap().as_millis();
        (at(Percentile::P50), at(Percentile::P99))
    };
    // The trace of four: a pair, then after 100 ms a pair, on average 25 ms apart.
    let (_, together) = p99(trace(&[0.0, 0.0, 100.0, 100.0]), 1000.0 / 66.666_666_67);
    assert!((together - 20.0).abs() < 1e-6, "{together}");
    // The second 5 ms after the first: at 5 ms the first has half its work left,
    // which takes 10 ms now and ends at 15 ms; the second has then done half of
    // its own and ends alone at 20 ms. Both take 15 ms.
    let span = 100.0 + 5.0;
    let mean_gap = span / 3.0;
    let (low, high) = p99(trace(&[0.0, 5.0, 100.0, 105.0]), 1000.0 / mean_gap);
    assert!(
        (low - 15.0).abs() < 1e-6 && (high - 15.0).abs() < 1e-6,
        "{low} {high}"
    );
}

#[test]
fn an_idle_gap_slows_the_next_batch() {
    let cold = service(&[1.0], true);
    let warm = service(&[1.0], false);
    let sim = simulator(5000);
    let mean = |s: &ServiceTimes, load| {
        let outcome = sim.run(s, &ServingConfiguration::unbatched(1), rate(load));
        outcome.unwrap().steady().unwrap().mean.unwrap().value
    };
    // Nearly unloaded every gap is far beyond 20 ms: factor 1.6.
    let ratio = mean(&cold, 0.1).ratio(mean(&warm, 0.1));
    assert!((ratio - 1.6).abs() < 0.01, "{ratio}");
    let busy = mean(&cold, 60.0).ratio(mean(&warm, 60.0));
    assert!(busy > 1.02 && busy < 1.6, "{busy}");
}

#[test]
fn overload_is_a_verdict() {
    let s = service(&[1.0, 1.5], false);
    let sim = simulator(20_000);
    let c = ServingConfiguration::unbatched(2);
    let Outcome::Saturated(verdict) = sim.run(&s, &c, rate(150.0)).unwrap() else {
        panic!("150 req/s is above 2 / 15 ms = 133 req/s");
    };
    assert!((verdict.sustained.get() - 400.0 / 3.0).abs() < 0.1);
    assert!(sim.run(&s, &c, rate(120.0)).unwrap().steady().is_some());
    // A rate for which MLServer makes batches too small to keep up: the simulation
    // itself must notice. Batches of one take 10 ms, a window of 1 ms gathers
    // hardly more than one request, but full batches would sustain 200 req/s.
    let ml = ServingConfiguration::when_free(1, 8, ms(1.0)).with_batcher(Batcher::MlServer);
    let Outcome::Saturated(verdict) = sim.run(&service(&[1.0], false), &ml, rate(150.0)).unwrap()
    else {
        panic!("batches of hardly more than one take 10 ms each");
    };
    assert!(
        (90.0..130.0).contains(&verdict.sustained.get()),
        "{verdict}"
    );
}

#[test]
fn a_queue_limit_and_a_timeout_turn_overload_into_misses() {
    let s = service(&[1.0], false);
    let run = |policy| {
        let sim = Simulator::new(SimulationOptions {
            requests: 50_000,
            policy,
            ..SimulationOptions::default()
        })
        .unwrap();
        let c = ServingConfiguration::unbatched(1);
        sim.run(&s, &c, rate(95.0))
            .unwrap()
            .steady()
            .unwrap()
            .clone()
    };
    let free = run(QueuePolicy::default());
    assert_eq!((free.rejected, free.timed_out), (0, 0));
    let limited = run(QueuePolicy {
        limit: Some(3),
        timeout: None,
    });
    assert!(limited.rejected > 500, "{}", limited.rejected);
    // At most three wait, each behind at most 12 ms.
    let p50 = limited.percentile(Percentile::P50).unwrap().value.unwrap();
    assert!(p50 <= ms(48.0), "{p50}");
    let impatient = run(QueuePolicy {
        limit: None,
        timeout: Some(ms(30.0)),
    });
    assert!(impatient.timed_out > 500 && impatient.rejected == 0);
    let p50 = impatient
        .percentile(Percentile::P50)
        .unwrap()
        .value
        .unwrap();
    assert!(p50 <= ms(42.0), "{p50}");
    assert!(limited.throughput < limited.offered);
}

/// The share lost by a queue that holds nothing is Erlang's B.
#[test]
fn a_queue_of_nothing_loses_what_erlang_says() {
    let exponential: Vec<f64> = (0..1024)
        .map(|i| -(1.0 - (f64::from(i) + 0.5) / 1024.0).ln())
        .collect();
    let points = vec![ServicePoint {
        batch: 1,
        mean_by_busy: vec![ms(10.0)],
        relative: exponential,
    }];
    let s = ServiceTimes::new(points, None).unwrap();
    let sim = Simulator::new(SimulationOptions {
        requests: 200_000,
        policy: QueuePolicy {
            limit: Some(0),
            timeout: None,
        },
        ..SimulationOptions::default()
    })
    .unwrap();
    let c = ServingConfiguration::unbatched(3);
    let outcome = sim.run(&s, &c, rate(200.0)).unwrap();
    // Two erlangs on three servers: B = (2³/6) / (1 + 2 + 2 + 8/6) = 4/19.
    let lost = outcome.steady().unwrap().lost().get();
    assert!((lost - 4.0 / 19.0).abs() < 0.005, "{lost}");
}

#[test]
fn balancers_rank_as_they_must() {
    // Design figures: four replicas of constant service time at 83 % load: p95 is
    // about 9 × the service time under a random split and 3 × round-robin.
    let s = ServiceTimes::new(vec![ServicePoint::constant(1, ms(10.0))], None).unwrap();
    let sim = simulator(200_000);
    let c = ServingConfiguration::unbatched(1);
    let p95 = |balancer| {
        let replicas = Replicas { count: 4, balancer };
        let outcome = sim.run_replicas(&s, &c, replicas, rate(332.0)).unwrap();
        let steady = outcome.steady().unwrap().clone();
        steady
            .percentile(Percentile::P95)
            .unwrap()
            .value
            .unwrap()
            .as_millis()
            / 10.0
    };
    let (random, turns, least) = (
        p95(Balancer::Random),
        p95(Balancer::RoundRobin),
        p95(Balancer::LeastOutstanding),
    );
    assert!((random - 8.5).abs() < 1.0, "{random}");
    assert!((turns - 3.0).abs() < 0.5, "{turns}");
    // With constant service times taking turns sends every request to the replica
    // with the least to do.
    assert!((least - turns).abs() < 1e-9, "{least} {turns}");
    // A replica under round-robin sees gamma arrivals with 1/√4.
    let alone = Simulator::new(SimulationOptions {
        requests: 200_000,
        arrivals: Arrivals::Poisson
            .at_replica(Balancer::RoundRobin, 4)
            .unwrap(),
        ..SimulationOptions::default()
    })
    .unwrap();
    let outcome = alone.run(&s, &c, rate(83.0)).unwrap();
    let p = outcome
        .steady()
        .unwrap()
        .percentile(Percentile::P95)
        .unwrap()
        .value;
    assert!((p.unwrap().as_millis() / 10.0 / turns - 1.0).abs() < 0.1);
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let s = service(&[1.0, 1.5], false);
    let sim = simulator(2000);
    let run = |c: &ServingConfiguration, r| sim.run(&s, c, r).map(|_| ());
    let batch = ServingConfiguration::when_free(1, 9, Time::ZERO);
    assert!(
        run(&batch, rate(1.0))
            .unwrap_err()
            .message()
            .contains("up to 9")
    );
    let three = ServingConfiguration::unbatched(3);
    assert!(
        run(&three, rate(1.0))
            .unwrap_err()
            .message()
            .contains("3 instances")
    );
    assert!(run(&ServingConfiguration::unbatched(1), Rate::ZERO).is_err());
    let none = Replicas {
        count: 0,
        ..Replicas::ONE
    };
    let one = ServingConfiguration::unbatched(1);
    assert!(sim.run_replicas(&s, &one, none, rate(1.0)).is_err());
}
