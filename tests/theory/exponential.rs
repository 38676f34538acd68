//! Exponential service: M/M/1 and M/M/c.

use super::{
    SERVICE, UTILISATIONS, exponential, mean_agrees, percentile_agrees, rate, run, service, time,
};
use advisor::plan::queueing::Quantity;
use advisor::plan::queueing::analytic::Mmc;
use advisor::workload::{Percentile, ServingConfiguration};

#[test]
fn waiting_and_latency_of_exponential_servers_agree_with_erlang() {
    let service = service(exponential());
    for servers in [1, 2, 5] {
        let configuration = ServingConfiguration::unbatched(servers);
        for utilisation in UTILISATIONS {
            let case = format!("M/M/{servers} at {utilisation}");
            let load = rate(utilisation * f64::from(servers) / SERVICE);
            let exact = Mmc::new(load, time(SERVICE), servers).expect("a steady state");
            let wait = run(&service, &configuration, load, Quantity::Waiting);
            mean_agrees(&case, &wait, exact.mean_wait(), 0.25);
            for percentile in Percentile::SHOWN {
                percentile_agrees(&case, &wait, percentile, exact.waiting(percentile), 0.5);
            }
            let latency = run(&service, &configuration, load, Quantity::Latency);
            for percentile in Percentile::SHOWN {
                percentile_agrees(&case, &latency, percentile, exact.latency(percentile), 0.5);
            }
            let utilised = latency.utilisation.get();
            assert!((utilised - utilisation).abs() < 0.006, "{case}: {utilised}");
        }
    }
}
