//! What came of a load.

use super::{forecast::WARM_UP, schedule::Schedule};
use crate::{
    measure::{replica::ServedBatch, serve::process::Load},
    plan::queueing::percentiles,
    units::{Fraction, Rate, Time},
    workload::Percentile,
};
use serde::{Deserialize, Serialize};

/// A measured percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which.
    pub percentile: Percentile,
    /// Its value; none when more requests were lost than it leaves out.
    #[serde(rename = "latency_s")]
    pub value: Option<Time>,
    /// The lower end of its interval.
    #[serde(rename = "low_s")]
    pub low: Option<Time>,
    /// The upper end of its interval; none when lost requests reach up to it.
    #[serde(rename = "high_s")]
    pub high: Option<Time>,
}

/// How late things started that were due: the load's own error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// Of half of them, at most.
    #[serde(rename = "p50_s")]
    pub p50: Time,
    /// Of 99 in a hundred, at most.
    #[serde(rename = "p99_s")]
    pub p99: Time,
    /// Of the latest.
    #[serde(rename = "max_s")]
    pub max: Time,
}

impl Lateness {
    /// Of these times; zero where there are none.
    #[must_use]
    pub fn of(mut times: Vec<Time>) -> Self {
        times.sort();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Requests that were sent, the warm-up included.
    pub requests: u64,
    /// Those that count: after the first twentieth.
    pub counted: u64,
    /// Those among them that got no (right) answer.
    pub failed: u64,
    /// The load that these arrivals came to.
    #[serde(rename = "offered_per_s")]
    pub offered: Rate,
    /// Answers per second.
    #[serde(rename = "throughput_per_s")]
    pub throughput: Rate,
    /// By rising percentile, over all requests that count; one without an
    /// answer counts as endless.
    pub percentiles: Vec<Outcome>,
    /// Mean latency of those that were answered.
    #[serde(rename = "mean_s")]
    pub mean: Option<Time>,
    /// Share of time that the instances were busy; none for a server of which
    /// only the answers are seen.
    pub utilisation: Option<Fraction>,
    /// Mean items per batch; none where batches are not seen.
    pub mean_batch: Option<f64>,
    /// How late batches (or requests, over HTTP) started that were due.
    pub lateness: Lateness,
}

impl Observed {
    /// From what a replica recorded.
    #[must_use]
    pub fn of_replica(load: &Load, schedule: &Schedule, instances: u32) -> Self {
        let arrivals = schedule.arrivals();
        let latencies = load.latencies(arrivals);
        let late = load.batches.iter().map(|b| b.start - b.due).collect();
        let mut observed = Self::of_latencies(&latencies, schedule, late);
        let warm_up = warm_up(arrivals.len());
        let counted: Vec<&ServedBatch> = load
            .batches
            .iter()
            .filter(|batch| batch.first as usize >= warm_up)
            .collect();
        let busy: Time = counted.iter().map(|batch| batch.service()).sum();
        let items: u32 = counted.iter().map(|batch| batch.items).sum();
        let span = match (arrivals.get(warm_up), arrivals.last()) {
            (Some(from), Some(until)) => (*until - *from).get(),
            _ => 0.0,
        };
        let share = busy.get() / (span.max(1e-9) * f64::from(instances.max(1)));
        observed.utilisation = Some(Fraction::saturating(share));
        observed.mean_batch = Some(f64::from(items) / counted.len().max(1) as f64);
        observed
    }

