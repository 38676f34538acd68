//! What a simulated load came to.

use crate::stats::{Sample, student_t};
use crate::units::{Fraction, Rate, Time};
use crate::workload::Percentile;
use std::fmt;

/// Equal stretches of a run whose spread gives the interval (batch means): with
/// 20 of them Student's t is 7 % above its limit, and each is still long
/// against the memory of the queue.
pub(super) const STRETCHES: usize = 20;

/// What came of a load.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The server keeps up.
    Steady(Steady),
    /// More arrives than can be served: the queue grows without end, and there
    /// is no latency to speak of.
    Saturated(Saturation),
}

impl Outcome {
    /// The steady state, where there is one.
    #[must_use]
    pub const fn steady(&self) -> Option<&Steady> {
        match self {
            Self::Steady(steady) => Some(steady),
            Self::Saturated(_) => None,
        }
    }
}

/// A load that cannot be sustained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saturation {
    /// What arrives.
    pub offered: Rate,
    /// What is served at most.
    pub sustained: Rate,
}

impl fmt::Display for Saturation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.offered - self.sustained;
        write!(
            f,
            "cannot sustain {}: at most {}, short by {}",
            self.offered, self.sustained, short
        )
    }
}

/// The state of a server that keeps up.
#[derive(Debug, Clone, PartialEq)]
pub struct Steady {
    /// What arrives at all replicas together.
    pub offered: Rate,
    /// What is answered.
    pub throughput: Rate,
    /// The percentiles asked for, over all arrivals after the warm-up.
    pub percentiles: Vec<PercentileTime>,
    /// The mean over the requests that were served; none when none was.
    pub mean: Option<MeanTime>,
    /// The share of time the instances were busy.
    pub utilisation: Fraction,
    /// Requests per batch, on average.
    pub mean_batch: f64,
    /// Arrivals after the warm-up.
    pub requests: u64,
    /// Those that were rejected on arrival.
    pub rejected: u64,
    /// Those that waited longer than they may.
    pub timed_out: u64,
}

impl Steady {
    /// The entry for a percentile that was asked for.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<&PercentileTime> {
        self.percentiles.iter().find(|p| p.percentile == percentile)
    }

    /// Arrivals that were not answered, as a share: misses of any objective.
    #[must_use]
    pub fn lost(&self) -> Fraction {
        Fraction::saturating((self.rejected + self.timed_out) as f64 / self.requests.max(1) as f64)
    }
}

/// A percentile with the interval of the simulation (not of the service times).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PercentileTime {
    /// Which percentile.
    pub percentile: Percentile,
    /// Its value; none when more requests were lost than it leaves out.
    pub value: Option<Time>,
    /// The lower end of the interval, where it is known.
    pub low: Option<Time>,
    /// The upper end of the interval; none when lost requests reach up to it.
    pub high: Option<Time>,
    /// How often the interval is expected to hold the truth.
    pub level: Fraction,
}

/// A mean with the interval of the simulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanTime {
    /// The mean.
    pub value: Time,
    /// The lower end of the interval.
    pub low: Time,
    /// The upper end of the interval.
    pub high: Time,
}

/// Percentiles of the times of all measured requests, in order of arrival,
/// infinite for those that were lost.
///
/// The interval comes from the stretches: the share of each that lies at or
/// below the estimate varies; that variation, times Student's t, moves the
/// percentile down and up, and the times found there are the ends. Unlike
/// percentiles of single stretches it has no bias from short stretches.
#[must_use]
pub fn percentiles(times: &[f64], wanted: &[Percentile], level: Fraction) -> Vec<PercentileTime> {
    let ranks = Ranks::new(times);
    let t = student_t(STRETCHES - 1, level).unwrap_or(f64::INFINITY);
    let shown = |seconds: f64| seconds.is_finite().then(|| Time::saturating(seconds));
    let shares: Vec<f64> = wanted.iter().map(|p| p.get()).collect();
    let values = ranks.quantiles(&shares);
    // Shares at or below each value, by stretch.
    let mut below: Vec<Vec<f64>> = vec![Vec::with_capacity(STRETCHES); values.len()];
    for stretch in stretches(times) {
        for (value, below) in values.iter().zip(&mut below) {
            let count = stretch.iter().filter(|time| *time <= value).count();
            below.push(count as f64 / stretch.len() as f64);
        }
    }
    let halves: Vec<f64> = below
        .into_iter()
        .map(|b| {
            let deviation = Sample::new(b).ok().and_then(|s| s.standard_deviation());
            deviation.map_or(1.0, |d| t * d / (STRETCHES as f64).sqrt())
        })
        .collect();
    let moved = |sign: f64| -> Vec<f64> {
        let ends = shares.iter().zip(&halves);
        ranks.quantiles(&ends.map(|(p, half)| p + sign * half).collect::<Vec<_>>())
    };
    let (lows, highs) = (moved(-1.0), moved(1.0));
    wanted
        .iter()
        .zip(values)
        .zip(lows.into_iter().zip(highs))
        .map(|((&percentile, value), (low, high))| PercentileTime {
            percentile,
            value: shown(value),
            low: shown(low),
            high: shown(high),
            level,
        })
        .collect()
}

