//! A rate that a replica can hardly exceed, from closed forms: what is visited
//! first, and what need not be simulated at all.

use super::sizing::quantile;
use crate::{
    plan::{
        latency::{BatchPoint, End, LatencyCurve, curve::at},
        queueing::analytic::Mmc,
    },
    profile::hold_ups::HoldUpRate,
    units::{Rate, Time},
    workload::Slo,
};
use statrs::distribution::{ContinuousCDF, Normal};

/// The share of the waiting time of M/M/c that the bound counts. Constant service
/// times halve the wait (Cosmetatos 1975, exactly so for the mean of M/D/1); a
/// fifth less again keeps the bound on the safe side of every simulated case.
const KIND: f64 = 0.4;

/// The share of the wait for the next instance to be free that is counted for
/// batches, which take all that waits.
const KIND_BATCHED: f64 = 0.6;

/// Halvings: to a hundredth of the throughput.
const STEPS: u32 = 7;

/// Below this utilisation nobody waits for one of several instances often enough
/// for the bound to count it.
const HARDLY_WAITS: f64 = 0.4;

/// How much of the chance part of contention the bound counts.
const CHANCE: f64 = 0.6;

/// Batch sizes looked at from one measured size to the next: batches are made of
/// what waits, so all sizes occur.
const BETWEEN: u32 = 4;

/// Batches of one size on the instances of a layout, at one end of the interval.
#[derive(Debug, Clone)]
struct Pure {
    items: f64,
    instances: f64,
    /// Service time with one busy instance, in seconds.
    alone: f64,
    /// By how much each other busy instance makes it longer.
    each_other: f64,
    /// Per objective: what is allowed, the relative service time at its
    /// percentile, and the normal quantile of that.
    limits: Vec<(Slo, f64, f64)>,
}

impl Pure {
    /// Items per second with every instance busy.
    fn most(&self) -> f64 {
        let all = self.alone + self.each_other * (self.instances - 1.0);
        self.instances * self.items / all
    }

    /// How many instances are busy at that rate: as many as batches come while one
    /// is served, which takes the longer the more are busy.
    fn busy(&self, rate: f64) -> f64 {
        let batches = rate / self.items;
        let share = (self.instances - 1.0) / self.instances;
        let spare = 1.0 - batches * self.each_other * share;
        if spare <= 0.0 {
            return self.instances;
        }
        (batches * self.alone / spare).min(self.instances)
    }

    /// Whether every objective could hold at a rate if all batches had this size,
    /// with `waiting` behind a kind queue: single requests wait as in front of
    /// M/M/c, batches for the next instance that ends, if all are busy.
    ///
    /// A batch meets others: with k busy on average, 2k begin before it ends or end
    /// after it begins, each for a uniform part of its time, so that what it meets
    /// has mean k and variance 2k/3 (a compound Poisson sum, M/G/∞).
    fn holds(&self, rate: f64, waiting: bool) -> bool {
        let busy = self.busy(rate);
        let others = busy * (self.instances - 1.0) / self.instances;
        let seconds = self.alone + self.each_other * others;
        let utilisation = busy / self.instances;
        let alone = self.items <= 1.0;
        let queue = (alone && waiting && utilisation > HARDLY_WAITS).then(|| {
            Mmc::new(
                Rate::saturating(rate),
                Time::saturating(seconds),
                self.instances as u32,
            )
        });
        if matches!(queue, Some(None)) {
            return false;
        }
        let next_end = if alone {
            0.0
        } else {
            seconds / self.instances * utilisation.powi(self.instances as i32)
        };
        self.limits.iter().all(|(slo, relative, normal)| {
            let met = others + CHANCE * normal * (2.0 * others / 3.0).sqrt();
            let met = met.clamp(0.0, self.instances - 1.0);
            let served = (seconds * relative).max(self.alone + self.each_other * met);
            let wait = if alone {
                let wait = queue.flatten().map(|queue| queue.waiting(slo.percentile));
                KIND * wait.map_or(0.0, Time::get)
            } else {
                KIND_BATCHED * slo.percentile.get() * next_end
            };
            served + wait <= slo.latency.get()
        })
    }

    /// The highest rate at which every objective could hold; zero where none does.
    fn bound(&self, waiting: bool) -> f64 {
        let most = self.most();
        if !self.holds(0.0, waiting) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if self.holds(most * middle, waiting) {
                low = middle;
            } else {
                high = middle;
            }
        }
        most * high
    }
}

