//! The named invariants, watched event by event; see the table in the module.

use super::cluster::{self, Route};
use super::replica::Watch;
use super::sink::{Quantity, Record};
use super::tests::{ms, rate, service, simulator};
use super::*;
use crate::units::Time;
use crate::workload::{Arrivals, Batcher, QueuePolicy, ServingConfiguration};
use proptest::prelude::*;
use std::collections::HashMap;

/// Checks what it sees and remembers enough to check more.
#[derive(Default)]
struct Inspector {
    now: f64,
    arrived: HashMap<usize, f64>,
    waiting: HashMap<usize, f64>,
    running: HashMap<usize, (Vec<u32>, f64)>,
    served: usize,
    rejected: usize,
    timed_out: usize,
    late: Vec<usize>,
    work_conserving: bool,
    /// ∫ requests in the system dt and the sum of the times they spent there.
    area: f64,
    spent: f64,
    max_batch: usize,
}

impl Inspector {
    /// INV-CLOCK, and the integral for INV-LITTLE.
    fn advance(&mut self, now: f64) {
        assert!(now >= self.now, "INV-CLOCK: {now} after {}", self.now);
        let inside = self.in_flight() as f64;
        self.area += inside * (now - self.now);
        self.now = now;
    }

    fn in_flight(&self) -> usize {
        self.waiting.len() + self.running.values().map(|r| r.0.len()).sum::<usize>()
            - self.late.len()
    }

    /// INV-CONSERVATION.
    fn conserve(&self) {
        assert_eq!(
            self.arrived.len(),
            self.served + self.rejected + self.timed_out + self.in_flight(),
            "INV-CONSERVATION"
        );
    }
}

impl Watch for Inspector {
    fn arrived(&mut self, request: usize, now: f64) {
        self.advance(now);
        assert!(
            self.arrived.insert(request, now).is_none(),
            "INV-CONSERVATION"
        );
        self.waiting.insert(request, now);
    }
    fn rejected(&mut self, request: usize, now: f64) {
        self.advance(now);
        assert!(self.waiting.remove(&request).is_some(), "INV-CONSERVATION");
        self.rejected += 1;
        self.conserve();
    }
    fn timed_out(&mut self, request: usize, now: f64) {
        self.advance(now);
        let since = self.waiting.remove(&request).expect("INV-CONSERVATION");
        self.spent += now - since;
        self.timed_out += 1;
    }
    fn started(&mut self, instance: usize, requests: &[u32], now: f64) {
        self.advance(now);
        assert!(!requests.is_empty() && requests.len() <= self.max_batch);
        for &request in requests {
            let request = request as usize;
            assert!(self.arrived[&request] <= now, "INV-CAUSALITY");
            if self.waiting.remove(&request).is_none() {
                // Timed out inside a batch that is computed all the same.
                self.late.push(request);
            }
        }
        let old = self.running.insert(instance, (requests.to_vec(), now));
        assert!(old.is_none(), "INV-CAUSALITY: one batch at a time");
    }
    fn ended(&mut self, instance: usize, requests: &[u32], now: f64) {
        self.advance(now);
        let (batch, started) = self.running.remove(&instance).expect("INV-CAUSALITY");
        assert_eq!(batch, requests, "INV-CAUSALITY");
        assert!(started <= now, "INV-CAUSALITY");
        for &request in requests {
            if let Some(at) = self.late.iter().position(|r| *r == request as usize) {
                self.late.swap_remove(at);
            } else {
                self.served += 1;
                self.spent += now - self.arrived[&(request as usize)];
            }
        }
    }
    fn decided(&mut self, free: usize, waiting: usize, now: f64) {
        self.advance(now);
        self.conserve();
        assert_eq!(waiting, self.waiting.len(), "INV-CONSERVATION");
        if self.work_conserving {
            assert!(free == 0 || waiting == 0, "INV-WORK-CONSERVATION at {now}");
        }
    }
}

fn batchers() -> impl Strategy<Value = Batcher> {
    prop_oneof![
        Just(Batcher::None),
        Just(Batcher::WhenFree),
        prop::collection::vec(1..5_u32, 0..3).prop_map(|preferred_batch_sizes| Batcher::Triton {
            preferred_batch_sizes
        }),
        Just(Batcher::MlServer),
        Just(Batcher::MlServerInProcess),
        Just(Batcher::KServe),
    ]
}

fn arrivals() -> impl Strategy<Value = Arrivals> {
    prop_oneof![
        Just(Arrivals::Poisson),
        Just(Arrivals::Deterministic),
        Just(Arrivals::gamma(3.0).unwrap()),
    ]
}