/// The mean of the finite times with its interval by batch means.
pub(super) fn mean(times: &[f64], level: Fraction) -> Option<MeanTime> {
    let finite = |s: &[f64]| -> (f64, f64) {
        s.iter()
            .filter(|v| v.is_finite())
            .fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0))
    };
    let (sum, n) = finite(times);
    if n <= 0.0 {
        return None;
    }
    let means = stretches(times)
        .map(finite)
        .filter(|(_, n)| *n > 0.0)
        .map(|(sum, n)| sum / n)
        .collect();
    let value = sum / n;
    let half = Sample::new(means)
        .ok()
        .and_then(|m| Some((m.standard_deviation()? / (m.len() as f64).sqrt(), m.len())))
        .and_then(|(error, k)| Some(error * student_t(k - 1, level)?))
        .unwrap_or(value);
    Some(MeanTime {
        value: Time::saturating(value),
        low: Time::saturating(value - half),
        high: Time::saturating(value + half),
    })
}

fn stretches(times: &[f64]) -> impl Iterator<Item = &[f64]> {
    times
        .chunks_exact((times.len() / STRETCHES).max(1))
        .take(STRETCHES)
}

/// Order statistics of many times in two passes: a histogram whose buckets are
/// 1/256 of an octave wide finds the bucket of a rank, and the values of that
/// bucket alone are sorted. Exact, and linear in the number of times.
struct Ranks<'t> {
    times: &'t [f64],
    lowest: u64,
    /// How many times lie in buckets before this one.
    before: Vec<usize>,
}

/// Bits of the fraction of a float that are dropped to get a bucket.
const BUCKET_SHIFT: u32 = 44;

impl<'t> Ranks<'t> {
    fn new(times: &'t [f64]) -> Self {
        let mut lowest = u64::MAX;
        let mut highest = 0;
        for time in times.iter().filter(|t| t.is_finite()) {
            let bucket = bucket(*time);
            lowest = lowest.min(bucket);
            highest = highest.max(bucket);
        }
        let lowest = lowest.min(highest);
        // Zero stands octaves below every other time; more than 2^20 buckets
        // (all octaves there are) never arise.
        let mut before = vec![0_usize; (highest - lowest) as usize + 3];
        for time in times {
            let at = if time.is_finite() {
                (bucket(*time) - lowest) as usize
            } else {
                (highest - lowest) as usize + 1
            };
            before[at + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut before {
            sum += *count;
            *count = sum;
        }
        Self {
            times,
            lowest,
            before,
        }
    }

    /// For each share `p` the smallest time t such that at least that share is at
    /// most t; infinite when that many were lost or `p` is above 1.
    fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        let n = self.times.len();
        let places: Vec<Option<(usize, usize)>> = shares
            .iter()
            .map(|&p| {
                if p > 1.0 || n == 0 {
                    return None;
                }
                let rank = crate::stats::rank_of(p.max(0.0), n);
                let at = self.before.partition_point(|&b| b < rank) - 1;
                let lost = at + 2 >= self.before.len();
                (!lost).then(|| (at, rank - 1 - self.before.get(at).copied().unwrap_or(0)))
            })
            .collect();
        // One pass gathers the values of every bucket that is wanted.
        let mut wanted: Vec<usize> = places.iter().flatten().map(|p| p.0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut slot = vec![u32::MAX; self.before.len()];
        for (i, &at) in wanted.iter().enumerate() {
            slot[at] = i as u32;
        }
        let mut inside: Vec<Vec<f64>> = vec![Vec::new(); wanted.len()];
        for time in self.times.iter().filter(|t| t.is_finite()) {
            let at = (bucket(*time) - self.lowest) as usize;
            if let Some(list) = inside.get_mut(slot[at] as usize) {
                list.push(*time);
            }
        }
        places
            .into_iter()
            .map(|place| {
                let (at, place) = place?;
                let list = inside.get_mut(slot[at] as usize)?;
                let place = place.min(list.len().checked_sub(1)?);
                Some(*list.select_nth_unstable_by(place, f64::total_cmp).1)
            })
            .map(|time| time.unwrap_or(f64::INFINITY))
            .collect()
    }
}

/// Floats that are not negative sort like their bits. A wait may come out a
/// rounding error below zero; it counts as zero.
#[inline]
fn bucket(time: f64) -> u64 {
    time.max(0.0).to_bits() >> BUCKET_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_equal_those_of_a_sorted_list(
            mut times in prop::collection::vec(
                prop_oneof![0.0..1e-3f64, 0.0..10.0f64, Just(0.0), Just(f64::INFINITY)],
                1..300,
            ),
            p in 0.0..1.0f64,
        ) {
            let got = Ranks::new(&times).quantiles(&[p])[0];
            times.sort_unstable_by(f64::total_cmp);
            let want = times[crate::stats::rank_of(p, times.len()) - 1];
            prop_assert_eq!(got.to_bits(), want.to_bits());
        }
    }

    #[test]
    fn lost_requests_take_the_percentiles_they_reach() {
        let mut times: Vec<f64> = (1..=1000).map(|i| f64::from(i) * 1e-3).collect();
        for i in 0..100 {
            times[i * 10] = f64::INFINITY;
        }
        let level = Fraction::saturating(0.95);
        let got = percentiles(&times, &[Percentile::P50, Percentile::P95], level);
        assert!(got[0].value.is_some());
        assert_eq!(got[1].value, None);
        assert!(mean(&times, level).is_some());
        assert_eq!(mean(&[f64::INFINITY], level), None);
    }

    #[test]
    fn saturation_says_by_how_much() {
        let rate = |r| Rate::new(r).unwrap();
        let verdict = Saturation {
            offered: rate(40.0),
            sustained: rate(31.0),
        };
        assert_eq!(
            verdict.to_string(),
            "cannot sustain 40 req/s: at most 31 req/s, short by 9 req/s"
        );
    }
}
