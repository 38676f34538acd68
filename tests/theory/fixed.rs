//! Constant and general service: M/D/1, M/D/c, M/G/1.

use super::{
    SERVICE, UTILISATIONS, exponential, mean_agrees, percentile_agrees, rate, run, service, time,
};
use advisor::plan::queueing::Quantity;
use advisor::plan::queueing::analytic::{Mdc, allen_cunneen, pollaczek_khinchine};
use advisor::workload::{Percentile, ServingConfiguration};

#[test]
fn waiting_of_constant_servers_agrees_with_crommelin_and_franx() {
    let service = service(vec![]);
    for servers in [1, 2, 4] {
        let configuration = ServingConfiguration::unbatched(servers);
        for utilisation in UTILISATIONS {
            let case = format!("M/D/{servers} at {utilisation}");
            let load = rate(utilisation * f64::from(servers) / SERVICE);
            let exact = Mdc::new(load, time(SERVICE), servers).expect("a steady state");
            let wait = run(&service, &configuration, load, Quantity::Waiting);
            mean_agrees(&case, &wait, exact.mean_wait(), 0.25);
            for percentile in Percentile::SHOWN {
                percentile_agrees(&case, &wait, percentile, exact.waiting(percentile), 0.4);
            }
        }
    }
}

#[test]
fn mean_waiting_with_any_spread_agrees_with_pollaczek_and_khinchine() {
    // Two values: squared coefficient of variation 0.36.
    let relative = vec![0.4, 1.6];
    let service = service(relative);
    for utilisation in UTILISATIONS {
        let case = format!("M/G/1 at {utilisation}");
        let load = rate(utilisation / SERVICE);
        let exact = pollaczek_khinchine(load, time(SERVICE), 0.6).expect("a steady state");
        let configuration = ServingConfiguration::unbatched(1);
        let wait = run(&service, &configuration, load, Quantity::Waiting);
        mean_agrees(&case, &wait, exact, 0.25);
    }
}

/// Allen–Cunneen is an approximation with several servers: close, not equal.
#[test]
fn allen_and_cunneen_are_close_with_several_servers() {
    let mild: Vec<f64> = exponential().iter().map(|v| 0.7 + 0.3 * v).collect();
    let service = service(mild);
    let load = rate(4.0 * 0.8 / SERVICE);
    let approximate = allen_cunneen((load, 1.0), (time(SERVICE), 0.3), 4).expect("a steady state");
    let configuration = ServingConfiguration::unbatched(4);
    let wait = run(&service, &configuration, load, Quantity::Waiting);
    let ratio = approximate.ratio(wait.mean.expect("a mean").value);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}
