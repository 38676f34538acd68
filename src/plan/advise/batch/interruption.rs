//! What being taken back costs a job on spot machines.

use crate::{
    plan::pricing::Interruption,
    units::{Fraction, Time},
};

/// Hours of a month, as the bands count them.
const HOURS_PER_MONTH: f64 = 730.0;

/// The band where the provider states none: the highest that AWS Spot Advisor has
/// is "more than 20 %"; three in four are the pessimistic end here.
pub(super) const UNKNOWN: (f64, f64) = (0.0, 0.75);

/// A share above this is no longer a rate that can be planned with.
const HIGHEST_SHARE: f64 = 0.95;

/// How often machines are taken back, per second: optimistic, middle, pessimistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hazard {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

impl Hazard {
    /// No interruptions.
    pub const NONE: Self = Self {
        low: 0.0,
        middle: 0.0,
        high: 0.0,
    };

    /// From the share taken back within a month: `1 − exp(−λ t)` solved for λ.
    pub fn of(band: Option<Interruption>) -> Self {
        let (low, high) = band.map_or(UNKNOWN, |band| (band.low.get(), band.high.get()));
        let rate = |share: f64| {
            let share = Fraction::saturating(share).get().min(HIGHEST_SHARE);
            -(1.0 - share).ln() / (HOURS_PER_MONTH * 3600.0)
        };
        Self {
            low: rate(low),
            middle: rate(f64::midpoint(low, high)),
            high: rate(high),
        }
    }
}

/// How many times longer work takes when a machine is taken back at random at a
/// rate of `per_second`, after which it costs `restart` to go on from the last
/// checkpoint, made after each `segment` of work.
///
/// A segment of length τ takes `(e^{λτ} − 1)(1/λ + R)` on average: Daly, "A higher
/// order estimate of the optimum checkpoint interval for restart dumps" (2006),
/// equation 13 without the time of the dump.
pub(super) fn stretch(per_second: f64, segment: Time, restart: Time) -> f64 {
    let exponent = per_second * segment.get();
    if exponent < 1e-12 || segment.is_zero() {
        return 1.0;
    }
    exponent.exp_m1() * (1.0 / per_second + restart.get()) / segment.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn a_band_becomes_a_rate() {
        // Half of all machines in a month: ln 2 per 730 hours.
        let hazard = Hazard::of(Some("40-60%".parse().unwrap()));
        assert!((hazard.middle * 730.0 * 3600.0 - 2_f64.ln()).abs() < 1e-12);
        assert!(hazard.low < hazard.middle && hazard.middle < hazard.high);
        assert!(Hazard::of(Some(">20%".parse().unwrap())).high.is_finite());
    }

    #[test]
    fn the_formula_is_what_a_simulation_finds() {
        let (rate, segment, restart) = (1.0 / 3600.0, 1200.0, 300.0);
        let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(7);
        let mut clock = 0.0;
        let segments = 200_000;
        for _ in 0..segments {
            loop {
                let until: f64 = -(1.0 - random.random::<f64>()).ln() / rate;
                if until >= segment {
                    clock += segment;
                    break;
                }
                clock += until + restart;
            }
        }
        let simulated = clock / (segment * f64::from(segments));
        let time = Time::saturating;
        let formula = stretch(rate, time(segment), time(restart));
        assert!(
            (simulated / formula - 1.0).abs() < 0.01,
            "{simulated} {formula}"
        );
        assert!((stretch(0.0, time(60.0), time(60.0)) - 1.0).abs() < 1e-12);
    }
}
