//! Given arrivals through an empty server, once.

use super::{
    service::ServiceTimes,
    simulator::{SimulationOptions, Simulator, check},
    sink::{Quantity, Record},
    streams::{ByRequest, Streams},
};
use crate::{
    error::Result,
    units::{Fraction, Time},
    workload::ServingConfiguration,
};

/// Requests that arrive at these very times, and none after them: what was left
/// waiting at the end leaves without company.
#[derive(Debug, Clone)]
pub struct Pass(Simulator);

/// What one replica made of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed {
    /// The latency of every request in order of arrival, the warm-up included;
    /// none for one that was not served.
    pub latencies: Vec<Option<Time>>,
    /// Share of the time from the end of the warm-up to the last arrival for which
    /// instances were busy.
    pub utilisation: Fraction,
    /// Requests per batch after the warm-up.
    pub mean_batch: f64,
}

impl Pass {
    /// Takes the times of arrival, which never fall, and draws the service times.
    #[must_use]
    pub fn new(arrivals: &[Time], seed: u64) -> Self {
        Self(Simulator {
            options: SimulationOptions {
                requests: u32::try_from(arrivals.len()).unwrap_or(u32::MAX),
                seed,
                ..SimulationOptions::default()
            },
            streams: Streams::at(arrivals, seed),
        })
    }

    /// The same with the service times of a run in their order: for each request
    /// the place of its batch in the table of its size, and which requests' batches
    /// were held up for how long, or left late by how much. Only batches that are
    /// made when an instance is free are held up or late.
    #[must_use]
    pub fn in_order(
        self,
        draws: &[Fraction],
        (hold_ups, late): (ByRequest<'_>, ByRequest<'_>),
    ) -> Self {
        let Simulator { options, streams } = self.0;
        Self(Simulator {
            options,
            streams: streams.in_order(draws, (hold_ups, late)),
        })
    }

    /// Serves them with one replica. Where it cannot keep up, latencies grow from
    /// the first to the last.
    ///
    /// # Errors
    /// Refuses a configuration that cannot be started or that the service times
    /// do not cover.
    pub fn through(
        &self,
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
        warm_up: usize,
    ) -> Result<Passed> {
        check(service, configuration)?;
        let mut input = self.0.input(1.0);
        input.warm_up = warm_up;
        let arrivals = input.unit_arrivals;
        let mut record = Record::new(Quantity::Latency, arrivals.len(), 0);
        let tally = self.0.one(service, configuration, input, &mut record);
        let span = match (arrivals.get(warm_up), arrivals.last()) {
            (Some(from), Some(until)) => until - from,
            _ => 0.0,
        };
        let time = |seconds: f64| seconds.is_finite().then(|| Time::saturating(seconds));
        Ok(Passed {
            latencies: record.times.into_iter().map(time).collect(),
            utilisation: Fraction::saturating(
                tally.busy / (f64::from(configuration.instances) * span.max(1e-9)),
            ),
            mean_batch: tally.items as f64 / tally.batches.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::queueing::ServicePoint;

    /// Three requests for batches of up to four: the third waits for its window
    /// alone, since nobody comes after it.
    #[test]
    fn nobody_comes_after_the_last() {
        let ms = Time::from_millis;
        let points = vec![
            ServicePoint::constant(1, ms(10.0)),
            ServicePoint::constant(4, ms(10.0)),
        ];
        let service = ServiceTimes::new(points, None).unwrap();
        let configuration = ServingConfiguration::when_free(1, 4, ms(5.0));
        let pass = Pass::new(&[ms(0.0), ms(1.0), ms(8.0)], 1);
        let passed = pass.through(&service, &configuration, 0).unwrap();
        let took: Vec<f64> = passed
            .latencies
            .iter()
            .map(|latency| latency.unwrap().as_millis())
            .collect();
        for (took, expected) in took.iter().zip([15.0, 14.0, 17.0]) {
            assert!((took - expected).abs() < 1e-9, "{took} {expected}");
        }
        assert!((passed.mean_batch - 1.5).abs() < 1e-12);
        // 20 ms of service in 8 ms of arrivals.
        assert!((passed.utilisation.get() - 1.0).abs() < 1e-12);
    }

    /// What two instances that slow each other, or not, make of these arrivals where
    /// batches of up to four begin late: with latencies in milliseconds.
    fn dispatched(arrivals: &[f64], both: f64, delay: f64) -> Vec<f64> {
        let ms = Time::from_millis;
        let point = |batch| ServicePoint {
            batch,
            mean_by_busy: vec![ms(10.0), ms(both)],
            relative: Vec::new(),
        };
        let service = ServiceTimes::new(vec![point(1), point(4)], None)
            .unwrap()
            .with_dispatch(ms(delay));
        let configuration = ServingConfiguration::when_free(2, 4, Time::ZERO);
        let arrivals: Vec<Time> = arrivals.iter().copied().map(ms).collect();
        let passed = Pass::new(&arrivals, 1).through(&service, &configuration, 0);
        let latencies = passed.unwrap().latencies.into_iter();
        latencies
            .map(|latency| (latency.unwrap().as_millis() * 1e6).round() / 1e6)
            .collect()
    }

    #[test]
    fn who_comes_between_due_and_begin_is_aboard() {
        let arrivals = [0.0, 0.3, 1.0, 50.0];
        for both in [10.0, 12.0] {
            let late = dispatched(&arrivals[..2], both, 0.5);
            assert_eq!(late, [10.5, 10.2], "{both}");
        }
        assert_eq!(dispatched(&arrivals, 10.0, 0.0), [10.0, 10.0, 19.0, 10.0]);
        assert_eq!(dispatched(&arrivals, 10.0, 0.5), [10.5, 10.2, 10.5, 10.5]);
        // The third begins at 1.5 ms: 9 ms are left of the first two, now 10.8.
        let slowed = dispatched(&arrivals, 12.0, 0.5);
        assert_eq!(slowed[..2], [12.3, 12.0]);
    }
}
