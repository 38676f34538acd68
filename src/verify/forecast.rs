//! What the simulator says will come.

use crate::{
    error::{Error, Result},
    estimate::Estimate,
    plan::{
        advise::{Waiting, service_times},
        latency::{End, LatencyCurve},
        queueing::{ServiceRange, SimulationOptions, Simulator},
    },
    units::{Fraction, Rate, Time},
    workload::{Arrivals, Percentile, ServingConfiguration},
};
use serde::{Deserialize, Serialize};

/// Requests of a simulation, at least: enough that its own noise is small
/// against that of any run.
const REQUESTS: usize = 100_000;

/// Seconds that a simulation lasts where others disturb the instances, and the
/// most requests for that: they come by the clock, some only a few times a minute.
const DISTURBED: f64 = 30.0;
const MOST_REQUESTS: f64 = 4e6;

/// Requests at the start of a run (and of each repetition of it) that are not
/// counted, as a share: the server begins empty.
pub(super) const WARM_UP: f64 = 0.05;

/// A predicted percentile with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Which.
    pub percentile: Percentile,
    /// The latency; none where the load cannot be carried.
    #[serde(rename = "latency_s")]
    pub latency: Option<Estimate<Time>>,
    /// Whether the slow end of the service times cannot carry the load, so that
    /// the interval has no upper end.
    pub open_ended: bool,
}

/// What the simulator says of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// By rising percentile.
    pub percentiles: Vec<Span>,
    /// Share of time that the instances are busy.
    pub utilisation: Fraction,
    /// Mean items per batch.
    pub mean_batch: f64,
    /// What can be carried at most, where the load is more than that.
    #[serde(
        rename = "saturated_at_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub saturated_at: Option<Rate>,
}

impl Forecast {
    /// The entry of a percentile.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<&Span> {
        self.percentiles.iter().find(|p| p.percentile == percentile)
    }
}

/// The service times of a curve with both ends of their interval.
///
/// # Errors
/// A point of the curve is unusable.
pub fn service_range(
    curve: &LatencyCurve,
    configuration: &ServingConfiguration,
) -> Result<ServiceRange> {
    let largest = configuration.effective_max_batch();
    if largest > curve.largest_batch() {
        return Err(Error::bad_input(format!(
            "batches of up to {largest} are asked for, but the calibration knows only {}",
            curve.largest_batch()
        ))
        .hint("calibrate larger ones with `advisor calibrate --max-batch N`"));
    }
    // Points above the largest batch help to interpolate below it.
    let reach = curve
        .points
        .iter()
        .map(|point| point.batch_size)
        .find(|size| *size >= largest)
        .unwrap_or(largest);
    let at = |end| service_times(curve, (end, Waiting::Counts), reach);
    Ok(ServiceRange {
        value: at(End::Middle)?,
        fastest: at(End::Optimistic)?,
        slowest: at(End::Pessimistic)?,
        level: Fraction::saturating(0.95),
        source: curve.source.clone(),
    })
}

/// What any run at that rate would show in the long run.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn forecast(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
    (arrivals, rate): (&Arrivals, Rate),
) -> Result<Forecast> {
    let least = REQUESTS as f64;
    let requests = if service.value.is_disturbed() {
        (rate.get() * DISTURBED).clamp(least, MOST_REQUESTS)
    } else {
        least
    };
    let simulator = Simulator::new(SimulationOptions {
        requests: requests as u32,
        arrivals: arrivals.clone(),
        ..SimulationOptions::default()
    })?;
    let middle = simulator.run(&service.value, configuration, rate)?;
    let Some(steady) = middle.steady() else {
        return saturated(service, configuration);
    };
    let fast = simulator.run(&service.fastest, configuration, rate)?;
    let slow = simulator.run(&service.slowest, configuration, rate)?;
    let percentiles = steady
        .percentiles
        .iter()
        .map(|entry| {
            let end = |outcome: &crate::plan::queueing::Outcome| {
                outcome
                    .steady()
                    .and_then(|s| s.percentile(entry.percentile)?.value)
            };
            let noise = |end: Option<Time>| {
                entry
                    .value
                    .zip(end)
                    .map_or(0.0, |(value, end)| (value.get() - end.get()).abs())
            };
            span(
                entry.percentile,
                (entry.value, [end(&fast), end(&slow)]),
                [noise(entry.low), noise(entry.high)],
                service,
            )
        })
        .collect();
    Ok(Forecast {
        percentiles,
        utilisation: steady.utilisation,
        mean_batch: steady.mean_batch,
        saturated_at: None,
    })
}

/// Joins the ends of the service times and the noise of one run, as independent
/// errors.
pub(super) fn span(
    percentile: Percentile,
    (value, [fast, slow]): (Option<Time>, [Option<Time>; 2]),
    [noise_below, noise_above]: [f64; 2],
    service: &ServiceRange,
) -> Span {
    let latency = value.map(|value| {
        let below = fast.map_or(0.0, |fast| (value - fast).get());
        let above = slow.map_or(0.0, |slow| (slow - value).get());
        let (down, up) = (below.hypot(noise_below), above.hypot(noise_above));
        Estimate::new(
            value,
            (value - Time::saturating(down), value + Time::saturating(up)),
            service.level,
            service.source.clone(),
        )
    });
    Span {
        percentile,
        open_ended: latency.is_some() && slow.is_none(),
        latency,
    }
}

pub(super) fn saturated(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
) -> Result<Forecast> {
    Ok(Forecast {
        percentiles: Percentile::SHOWN
            .into_iter()
            .map(|percentile| Span {
                percentile,
                latency: None,
                open_ended: true,
            })
            .collect(),
        utilisation: Fraction::saturating(1.0),
        mean_batch: f64::from(configuration.effective_max_batch()),
        saturated_at: Some(Simulator::sustainable(&service.value, configuration)?),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        estimate::Source,
        plan::queueing::{ServicePoint, ServiceTimes},
    };

    /// Constant service times, in doubt by that share on either side.
    pub fn range(ms: f64, doubt: f64) -> ServiceRange {
        let service =
            ServiceTimes::new(vec![ServicePoint::constant(1, Time::from_millis(ms))], None)
                .unwrap();
        ServiceRange::scaled(
            service,
            (1.0 - doubt, 1.0 + doubt),
            Fraction::saturating(0.95),
            Source::Measured,
        )
    }

    #[test]
    fn doubt_about_service_times_widens_more_at_higher_load() {
        let configuration = ServingConfiguration::unbatched(1);
        let width = |rate: f64| {
            let rate = Rate::new(rate).unwrap();
            let f = forecast(
                &range(10.0, 0.05),
                &configuration,
                (&Arrivals::Poisson, rate),
            );
            let latency = f
                .unwrap()
                .percentile(Percentile::P95)
                .unwrap()
                .latency
                .clone();
            let latency = latency.unwrap();
            (latency.high - latency.low).ratio(latency.value)
        };
        assert!(width(80.0) > 1.5 * width(40.0));
    }

    #[test]
    fn more_than_can_be_carried_is_said_and_not_numbered() {
        let forecast = forecast(
            &range(10.0, 0.0),
            &ServingConfiguration::unbatched(1),
            (&Arrivals::Poisson, Rate::new(120.0).unwrap()),
        )
        .unwrap();
        assert!(forecast.percentiles.iter().all(|p| p.latency.is_none()));
        assert!((forecast.saturated_at.unwrap().get() - 100.0).abs() < 1e-6);
    }
}
