//! Speed of the simulator: requests per second on one core.
//!
//! `cargo bench --bench simulator`. Runs have the default length. Every figure is the median of several
//! repetitions, with the random numbers drawn anew each time ("drawn") and with
//! the numbers already there ("drawn before"), as in a search for the capacity.
//! With the argument `once CASE REQUESTS` it runs one case once and prints
//! seconds and results, for comparison with another simulator.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints and may stop at the first error"
)]

use advisor::estimate::Source;
use advisor::plan::queueing::{
    Alternative, IdleSlowdown, Quantity, SearchSpace, ServicePoint, ServiceRange, ServiceTimes,
    SimulationOptions, Simulator, Streams, best_configuration,
};
use advisor::units::{Fraction, Rate, Time};
use advisor::workload::{Arrivals, Batcher, Percentile, ServingConfiguration, Slos};
use std::time::Instant;

/// A case: what is simulated.
struct Case {
    name: &'static str,
    service: ServiceTimes,
    configuration: ServingConfiguration,
    rate: Rate,
}

fn ms(value: f64) -> Time {
    Time::from_millis(value)
}

fn rate(value: f64) -> Rate {
    Rate::new(value).expect("a rate")
}

/// A spread as measured on a quiet machine: 8 % around the mean, with a tail.
fn spread() -> Vec<f64> {
    (0..1024)
        .map(|i| {
            let u = (f64::from(i) + 0.5) / 1024.0;
            0.93 - 0.07 * (1.0 - u).ln()
        })
        .collect()
}

fn exponential() -> Vec<f64> {
    (0..4096)
        .map(|i| -(1.0 - (f64::from(i) + 0.5) / 4096.0).ln())
        .collect()
}

fn curve(means: &[(u32, &[f64])], relative: &[f64]) -> ServiceTimes {
    let points = means
        .iter()
        .map(|(batch, by_busy)| ServicePoint {
            batch: *batch,
            mean_by_busy: by_busy.iter().map(|m| ms(*m)).collect(),
            relative: relative.to_vec(),
        })
        .collect();
    ServiceTimes::new(points, None).expect("service times")
}

fn cases() -> Vec<Case> {
    let spread = spread();
    let one = curve(&[(1, &[10.0])], &spread);
    let gpu = curve(
        &[
            (1, &[5.0]),
            (2, &[5.2]),
            (4, &[5.8]),
            (8, &[7.5]),
            (16, &[11.5]),
            (32, &[20.0]),
        ],
        &spread,
    );
    let cpu = curve(
        &[
            (1, &[10.0, 13.0]),
            (2, &[18.0, 23.5]),
            (4, &[34.0, 45.0]),
            (8, &[66.0, 88.0]),
        ],
        &spread,
    );
    let idle =
        IdleSlowdown::new(&[(ms(0.2), 1.05), (ms(5.0), 1.3), (ms(20.0), 1.9)]).expect("a slowdown");
    let cold = ServiceTimes::new(
        vec![ServicePoint {
            batch: 1,
            mean_by_busy: vec![ms(10.0)],
            relative: spread.clone(),
        }],
        Some(idle),
    )
    .expect("service times");
    let mmc = curve(&[(1, &[10.0])], &exponential());
    let batched =
        |instances, batch, window| ServingConfiguration::when_free(instances, batch, ms(window));
    let case = |name, service: &ServiceTimes, configuration, r| Case {
        name,
        service: service.clone(),
        configuration,
        rate: rate(r),
    };
    vec![
        case("1 instance, no batching", &one, batched(1, 1, 0.0), 70.0),
        case(
            "1 instance, slowed when idle",
            &cold,
            batched(1, 1, 0.0),
            60.0,
        ),
        case("4 instances, no batching", &one, batched(4, 1, 0.0), 280.0),
        case("1 instance, max batch 8", &gpu, batched(1, 8, 0.0), 700.0),
        case(
            "1 instance, max batch 32",
            &gpu,
            batched(1, 32, 0.0),
            1100.0,
        ),
        case(
            "1 instance, max batch 8, window 5 ms",
            &gpu,
            batched(1, 8, 5.0),
            700.0,
        ),
        case(
            "2 instances, contention, no batching",
            &cpu,
            batched(2, 1, 0.0),
            100.0,
        ),
        case(
            "2 instances, contention, max batch 8",
            &cpu,
            batched(2, 8, 0.0),
            125.0,
        ),
        case(
            "Triton, max batch 8, delay 5 ms",
            &gpu,
            batched(1, 8, 5.0).with_batcher(Batcher::Triton {
                preferred_batch_sizes: vec![],
            }),
            700.0,
        ),
        case(
            "MLServer, 2 workers, max batch 8, 5 ms",
            &gpu,
            batched(2, 8, 5.0).with_batcher(Batcher::MlServer),
            700.0,
        ),
        case("M/M/2", &mmc, batched(2, 1, 0.0), 140.0),
    ]
}

