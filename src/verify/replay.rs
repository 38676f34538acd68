//! What a run with these very arrivals would show.

use super::{
    forecast::{Forecast, Span, saturated, span},
    observed::warm_up,
    recorded::Recorded,
    schedule::Schedule,
};
use crate::{
    error::{Error, Result},
    estimate::{Estimate, Source},
    plan::queueing::{Pass, Passed, ServiceRange, ServiceTimes, Simulator},
    stats::Sample,
    units::{Fraction, Time},
    workload::{Percentile, ServingConfiguration},
};

/// Requests of a replay over all its repetitions, at least: enough that its own
/// noise is small against that of any run.
const REQUESTS: usize = 100_000;

/// Repetitions at least: another run is between the least and the greatest of them
/// in (n − 1) / (n + 1) of all cases, 91 %; the doubt about service times comes on top.
const REPETITIONS: usize = 21;

/// The same where an average is enough.
const FEW_REPETITIONS: usize = 3;

/// A stretch of load, from an empty server to an empty server, and the service
/// times that it is predicted with.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'s> {
    /// What a batch takes.
    pub service: &'s ServiceRange,
    /// When requests arrived.
    pub schedule: &'s Schedule,
}

/// What these arrivals would show: they are repeated, each time from an empty
/// server and with other draws of the service times. The value of a percentile
/// is its median over the repetitions: where a hold-up or two decide, a mean is that
/// of the worst runs. What lies between the least and the greatest of them, as any
/// one run may, is in the interval.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn replay(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
    schedule: &Schedule,
) -> Result<Forecast> {
    replay_stretches(&[Stretch { service, schedule }], configuration)
}