prop_compose! {
    fn configurations()(
        instances in 1..4_u32,
        max_batch in 4..9_u32,
        window in prop_oneof![Just(0.0), 1.0..30.0f64],
        batcher in batchers(),
    ) -> ServingConfiguration {
        let kserve = batcher == Batcher::KServe;
        let window = if kserve { 1.0 + window } else { window };
        ServingConfiguration::when_free(instances, max_batch, ms(window)).with_batcher(batcher)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// INV-CONSERVATION, INV-CAUSALITY, INV-CLOCK, INV-WORK-CONSERVATION, INV-LITTLE.
    #[test]
    fn the_engine_keeps_its_invariants(
        configuration in configurations(),
        arrivals in arrivals(),
        load in 10.0..500.0f64,
        limit in prop::option::of(0..20_u32),
        timeout in prop::option::of(5.0..100.0f64),
        contention in prop_oneof![Just(vec![1.0]), Just(vec![1.0, 1.4, 1.9])],
        idle in any::<bool>(),
    ) {
        let s = service(&contention, idle);
        let sim = Simulator::new(SimulationOptions {
            requests: 1500,
            arrivals,
            ..SimulationOptions::default()
        }).unwrap();
        let policy = QueuePolicy { limit, timeout: timeout.map(ms) };
        let one_queue = matches!(
            configuration.batcher,
            Batcher::None | Batcher::WhenFree | Batcher::Triton { .. }
        );
        let mut inspector = Inspector {
            work_conserving: one_queue && (configuration.batch_window.is_zero()
                || configuration.effective_max_batch() == 1),
            max_batch: configuration.effective_max_batch() as usize,
            ..Inspector::default()
        };
        let mut record = Record::new(Quantity::Latency, 1500, 0);
        let input = sim.input(1.0 / load);
        cluster::run(
            &s,
            (&configuration, policy),
            (1, &Route::LeastOutstanding),
            input,
            (&mut record, &mut inspector),
        );
        prop_assert_eq!(inspector.in_flight(), 0, "INV-CONSERVATION: the run is drained");
        prop_assert_eq!(inspector.arrived.len(), 1500);
        prop_assert_eq!(inspector.rejected as u64, record.rejected);
        prop_assert_eq!(inspector.timed_out as u64, record.timed_out);
        let finite = record.times.iter().filter(|t| t.is_finite()).count();
        prop_assert_eq!(inspector.served, finite);
        // INV-LITTLE over the whole run: the integral of the number in the
        // system is the sum of the times spent in it.
        let error = (inspector.area - inspector.spent).abs();
        prop_assert!(error <= 1e-6 * inspector.spent.max(1e-9), "INV-LITTLE: {}", error);
    }

    /// INV-DETERMINISM.
    #[test]
    fn the_same_run_gives_the_same_result(
        configuration in configurations(),
        load in 10.0..200.0f64,
    ) {
        let s = service(&[1.0, 1.4, 1.9], true);
        let run = || simulator(3000).run(&s, &configuration, rate(load)).unwrap();
        prop_assert_eq!(run(), run());
    }

    /// INV-MONOTONE: without batching, under common random numbers, no request
    /// waits less when more arrive or service is slower.
    #[test]
    fn more_load_lowers_no_waiting_time(
        instances in 1..4_u32,
        load in 10.0..250.0f64,
        more in 1.0..1.5f64,
        slower in 1.0..1.3f64,
    ) {
        let s = service(&[1.0], false);
        let configuration = ServingConfiguration::unbatched(instances);
        let sim = simulator(3000);
        let waits = |s: &ServiceTimes, load: f64| {
            let mut record = Record::new(Quantity::Waiting, 3000, 0);
            sim.one(s, &configuration, sim.input(1.0 / load), &mut record);
            record.times
        };
        let base = waits(&s, load);
        for raised in [waits(&s, load * more), waits(&s.scaled(slower), load)] {
            for (before, after) in base.iter().zip(&raised) {
                // Rounding of times of arrival of some 100 s.
                prop_assert!(after + 1e-9 >= *before, "INV-MONOTONE");
            }
        }
    }
}

/// INV-LITTLE of the reported figures: utilisation is rate × mean service time
/// over instances, and requests wait what the time in the system leaves.
#[test]
fn utilisation_follows_from_the_load() {
    let s = service(&[1.0], false);
    let outcome = simulator(100_000)
        .run(&s, &ServingConfiguration::unbatched(2), rate(120.0))
        .unwrap();
    let steady = outcome.steady().unwrap();
    assert!((steady.utilisation.get() - 0.6).abs() < 0.01);
    assert!((steady.throughput.get() - 120.0).abs() < 1e-9);
    assert_eq!(steady.lost().get().to_bits(), 0f64.to_bits());
    assert!(steady.mean.unwrap().value > Time::from_millis(10.0));
}
