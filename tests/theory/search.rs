//! The search for the best configuration against an exhaustive grid.

use super::time;
use advisor::estimate::Source;
use advisor::plan::queueing::{
    Alternative, IdleSlowdown, SearchSpace, ServicePoint, ServiceRange, ServiceTimes,
    SimulationOptions, Simulator, best_configuration,
};
use advisor::units::Time;
use advisor::workload::{Batcher, Percentile, ServingConfiguration, Slo, Slos};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const CURVES: u32 = 16;

/// Milliseconds by batch size, and the factors by number of busy instances.
fn setup(
    instances: u32,
    threads: u32,
    (batches, contention): (&[(u32, f64)], &[f64]),
    idle: Option<IdleSlowdown>,
) -> Alternative {
    let spread: Vec<f64> = (0..256)
        .map(|i| 0.94 - 0.06 * (1.0 - (f64::from(i) + 0.5) / 256.0).ln())
        .collect();
    let points = batches
        .iter()
        .map(|&(batch, mean)| ServicePoint {
            batch,
            mean_by_busy: contention.iter().map(|c| time(c * mean * 1e-3)).collect(),
            relative: spread.clone(),
        })
        .collect();
    let service = ServiceTimes::new(points, idle).expect("service times");
    Alternative {
        instances,
        intra_op_threads: threads,
        service: ServiceRange::exact(service, Source::Measured),
    }
}

fn options() -> SimulationOptions {
    SimulationOptions {
        requests: 20_000,
        ..SimulationOptions::default()
    }
}

/// Every configuration of the space: the highest capacity and the simulations.
fn exhaustive(alternatives: &[Alternative], slos: &Slos, space: &SearchSpace) -> (f64, u32) {
    let simulator = Simulator::new(options()).expect("a simulator");
    let (mut best, mut simulations) = (0.0_f64, 0);
    for alternative in alternatives {
        for &batch in &space.batches {
            for &window in &space.windows {
                let configuration = ServingConfiguration {
                    instances: alternative.instances,
                    intra_op_threads: alternative.intra_op_threads,
                    max_batch: batch,
                    batch_window: window,
                    batcher: space.batcher.clone(),
                };
                let capacity = simulator
                    .slo_capacity(&alternative.service, &configuration, slos)
                    .expect("a capacity");
                best = best.max(capacity.rate.value.get());
                simulations += capacity.simulations;
            }
        }
    }
    (best, simulations)
}

#[track_caller]
fn search_finds(name: &str, alternatives: &[Alternative], slos: &Slos, batcher: Batcher) -> Time {
    let largest = alternatives[0].service.value.max_batch();
    let space = SearchSpace::up_to(largest, slos, batcher);
    let (most, grid) = exhaustive(alternatives, slos, &space);
    let best = best_configuration(alternatives, slos, &space, options()).expect("a best");
    let found = best.capacity.rate.value.get();
    assert!(
        found >= 0.97 * most,
        "{name}: found {found} of {most} with {}",
        best.configuration
    );
    assert!(
        10 * best.simulations <= grid,
        "{name}: {} simulations against {grid}",
        best.simulations
    );
    best.configuration.batch_window
}

fn slos(percentile: Percentile, millis: f64) -> Slos {
    Slos::one(percentile, Time::from_millis(millis)).expect("an objective")
}

/// Nearly linear in the batch, with a choice between instances and threads that
/// contend for memory: batching buys little.
#[test]
fn search_finds_the_best_of_cpu_curves() {
    let one = [(1, 26.0), (2, 49.0), (4, 96.0), (8, 190.0), (16, 378.0)];
    let two = [(1, 14.0), (2, 25.5), (4, 49.0), (8, 96.0), (16, 191.0)];
    let alternatives = [
        setup(2, 1, (&one, &[1.0, 1.12]), None),
        setup(1, 2, (&two, &[1.0]), None),
    ];
    for limit in [60.0, 120.0, 400.0] {
        let slos = slos(Percentile::P95, limit);
        search_finds("cpu", &alternatives, &slos, Batcher::WhenFree);
    }
}