fn options(requests: u32) -> SimulationOptions {
    SimulationOptions {
        requests,
        percentiles: vec![Percentile::P95],
        ..SimulationOptions::default()
    }
}

/// The median of `repetitions` timings, in seconds.
fn median(repetitions: usize, mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[repetitions / 2]
}

fn throughput() {
    let requests = SimulationOptions::default().requests;
    let options = options(requests);
    println!(
        "{:<42} {:>14} {:>14}",
        "million requests per second, one core", "drawn", "drawn before"
    );
    let streams = median(51, || {
        let drawn = Streams::new(&Arrivals::Poisson, requests, 1);
        std::hint::black_box(drawn.expect("streams"));
    });
    println!(
        "{:<42} {:>14.1}",
        "the random numbers alone",
        f64::from(requests) / streams / 1e6
    );
    let ready = Simulator::new(options.clone()).expect("a simulator");
    for case in cases() {
        let run = |simulator: &Simulator| {
            let outcome = simulator.run(&case.service, &case.configuration, case.rate);
            std::hint::black_box(outcome.expect("an outcome"));
        };
        let drawn = median(51, || {
            run(&Simulator::new(options.clone()).expect("a simulator"));
        });
        let before = median(51, || run(&ready));
        println!(
            "{:<42} {:>14.1} {:>14.1}",
            case.name,
            f64::from(requests) / drawn / 1e6,
            f64::from(requests) / before / 1e6
        );
    }
}

fn capacity() {
    println!(
        "\n{:<42} {:>10} {:>10}",
        "SLO capacity, milliseconds", "full", "coarse"
    );
    let full = Simulator::new(SimulationOptions::default()).expect("a simulator");
    let coarse = Simulator::new(SimulationOptions::coarse()).expect("a simulator");
    let slos = Slos::one(Percentile::P95, ms(120.0)).expect("an objective");
    for case in cases() {
        let level = Fraction::saturating(0.95);
        let range = ServiceRange::scaled(case.service, (0.95, 1.05), level, Source::Measured);
        let time = |simulator: &Simulator| {
            1e3 * median(5, || {
                let capacity = simulator.slo_capacity(&range, &case.configuration, &slos);
                std::hint::black_box(capacity.expect("a capacity"));
            })
        };
        println!(
            "{:<42} {:>10.1} {:>10.2}",
            case.name,
            time(&full),
            time(&coarse)
        );
        let found = full
            .slo_capacity(&range, &case.configuration, &slos)
            .expect("a capacity");
        println!(
            "    {} ({} to {}), {} simulations",
            found.rate.value, found.rate.low, found.rate.high, found.simulations
        );
    }
    let all = cases();
    let cpu = &all[7];
    let alternatives = [Alternative {
        instances: 2,
        intra_op_threads: 1,
        service: ServiceRange::exact(cpu.service.clone(), Source::Measured),
    }];
    let space = SearchSpace::up_to(8, &slos, Batcher::WhenFree);
    let search = || {
        best_configuration(&alternatives, &slos, &space, SimulationOptions::default())
            .expect("a configuration")
    };
    let took = 1e3 * median(5, || drop(std::hint::black_box(search())));
    let best = search();
    println!(
        "search over batch sizes and windows: {took:.0} ms, {} simulations",
        best.simulations
    );
    println!("    {}, {}", best.configuration, best.capacity.rate.value);
}

/// One case once: seconds in the simulator, mean wait and mean latency.
fn once(case: &str, requests: u32) {
    let (service, configuration, load) = match case {
        "mm2" => (
            curve(&[(1, &[10.0])], &exponential()),
            ServingConfiguration::unbatched(2),
            rate(140.0),
        ),
        _ => (
            curve(&[(1, &[5.0]), (8, &[12.0])], &[]),
            ServingConfiguration::when_free(1, 8, Time::ZERO),
            rate(500.0),
        ),
    };
    let options = SimulationOptions {
        quantity: Quantity::Latency,
        ..options(requests)
    };
    let start = Instant::now();
    let simulator = Simulator::new(options).expect("a simulator");
    let outcome = simulator
        .run(&service, &configuration, load)
        .expect("an outcome");
    let seconds = start.elapsed().as_secs_f64();
    let steady = outcome.steady().expect("a steady state");
    let mean = steady.mean.expect("a mean");
    println!(
        "{{\"seconds\": {seconds}, \"mean_latency\": {}, \"mean_batch\": {}}}",
        mean.value.get(),
        steady.mean_batch
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "once") {
        let requests = arguments.get(at + 2).and_then(|n| n.parse().ok());
        once(&arguments[at + 1], requests.unwrap_or(1_000_000));
        return;
    }
    throughput();
    capacity();
}
