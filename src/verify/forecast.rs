//! What the simulator says will come.

use super::{recorded::Recorded, schedule::Schedule};
use crate::{
    error::{Error, Result},
    estimate::{Estimate, Source},
    plan::{
        advise::{Waiting, service_times},
        latency::{End, LatencyCurve},
        queueing::{ServiceRange, ServiceTimes, SimulationOptions, Simulator},
    },
    stats::Sample,
    units::{Fraction, Rate, Time},
    workload::{Arrivals, Percentile, ServingConfiguration},
};
use serde::{Deserialize, Serialize};

/// Requests of a simulation, at least: enough that its own noise is small
/// against that of any run.
const REQUESTS: usize = 100_000;

/// The least requests that the simulator takes.
const LEAST_SIMULATED: usize = 1000;

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
    let simulator = Simulator::new(SimulationOptions {
        requests: REQUESTS as u32,
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

/// What a run with these very arrivals would show: they are repeated, each time
/// with other draws of the service times. The value of a percentile is its mean
/// over the repetitions; their spread, which one run has too, is in the interval.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn replay(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
    schedule: &Schedule,
) -> Result<Forecast> {
    let count = schedule.arrivals().len();
    let repetitions = REQUESTS.div_ceil(count.max(1)).max(3);
    let simulator = simulator(schedule, count * repetitions)?;
    replay_with(service, configuration, schedule, &simulator)
}

/// The same with the service times of a run in the order in which they came,
/// once, from an empty server: as the run was, even where it was overloaded.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn replay_recorded(
    recorded: &Recorded,
    configuration: &ServingConfiguration,
    schedule: &Schedule,
) -> Result<Forecast> {
    let count = schedule.arrivals().len();
    let simulator = simulator(schedule, count)?.with_draws(&recorded.draws);
    let latencies = simulator.latencies(&recorded.service, configuration, schedule.realised())?;
    let laps = by_lap(latencies.get(..count).unwrap_or_default(), count);
    let values = laps.first().cloned().unwrap_or_default();
    let exact = ServiceRange::exact(recorded.service.clone(), Source::Measured);
    let percentiles = Percentile::SHOWN
        .into_iter()
        .zip(values)
        .map(|(percentile, seconds)| {
            let value = seconds.is_finite().then(|| Time::saturating(seconds));
            span(percentile, (value, [value; 2]), [0.0; 2], &exact)
        })
        .collect();
    let outcome = simulator.run(&recorded.service, configuration, schedule.realised())?;
    let steady = outcome.steady();
    Ok(Forecast {
        percentiles,
        utilisation: steady.map_or(Fraction::saturating(1.0), |s| s.utilisation),
        mean_batch: steady.map_or(f64::from(configuration.effective_max_batch()), |s| {
            s.mean_batch
        }),
        saturated_at: None,
    })
}

/// A simulator of at least so many requests that arrive as scheduled, over and over.
fn simulator(schedule: &Schedule, requests: usize) -> Result<Simulator> {
    Simulator::new(SimulationOptions {
        requests: requests.max(LEAST_SIMULATED) as u32,
        arrivals: schedule.trace()?,
        ..SimulationOptions::default()
    })
}

fn replay_with(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
    schedule: &Schedule,
    simulator: &Simulator,
) -> Result<Forecast> {
    let count = schedule.arrivals().len();
    let rate = schedule.realised();
    let laps = |service: &ServiceTimes| -> Result<Option<Vec<Vec<f64>>>> {
        if rate >= Simulator::sustainable(service, configuration)? {
            return Ok(None);
        }
        let latencies = simulator.latencies(service, configuration, rate)?;
        Ok((!latencies.is_empty()).then(|| by_lap(&latencies, count)))
    };
    let Some(middle) = laps(&service.value)? else {
        return saturated(service, configuration);
    };
    let (fast, slow) = (laps(&service.fastest)?, laps(&service.slowest)?);
    let outcome = simulator.run(&service.value, configuration, rate)?;
    let steady = outcome.steady();
    let percentiles = Percentile::SHOWN
        .into_iter()
        .enumerate()
        .map(|(i, percentile)| {
            let of = |laps: &Vec<Vec<f64>>| -> Option<Sample> {
                Sample::new(laps.iter().filter_map(|lap| lap.get(i).copied()).collect()).ok()
            };
            let mean = |laps: &Option<Vec<Vec<f64>>>| {
                laps.as_ref()
                    .and_then(of)
                    .map(|s| Time::saturating(s.mean()))
            };
            let sample = of(&middle);
            // 1.96 standard deviations on either side hold 95 % of runs.
            let noise = sample
                .as_ref()
                .and_then(Sample::standard_deviation)
                .map_or(0.0, |d| 1.96 * d);
            let value = sample.map(|s| Time::saturating(s.mean()));
            span(
                percentile,
                (value, [mean(&fast), mean(&slow)]),
                [noise, noise],
                service,
            )
        })
        .collect();
    Ok(Forecast {
        percentiles,
        utilisation: steady.map_or(Fraction::saturating(1.0), |s| s.utilisation),
        mean_batch: steady.map_or(1.0, |s| s.mean_batch),
        saturated_at: None,
    })
}