/// Flat, then linear: batching is everything.
#[test]
fn search_finds_the_best_of_gpu_curves() {
    let one = [
        (1, 4.0),
        (2, 4.1),
        (4, 4.3),
        (8, 5.0),
        (16, 7.5),
        (32, 13.5),
        (64, 26.0),
    ];
    let alternatives = [
        setup(1, 1, (&one, &[1.0]), None),
        setup(2, 1, (&one, &[1.0, 1.7]), None),
    ];
    for (percentile, limit) in [(Percentile::P95, 20.0), (Percentile::P99, 60.0)] {
        let slos = slos(percentile, limit);
        search_finds("gpu", &alternatives, &slos, Batcher::WhenFree);
    }
}

/// Many instances that slow each other, for which a window may pay.
#[test]
fn search_finds_the_best_where_instances_contend() {
    let one = [(1, 8.0), (2, 9.0), (4, 11.0), (8, 16.0), (16, 27.0)];
    let alternatives = [
        setup(4, 1, (&one, &[1.0, 1.6, 2.3, 3.0]), None),
        setup(2, 2, (&one, &[1.0, 1.7]), None),
    ];
    let both = Slos::new(vec![
        Slo {
            percentile: Percentile::P50,
            latency: Time::from_millis(40.0),
        },
        Slo {
            percentile: Percentile::P99,
            latency: Time::from_millis(90.0),
        },
    ])
    .expect("objectives");
    search_finds("contention", &alternatives, &both, Batcher::WhenFree);
    let triton = Batcher::Triton {
        preferred_batch_sizes: vec![],
    };
    search_finds("triton", &alternatives, &both, triton);
}

/// `MLServer` makes batches only by its clock, so there the window is needed.
#[test]
fn search_finds_the_window_that_mlserver_needs() {
    let one = [(1, 6.0), (2, 6.5), (4, 7.5), (8, 10.0), (16, 16.0)];
    let alternatives = [setup(1, 1, (&one, &[1.0]), None)];
    let slos = slos(Percentile::P95, 60.0);
    let window = search_finds("MLServer", &alternatives, &slos, Batcher::MlServer);
    assert!(!window.is_zero());
}

/// The search may say that no window is best: a linear curve gains nothing from
/// waiting.
#[test]
fn the_best_window_may_be_none() {
    let linear = [(1, 10.0), (2, 20.0), (4, 40.0), (8, 80.0), (16, 160.0)];
    let idle = IdleSlowdown::new(&[(Time::from_millis(5.0), 1.3)]).expect("a slowdown");
    let alternatives = [setup(1, 1, (&linear, &[1.0]), Some(idle))];
    let slos = slos(Percentile::P95, 100.0);
    let window = search_finds("linear", &alternatives, &slos, Batcher::WhenFree);
    assert!(window.is_zero());
}

/// Curves of a fixed and a proportional part, with and without a knee and
/// contention, drawn at random (fixed seed), and objectives from tight to loose.
#[test]
fn search_finds_the_best_of_random_curves() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut worst = (f64::INFINITY, String::new());
    for round in 0..CURVES {
        let fixed = rng.random_range(0.5..8.0);
        let item = rng.random_range(0.1..8.0);
        let knee = rng.random_range(1.0..24.0);
        let curve = [1, 2, 4, 8, 16, 32].map(|b| {
            let beyond = (f64::from(b) - knee).max(0.0);
            (
                b,
                fixed + item * (1.0 + 0.15 * f64::from(b)) + 0.5 * item * beyond,
            )
        });
        let slower = rng.random_range(1.0..2.0);
        let alternatives = [
            setup(1, 2, (&curve, &[1.0]), None),
            setup(
                2,
                1,
                (&curve.map(|(b, m)| (b, 1.3 * m)), &[1.0, slower]),
                None,
            ),
        ];
        let limit = (fixed + item) * rng.random_range(3.0..25.0);
        let slos = slos(Percentile::P95, limit);
        let space = SearchSpace::up_to(32, &slos, Batcher::WhenFree);
        let (most, grid) = exhaustive(&alternatives, &slos, &space);
        let best = best_configuration(&alternatives, &slos, &space, options()).expect("a best");
        let share = best.capacity.rate.value.get() / most;
        assert!(
            10 * best.simulations <= grid,
            "{round}: {} of {grid}",
            best.simulations
        );
        if share < worst.0 {
            worst = (share, format!("curve {round}: {}", best.configuration));
        }
    }
    assert!(worst.0 >= 0.97, "{worst:?}");
}