/// The bound of one layout with batches up to `largest`: the best that batches of
/// one size could do. A mix of sizes lies between those that it mixes.
#[must_use]
pub fn curve_bound(curve: &LatencyCurve, end: End, (slos, largest): (&[Slo], u32)) -> Rate {
    let points: Vec<&BatchPoint> = curve
        .points
        .iter()
        .filter(|point| point.batch_size <= largest)
        .collect();
    let Some(first) = points.first() else {
        return Rate::ZERO;
    };
    let instances = f64::from(curve.layout.instances.max(1));
    let standard = Normal::standard();
    let normals: Vec<f64> = slos
        .iter()
        .map(|slo| standard.inverse_cdf(slo.percentile.get()))
        .collect();
    // Without hold-ups, which are not in the single service times either.
    let usual = curve.hold_ups.as_ref().map_or(1.0, HoldUpRate::factor);
    let times = |point: &BatchPoint| {
        let all = at(&point.busy, end);
        let factor = all.ratio(point.busy.value);
        let alone = point.alone.scaled(factor).min(all);
        (alone.get() / usual, all.get() / usual)
    };
    let pure = |below: &BatchPoint, above: &BatchPoint, share: f64| {
        let ((alone, all), (alone_above, all_above)) = (times(below), times(above));
        let between = |low: f64, high: f64| low + share * (high - low);
        let alone = between(alone, alone_above);
        let all = between(all, all_above);
        Pure {
            items: between(f64::from(below.batch_size), f64::from(above.batch_size)),
            instances,
            alone,
            each_other: (all - alone) / (instances - 1.0).max(1.0),
            limits: slos
                .iter()
                .zip(&normals)
                .map(|(slo, normal)| {
                    let of = |point: &BatchPoint| quantile(&point.relative, slo.percentile);
                    (*slo, of(below).min(of(above)), *normal)
                })
                .collect(),
        }
    };
    let steps = |pair: &[&BatchPoint]| -> Vec<Pure> {
        let &[below, above] = pair else {
            return Vec::new();
        };
        let steps = BETWEEN.min(above.batch_size - below.batch_size).max(1);
        (1..=steps)
            .map(|step| pure(below, above, f64::from(step) / f64::from(steps)))
            .collect()
    };
    // Waiting costs Erlang's recursion, so it is only counted for sizes that may
    // be the best.
    let mut sizes: Vec<(f64, Pure)> = std::iter::once(pure(first, first, 0.0))
        .chain(points.windows(2).flat_map(steps))
        .map(|pure| (pure.bound(false), pure))
        .collect();
    sizes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best = 0.0_f64;
    for (without, pure) in sizes {
        if without <= best {
            break;
        }
        best = best.max(pure.bound(true));
    }
    Rate::saturating(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        estimate::{Estimate, Source},
        plan::{
            advise::sizing::{Waiting, service_times},
            queueing::{
                Alternative, SearchSpace, ServiceRange, SimulationOptions, best_configuration,
            },
        },
        profile::calibration::SessionLayout,
        units::Fraction,
        workload::{Batcher, Percentile, Slos},
    };
    use proptest::prelude::*;

    fn curve(instances: u32, single: f64, each: f64, contention: f64) -> LatencyCurve {
        let points = [1_u32, 2, 4, 8, 16]
            .into_iter()
            .map(|batch| {
                let alone = Time::from_millis(single + each * f64::from(batch - 1));
                let busy = alone.scaled(1.0 + contention * f64::from(instances - 1));
                BatchPoint {
                    batch_size: batch,
                    busy: Estimate::new(
                        busy,
                        (busy, busy),
                        Fraction::saturating(0.9),
                        Source::Measured,
                    ),
                    alone,
                    relative: (0..50).map(|i| 0.9 + 0.004 * f64::from(i)).collect(),
                }
            })
            .collect();
        LatencyCurve {
            layout: SessionLayout {
                instances,
                intra_op_threads: 1,
                spinning: false,
            },
            points,
            idle: Vec::new(),
            hold_ups: None,
            interference: None,
            source: Source::Measured,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What the search finds is not above the bound, but for the noise of its runs.
        #[test]
        fn nothing_carries_more_than_its_bound(
            instances in 1..12_u32,
            single in 1.0..40.0f64,
            share in 0.05..1.0f64,
            contention in 0.0..0.15f64,
            limit in 1.3..12.0f64,
        ) {
            let curve = curve(instances, single, single * share, contention);
            let latency = Time::from_millis(single * limit);
            let slos = Slos::new(vec![Slo { percentile: Percentile::P95, latency }]).unwrap();
            let service = service_times(&curve, (End::Middle, Waiting::Ignored), 16).unwrap();
            let best = best_configuration(
                &[Alternative {
                    instances,
                    intra_op_threads: 1,
                    service: ServiceRange::exact(service, Source::Measured),
                }],
                &slos,
                &SearchSpace::up_to(16, &slos, Batcher::WhenFree),
                SimulationOptions { requests: 20_000, ..SimulationOptions::default() },
            ).unwrap();
            let bound = curve_bound(&curve, End::Middle, (slos.as_slice(), 16));
            let carried = best.capacity.rate.value;
            prop_assert!(carried <= bound.scaled(1.05), "{} carried, bound {}", carried, bound);
        }
    }

    #[test]
    fn what_is_too_slow_alone_carries_nothing() {
        let curve = curve(4, 50.0, 10.0, 0.1);
        let slo = Slo {
            percentile: Percentile::P95,
            latency: Time::from_millis(40.0),
        };
        assert!(curve_bound(&curve, End::Middle, (&[slo], 16)).is_zero());
    }
}
