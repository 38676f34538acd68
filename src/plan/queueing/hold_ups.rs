//! Hold-ups of instances: a Poisson process in the time that they serve.
//!
//! What holds an instance up does not look at what it serves, so hold-ups come
//! by the second of service and not by the batch. One that comes while nothing
//! is served is not noticed here.

use crate::profile::hold_ups::HoldUpRate;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Keeps these draws apart from those of the other streams of a seed.
const TAG: u64 = 0x686f_6c64_2075_7073;

/// The hold-ups of one replica that are yet to come.
#[derive(Debug, Clone)]
pub(super) struct Coming<'h> {
    rate: Option<&'h HoldUpRate>,
    /// Seconds of service until the next one.
    left: f64,
    rng: Xoshiro256PlusPlus,
}

impl<'h> Coming<'h> {
    /// Those of a replica, by its number.
    pub(super) fn new(rate: Option<&'h HoldUpRate>, seed: u64, replica: usize) -> Self {
        let seed = seed ^ TAG.rotate_left(replica as u32 % 64);
        let mut coming = Self {
            rate,
            left: f64::INFINITY,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(replica as u64)),
        };
        if let Some(rate) = rate {
            coming.left = coming.gap(rate);
        }
        coming
    }

    /// For how long a batch that takes so many seconds is held up.
    #[inline]
    pub(super) fn during(&mut self, seconds: f64) -> f64 {
        self.left -= seconds;
        if self.left > 0.0 { 0.0 } else { self.came() }
    }

    #[cold]
    fn came(&mut self) -> f64 {
        let Some(rate) = self.rate else {
            return 0.0;
        };
        let mut sum = 0.0;
        while self.left <= 0.0 {
            // The high half of a 32 × 32 bit product: uniform to within 2^-32.
            let draw = u128::from(self.rng.next_u64()) * rate.lengths.len() as u128;
            let at = (draw >> 64) as usize;
            sum += rate.lengths.get(at).map_or(0.0, |length| length.get());
            self.left += self.gap(rate);
        }
        sum
    }

    fn gap(&mut self, rate: &HoldUpRate) -> f64 {
        let unit: f64 = Exp1.sample(&mut self.rng);
        // A gap of nothing would hold the loop above for ever.
        (unit / rate.rate.get()).max(1e-12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::hold_ups::HoldUps, units::Time};

    #[test]
    fn hold_ups_come_by_the_second_of_service_however_it_is_cut() {
        let hold_ups = HoldUps {
            count: 100,
            lengths: [1.0, 2.0, 6.0].map(Time::from_millis).to_vec(),
        };
        let rate = HoldUpRate::new(&hold_ups, Time::saturating(10.0)).unwrap();
        let sum = |seconds: f64| {
            let mut coming = Coming::new(Some(&rate), 1, 0);
            let batches = (2000.0 / seconds) as usize;
            (0..batches).map(|_| coming.during(seconds)).sum::<f64>()
        };
        // 10 a second of 3 ms each, over 2000 seconds: 60 s.
        let (short, long) = (sum(0.001), sum(0.5));
        assert!((short / 60.0 - 1.0).abs() < 0.03, "{short}");
        assert!((short / long - 1.0).abs() < 1e-9, "{short} {long}");
        let other = Coming::new(Some(&rate), 1, 1);
        assert!((Coming::new(Some(&rate), 1, 0).left - other.left).abs() > 1e-9);
        assert!(Coming::new(None, 1, 0).during(1e300).abs() < 1e-12);
    }
}
