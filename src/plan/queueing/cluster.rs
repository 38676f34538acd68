//! Several replicas behind a balancer, in one line of time.

use super::kernel::{Input, Tally};
use super::replica::{Replica, Watch};
use super::service::ServiceTimes;
use super::sink::Sink;
use crate::workload::{QueuePolicy, ServingConfiguration};

/// Which replica a request goes to.
#[derive(Debug)]
pub(super) enum Route {
    /// Given for each request beforehand: a random split or round-robin.
    Given(Vec<u16>),
    /// To the replica with the fewest requests waiting or running; among equals
    /// in turn.
    LeastOutstanding,
}

/// Runs all requests through the replicas until the last one is answered.
///
/// At one instant batches end first, then requests arrive, then batches are made.
pub(super) fn run(
    service: &ServiceTimes,
    (configuration, policy): (&ServingConfiguration, QueuePolicy),
    (replicas, route): (usize, &Route),
    input: Input<'_>,
    (sink, watch): (&mut impl Sink, &mut impl Watch),
) -> Tally {
    let mut replicas: Vec<Replica> = (0..replicas)
        .map(|number| Replica::new(service, configuration, policy, (input, number)))
        .collect();
    let mut touched = vec![false; replicas.len()];
    let mut before = vec![0; replicas.len()];
    let mut request = 0;
    let mut turn = 0;
    loop {
        let event = replicas
            .iter()
            .fold(f64::INFINITY, |t, r| t.min(r.next_event()));
        let arrival = if request < input.unit_arrivals.len() {
            input.arrival(request)
        } else {
            f64::INFINITY
        };
        let now = event.min(arrival);
        // Timers may stand when everything is done: a batcher thread that sleeps.
        let idle = || replicas.iter().all(|r| r.busy() == 0 && r.waiting() == 0);
        if now.is_infinite() || (arrival.is_infinite() && idle()) || sink.settled() {
            break;
        }
        for (i, replica) in replicas.iter_mut().enumerate() {
            touched[i] = replica.next_event() <= now;
            before[i] = replica.busy();
            replica.end_batches(now, sink, watch);
        }
        while request < input.unit_arrivals.len() && input.arrival(request) <= now {
            let to = match route {
                Route::Given(replica) => usize::from(replica.get(request).copied().unwrap_or(0)),
                Route::LeastOutstanding => least_outstanding(&replicas, &mut turn),
            };
            replicas[to].offer(request as u32, now, sink, watch);
            touched[to] = true;
            request += 1;
        }
        for (i, replica) in replicas.iter_mut().enumerate() {
            if touched[i] {
                replica.decide(now, before[i], sink, watch);
            }
        }
    }
    let mut total = Tally::default();
    for replica in &replicas {
        total.batches += replica.tally.batches;
        total.items += replica.tally.items;
        total.busy += replica.tally.busy;
        total.end = total.end.max(replica.tally.end);
    }
    total
}

/// The replica with the fewest requests, the search starting after the last one
/// chosen.
fn least_outstanding(replicas: &[Replica], turn: &mut usize) -> usize {
    let n = replicas.len();
    let mut best = (usize::MAX, 0);
    for step in 0..n {
        let at = (*turn + step) % n;
        let outstanding = replicas[at].outstanding();
        if outstanding < best.0 {
            best = (outstanding, at);
        }
    }
    *turn = best.1 + 1;
    best.1
}