    /// From the latency of each request, in order of arrival; none for one
    /// without an answer.
    #[must_use]
    pub fn of_latencies(latencies: &[Option<Time>], schedule: &Schedule, late: Vec<Time>) -> Self {
        let arrivals = schedule.arrivals();
        let warm_up = warm_up(latencies.len());
        let seconds: Vec<f64> = latencies
            .iter()
            .skip(warm_up)
            .map(|latency| latency.map_or(f64::INFINITY, Time::get))
            .collect();
        let answered: Vec<f64> = seconds.iter().copied().filter(|s| s.is_finite()).collect();
        let from = arrivals.get(warm_up).copied().unwrap_or_default();
        let until = arrivals
            .iter()
            .zip(latencies)
            .filter_map(|(arrival, latency)| Some(*arrival + (*latency)?))
            .max()
            .unwrap_or(from)
            .max(arrivals.last().copied().unwrap_or_default());
        let level = Fraction::saturating(0.95);
        Self {
            requests: latencies.len() as u64,
            counted: seconds.len() as u64,
            failed: (seconds.len() - answered.len()) as u64,
            offered: schedule.realised(),
            throughput: Rate::saturating(answered.len() as f64 / (until - from).get().max(1e-9)),
            percentiles: if seconds.is_empty() {
                Vec::new()
            } else {
                percentiles(&seconds, &Percentile::SHOWN, level)
                    .into_iter()
                    .map(|p| Outcome {
                        percentile: p.percentile,
                        value: p.value,
                        low: p.low,
                        high: p.high,
                    })
                    .collect()
            },
            mean: (!answered.is_empty())
                .then(|| Time::saturating(answered.iter().sum::<f64>() / answered.len() as f64)),
            utilisation: None,
            mean_batch: None,
            lateness: Lateness::of(late),
        }
    }

    /// The entry of a percentile.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<&Outcome> {
        self.percentiles.iter().find(|p| p.percentile == percentile)
    }
}

/// Requests at the start that are not counted, as in the simulation.
pub(super) fn warm_up(requests: usize) -> usize {
    (requests as f64 * WARM_UP) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Arrivals;

    fn schedule() -> Schedule {
        let rate = Rate::new(100.0).unwrap();
        Schedule::new(
            &Arrivals::Deterministic,
            rate,
            (Time::saturating(4.0), 1000),
            1,
        )
        .unwrap()
    }

    #[test]
    fn requests_without_an_answer_are_misses_of_every_percentile_they_reach() {
        let schedule = schedule();
        let latencies: Vec<Option<Time>> = (0..400)
            .map(|i| (i % 10 != 0).then(|| Time::from_millis(5.0)))
            .collect();
        let observed = Observed::of_latencies(&latencies, &schedule, Vec::new());
        assert_eq!((observed.counted, observed.failed), (380, 38));
        let p = |p| observed.percentile(p).unwrap().value;
        assert_eq!(p(Percentile::P50), Some(Time::from_millis(5.0)));
        assert_eq!(p(Percentile::P95), None);
    }

    #[test]
    fn a_replica_tells_latency_utilisation_and_batches() {
        let schedule = schedule();
        // Two requests at a time, taken when the second is there, for 8 ms.
        let batches = (0..200_u32)
            .map(|i| {
                let due = schedule.arrivals()[2 * i as usize + 1];
                ServedBatch {
                    first: 2 * i,
                    items: 2,
                    instance: 0,
                    due,
                    start: due,
                    end: due + Time::from_millis(8.0),
                    failed: false,
                }
            })
            .collect();
        let load = Load {
            batches,
            processor: Time::ZERO,
            failure: None,
        };
        let observed = Observed::of_replica(&load, &schedule, 1);
        assert!((observed.mean_batch.unwrap() - 2.0).abs() < 1e-12);
        assert!((observed.utilisation.unwrap().get() - 0.4).abs() < 0.01);
        let p95 = observed.percentile(Percentile::P95).unwrap();
        assert!((p95.value.unwrap().as_millis() - 18.0).abs() < 1e-6);
        assert_eq!(observed.failed, 0);
        assert_eq!(observed.lateness.max, Time::ZERO);
    }

    #[test]
    fn lateness_is_by_rank() {
        let late = Lateness::of(
            (1..=100)
                .map(|ms| Time::from_millis(f64::from(ms)))
                .collect(),
        );
        assert_eq!(late.p50, Time::from_millis(50.0));
        assert_eq!(late.p99, Time::from_millis(99.0));
        assert_eq!(Lateness::of(Vec::new()).max, Time::ZERO);
    }
}