/// The same for a run of several stretches, whose latencies are taken together.
///
/// # Errors
/// A configuration that cannot be simulated; no stretch.
pub fn replay_stretches(
    stretches: &[Stretch<'_>],
    configuration: &ServingConfiguration,
) -> Result<Forecast> {
    let Some(first) = stretches.first() else {
        return Err(Error::bad_input("there is no load to replay"));
    };
    for stretch in stretches {
        refuse_a_few(stretch.schedule)?;
    }
    // Over all stretches: seconds of work over seconds of time.
    let (mut work, mut time) = (0.0, 0.0);
    for stretch in stretches {
        let most = Simulator::sustainable(&stretch.service.value, configuration)?;
        let requests = stretch.schedule.arrivals().len() as f64;
        work += requests / most.get();
        time += requests / stretch.schedule.realised().get();
    }
    if work >= time {
        return saturated(first.service, configuration);
    }
    let count: usize = stretches.iter().map(|s| s.schedule.arrivals().len()).sum();
    let mut ends = [Vec::new(), Vec::new(), Vec::new()];
    let mut busy = Busy::default();
    for lap in 0..repetitions(count, (REQUESTS, REPETITIONS)) {
        let mut latencies = [Vec::new(), Vec::new(), Vec::new()];
        for stretch in stretches {
            let arrivals = stretch.schedule.arrivals();
            let warm_up = warm_up(arrivals.len());
            let pass = Pass::new(arrivals, 1 + lap);
            let service = stretch.service;
            let each = [&service.value, &service.fastest, &service.slowest];
            for (i, (into, service)) in latencies.iter_mut().zip(each).enumerate() {
                let passed = pass.through(service, configuration, warm_up)?;
                into.extend(counted(&passed, warm_up));
                if lap == 0 && i == 0 {
                    busy.add(&passed, stretch.schedule);
                }
            }
        }
        for (end, latencies) in ends.iter_mut().zip(latencies) {
            end.push(shown(latencies));
        }
    }
    let [middle, fast, slow] = ends;
    let percentiles = Percentile::SHOWN
        .into_iter()
        .enumerate()
        .map(|(i, percentile)| {
            let of = |runs: &[Vec<f64>]| {
                Sample::new(runs.iter().filter_map(|run| run.get(i).copied()).collect()).ok()
            };
            let usual = |runs: &[Vec<f64>]| of(runs).map(|s| Time::saturating(s.median()));
            let noise =
                of(&middle).map_or([0.0, 0.0], |s| [s.median() - s.min(), s.max() - s.median()]);
            span(
                percentile,
                (usual(&middle), [usual(&fast), usual(&slow)]),
                noise,
                first.service,
            )
        })
        .collect();
    Ok(busy.forecast(percentiles))
}

/// The same with the service times of each stretch of the run in the order in
/// which they came: as the run was, even where it was overloaded.
///
/// # Errors
/// A configuration that cannot be simulated.
pub fn replay_recorded(
    stretches: &[(&Recorded, &Schedule)],
    configuration: &ServingConfiguration,
) -> Result<Forecast> {
    let mut latencies = Vec::new();
    let mut busy = Busy::default();
    for (recorded, schedule) in stretches {
        refuse_a_few(schedule)?;
        let working = recorded.pauses.without(schedule);
        let warm_up = warm_up(schedule.arrivals().len());
        let passed = Pass::new(working.arrivals(), 1)
            .in_order(&recorded.draws, (&recorded.hold_ups, &recorded.late))
            .through(&recorded.in_order, configuration, warm_up)?;
        let each = schedule
            .arrivals()
            .iter()
            .zip(working.arrivals())
            .zip(&passed.latencies);
        latencies.extend(each.skip(warm_up).map(|((arrival, begun), latency)| {
            latency.map_or(f64::INFINITY, |latency| {
                (recorded.pauses.real(*begun + latency) - *arrival).get()
            })
        }));
        busy.add(&passed, schedule);
    }
    let percentiles = Percentile::SHOWN
        .into_iter()
        .zip(shown(latencies))
        .map(|(percentile, seconds)| Span {
            percentile,
            latency: seconds.is_finite().then(|| {
                let value = Time::saturating(seconds);
                let level = Fraction::saturating(0.95);
                Estimate::new(value, (value, value), level, Source::Measured)
            }),
            open_ended: false,
        })
        .collect();
    Ok(busy.forecast(percentiles))
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
    let arrivals = schedule.arrivals();
    let warm_up = warm_up(arrivals.len());
    let passes: Vec<Pass> = (0..repetitions(arrivals.len(), (REQUESTS / 4, FEW_REPETITIONS)))
        .map(|lap| Pass::new(arrivals, 1 + lap))
        .collect();
    let at = |factor: f64| -> Result<f64> {
        let scaled = service.scaled(factor);
        let mut sum = 0.0;
        for pass in &passes {
            let passed = pass.through(&scaled, configuration, warm_up)?;
            let latencies = counted(&passed, warm_up).collect();
            sum += shown(latencies).get(2).copied().unwrap_or(f64::INFINITY);
        }
        Ok(sum / passes.len().max(1) as f64)
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

/// Refuses arrivals that have no rate.
fn refuse_a_few(schedule: &Schedule) -> Result<()> {
    if schedule.realised().get() > 0.0 {
        return Ok(());
    }
    Err(
        Error::bad_input("there are fewer than two arrivals, which make no load to replay")
            .hint("give a longer time or a higher rate"),
    )
}

fn repetitions(requests: usize, (wanted, least): (usize, usize)) -> u64 {
    wanted.div_ceil(requests.max(1)).max(least) as u64
}

/// The latencies of a pass without its warm-up; endless where there is no answer.
fn counted(passed: &Passed, warm_up: usize) -> impl Iterator<Item = f64> {
    let counted = passed.latencies.iter().skip(warm_up);
    counted.map(|latency| latency.map_or(f64::INFINITY, Time::get))
}

/// The shown percentiles.
fn shown(mut latencies: Vec<f64>) -> Vec<f64> {
    let count = latencies.len();
    let mut rest = latencies.as_mut_slice();
    let mut skipped = 0;
    let mut found = Vec::with_capacity(Percentile::SHOWN.len());
    // By rising percentile: what is below one of them is not looked at again.
    for percentile in Percentile::SHOWN {
        let rank = (percentile.get() * count as f64 - 1e-9).ceil().max(1.0) as usize;
        let at = rank - 1 - skipped;
        if at >= rest.len() {
            break;
        }
        let (_, value, _) = rest.select_nth_unstable_by(at, f64::total_cmp);
        found.push(*value);
        rest = rest.get_mut(at..).unwrap_or_default();
        skipped += at;
    }
    found
}

/// Utilisation and batches over several stretches.
#[derive(Debug, Default)]
struct Busy {
    seconds: f64,
    occupied: f64,
    requests: f64,
    batches: f64,
}

impl Busy {
    fn add(&mut self, passed: &Passed, schedule: &Schedule) {
        let requests = schedule.arrivals().len() as f64;
        let seconds = requests / schedule.realised().get();
        self.seconds += seconds;
        self.occupied += seconds * passed.utilisation.get();
        self.requests += requests;
        self.batches += requests / passed.mean_batch.max(1.0);
    }

    fn forecast(&self, percentiles: Vec<Span>) -> Forecast {
        Forecast {
            percentiles,
            utilisation: Fraction::saturating(self.occupied / self.seconds),
            mean_batch: self.requests / self.batches,
            saturated_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::replica::ServedBatch,
        units::Rate,
        verify::{forecast::tests::range, recorded_service_times},
        workload::Arrivals,
    };

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
    fn overload_is_said_and_not_numbered() {
        let configuration = ServingConfiguration::unbatched(1);
        let forecast = replay(&range(10.0, 0.0), &configuration, &schedule(120.0)).unwrap();
        assert!(forecast.percentiles.iter().all(|p| p.latency.is_none()));
        assert!((forecast.saturated_at.unwrap().get() - 100.0).abs() < 1e-6);
    }

    /// Each stretch begins with an empty server, so two of them are not one.
    #[test]
    fn stretches_are_replayed_each_with_its_own_service_times() {
        let configuration = ServingConfiguration::unbatched(1);
        let (fast, slow) = (range(5.0, 0.0), range(10.0, 0.0));
        let schedule = schedule(20.0);
        let stretch = |service| Stretch {
            service,
            schedule: &schedule,
        };
        let p50 = |stretches: &[Stretch<'_>]| {
            let forecast = replay_stretches(stretches, &configuration).unwrap();
            let span = forecast.percentile(Percentile::P50).unwrap().clone();
            span.latency.unwrap().value.as_millis()
        };
        let both = p50(&[stretch(&fast), stretch(&slow)]);
        assert!(both > p50(&[stretch(&fast)]) && both < p50(&[stretch(&slow)]));
        assert!(replay_stretches(&[], &configuration).is_err());
    }

    /// A server that takes 1 ms a batch of any size, was slow for a while and
    /// held up once: replayed in order, every percentile comes back.
    #[test]
    fn a_recorded_run_comes_back() {
        let schedule = schedule(700.0);
        let configuration = ServingConfiguration::when_free(1, 8, Time::ZERO);
        let arrivals = schedule.arrivals();
        let (mut batches, mut head, mut free) = (Vec::new(), 0, 0.0_f64);
        while head < arrivals.len() {
            let due = arrivals[head].get().max(free);
            let aboard = arrivals[head..]
                .iter()
                .take(8)
                .filter(|a| a.get() <= due)
                .count();
            let takes = match due {
                t if t > 8.0 && t < 12.0 => 0.0016,
                t if t > 15.0 && t - free < 0.1 && free < 15.0 => 0.3,
                _ => 0.001,
            };
            free = due + takes;
            batches.push(ServedBatch {
                first: head as u32,
                items: aboard as u32,
                instance: 0,
                due: Time::saturating(due),
                start: Time::saturating(due),
                end: Time::saturating(free),
                failed: false,
            });
            head += aboard;
        }
        let load = crate::measure::serve::process::Load {
            batches,
            processor: Time::ZERO,
            failure: None,
        };
        let measured = crate::verify::Observed::of_replica(&load, &schedule, 1);
        let recorded = recorded_service_times(&load.batches, &schedule, &configuration).unwrap();
        let replayed = replay_recorded(&[(&recorded, &schedule)], &configuration).unwrap();
        for outcome in &measured.percentiles {
            let span = replayed.percentile(outcome.percentile).unwrap();
            let (seen, value) = (outcome.value.unwrap(), span.latency.as_ref().unwrap().value);
            assert!(
                (value.ratio(seen) - 1.0).abs() < 1e-6,
                "{} {seen} {value}",
                outcome.percentile
            );
        }
    }
}