/// By what factor all service times would have to be multiplied for these
/// arrivals to show this p95: the error of a prediction in the measure in which
/// it can be carried to other loads. None where no factor from a quarter to
/// four does.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn explaining_factor(
    service: &ServiceTimes,
    configuration: &ServingConfiguration,
    schedule: &Schedule,
    p95: Time,
) -> Result<Option<f64>> {
    let count = schedule.arrivals().len();
    let repetitions = (REQUESTS / 4).div_ceil(count.max(1));
    let simulator = simulator(schedule, count * repetitions)?;
    let at = |factor: f64| -> Result<f64> {
        let scaled = service.scaled(factor);
        if schedule.realised() >= Simulator::sustainable(&scaled, configuration)? {
            return Ok(f64::INFINITY);
        }
        let latencies = simulator.latencies(&scaled, configuration, schedule.realised())?;
        let laps: Vec<f64> = by_lap(&latencies, count)
            .iter()
            .filter_map(|lap| lap.get(2).copied())
            .collect();
        Ok(if laps.is_empty() {
            f64::INFINITY
        } else {
            laps.iter().sum::<f64>() / laps.len() as f64
        })
    };
    let (mut low, mut high) = (0.25, 4.0);
    if at(low)? > p95.get() || at(high)? < p95.get() {
        return Ok(None);
    }
    for _ in 0..12 {
        let middle = f64::sqrt(low * high);
        if at(middle)? < p95.get() {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Some(f64::sqrt(low * high)))
}

/// The shown percentiles of each repetition, its warm-up left out.
fn by_lap(latencies: &[Option<Time>], count: usize) -> Vec<Vec<f64>> {
    let warm_up = (count as f64 * WARM_UP) as usize;
    latencies
        .chunks_exact(count.max(1))
        .map(|lap| {
            let mut kept: Vec<f64> = lap
                .iter()
                .skip(warm_up)
                .map(|time| time.map_or(f64::INFINITY, Time::get))
                .collect();
            kept.sort_unstable_by(f64::total_cmp);
            Percentile::SHOWN
                .iter()
                .map(|p| {
                    let rank = (p.get() * kept.len() as f64 - 1e-9).ceil().max(1.0) as usize;
                    kept.get(rank - 1).copied().unwrap_or(0.0)
                })
                .collect()
        })
        .collect()
}

/// Joins the ends of the service times and the noise of one run, as independent
/// errors.
fn span(
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

fn saturated(service: &ServiceRange, configuration: &ServingConfiguration) -> Result<Forecast> {
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
mod tests {
    use super::*;
    use crate::plan::queueing::ServicePoint;

    fn range(ms: f64, doubt: f64) -> ServiceRange {
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

    fn schedule(rate: f64) -> Schedule {
        let length = (Time::saturating(20.0), 100_000);
        Schedule::new(&Arrivals::Poisson, Rate::new(rate).unwrap(), length, 7).unwrap()
    }

    #[test]
    fn the_factor_that_explains_a_p95_is_found() {
        let configuration = ServingConfiguration::unbatched(1);
        let slower = replay(&range(11.0, 0.0), &configuration, &schedule(60.0)).unwrap();
        let p95 = slower
            .percentile(Percentile::P95)
            .unwrap()
            .latency
            .clone()
            .unwrap();
        let service = range(10.0, 0.0).value;
        let found =
            |p95| explaining_factor(&service, &configuration, &schedule(60.0), p95).unwrap();
        assert!((found(p95.value).unwrap() - 1.1).abs() < 0.005);
        assert_eq!(found(Time::from_millis(0.1)), None);
    }

    /// With constant service times a replay has no chance in it: it is the
    /// recursion of Lindley over the same arrivals.
    #[test]
    fn a_replay_of_constant_service_is_exact() {
        let schedule = schedule(50.0);
        let configuration = ServingConfiguration::unbatched(1);
        let replayed = replay(&range(10.0, 0.0), &configuration, &schedule).unwrap();
        let mut free = 0.0_f64;
        let mut latencies: Vec<f64> = schedule
            .arrivals()
            .iter()
            .map(|arrival| {
                free = free.max(arrival.get()) + 0.010;
                free - arrival.get()
            })
            .skip(50)
            .collect();
        latencies.sort_by(f64::total_cmp);
        let expected = latencies[(0.95 * latencies.len() as f64 - 1e-9).ceil() as usize - 1];
        let p95 = replayed.percentile(Percentile::P95).unwrap();
        let got = p95.latency.as_ref().unwrap().value.get();
        assert!((got / expected - 1.0).abs() < 0.005, "{got} {expected}");
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
        let configuration = ServingConfiguration::unbatched(1);
        for forecast in [
            forecast(
                &range(10.0, 0.0),
                &configuration,
                (&Arrivals::Poisson, Rate::new(120.0).unwrap()),
            ),
            replay(&range(10.0, 0.0), &configuration, &schedule(120.0)),
        ] {
            let forecast = forecast.unwrap();
            assert!(forecast.percentiles.iter().all(|p| p.latency.is_none()));
            assert!((forecast.saturated_at.unwrap().get() - 100.0).abs() < 1e-6);
        }
    }
}
