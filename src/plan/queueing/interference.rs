//! Interference under load: each instance walks through recorded windows, some blocks
//! in a row from a random one on (moving blocks, Künsch 1989, The jackknife and the
//! bootstrap for general stationary observations, Annals of Statistics 17): a third of
//! the time that a tree ensemble took more than 1.2 times as long as usual lay in
//! spells longer than one block, on 2 threads of an AMD EPYC.
//!
//! Which block holds at a moment depends on the seed, the instance and the moment
//! alone, so that configurations that are compared meet the same (common random
//! numbers).

use crate::profile::interference::{BLOCK, InterferenceTrace, WINDOW};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// Keeps these draws apart from those of the other streams of a seed.
const TAG: u64 = 0x696e_7465_7266_6572;

/// Blocks in a row, as they were recorded: as long as a visit that has so many.
const IN_A_ROW: u64 = 10;

/// What one instance meets.
#[derive(Debug, Clone)]
pub(super) struct Interfering<'t> {
    trace: Option<&'t InterferenceTrace>,
    seed: u64,
    /// When the present window ends.
    until: f64,
    factor: f64,
}

impl<'t> Interfering<'t> {
    /// What the instances of a replica meet, by its number.
    pub(super) fn of_instances(
        trace: Option<&'t InterferenceTrace>,
        seed: u64,
        (replica, instances): (usize, usize),
    ) -> Vec<Self> {
        (0..instances)
            .map(|instance| Self::new(trace, seed, (replica, instance)))
            .collect()
    }

    pub(super) fn new(
        trace: Option<&'t InterferenceTrace>,
        seed: u64,
        (replica, instance): (usize, usize),
    ) -> Self {
        let until = match trace {
            Some(_) => f64::NEG_INFINITY,
            None => f64::INFINITY,
        };
        Self {
            trace,
            seed: mixed(mixed(mixed(seed ^ TAG) ^ replica as u64) ^ instance as u64),
            until,
            factor: 1.0,
        }
    }

    /// How many times as long as usual a batch takes that begins at `now`, which
    /// never goes back.
    #[inline]
    pub(super) fn factor(&mut self, now: f64) -> f64 {
        if now >= self.until {
            self.look(now);
        }
        self.factor
    }

    #[inline(never)]
    fn look(&mut self, now: f64) {
        let Some(trace) = self.trace else {
            return;
        };
        let window = (now / WINDOW) as u64;
        let (block, place) = (window / BLOCK as u64, window % BLOCK as u64);
        let (row, step) = (block / IN_A_ROW, block % IN_A_ROW);
        // The high half of a 64 × 64 bit product: uniform.
        let draw = u128::from(mixed(self.seed ^ row)) * trace.count() as u128;
        let block = ((draw >> 64) as usize + step as usize) % trace.count().max(1);
        self.factor = trace.factor(block, place as usize);
        self.until = (window + 1) as f64 * WINDOW;
    }
}

/// A number that has nothing left of the order of its seeds.
fn mixed(seed: u64) -> u64 {
    SplitMix64::seed_from_u64(seed).next_u64()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::profile::interference::Interference;
    use crate::units::Time;

    /// Blocks of 80 usual and 80 slow milliseconds in turn.
    pub(in super::super) fn trace() -> InterferenceTrace {
        let mut now = 0.0;
        let mut inferences = Vec::new();
        while now < 0.801 {
            let slow = (now / 0.080) as u64 % 2 == 1;
            let service = if slow { 15e-6 } else { 10e-6 };
            now += service;
            inferences.push((1, Time::saturating(now), Time::saturating(service)));
        }
        InterferenceTrace::new(&Interference::met(&inferences)).unwrap()
    }

    #[test]
    fn spells_last_as_long_as_they_did_and_come_as_often() {
        let trace = trace();
        let mut met = Interfering::new(Some(&trace), 1, (0, 0));
        let factors: Vec<f64> = (0..200_000)
            .map(|ms| met.factor(f64::from(ms) * 1e-3 + 0.5e-3))
            .collect();
        let slow = factors.iter().filter(|f| **f > 1.0).count();
        assert!((slow as f64 / 200_000.0 - 0.5).abs() < 0.02, "{slow}");
        let changes = factors
            .windows(2)
            .filter(|pair| (pair[0] > 1.0) != (pair[1] > 1.0))
            .count();
        // Every other border of blocks within the 500 rows, half of those between
        // rows.
        assert!((changes as f64 - 2500.0).abs() < 100.0, "{changes}");
        let lasted: Vec<usize> = factors
            .chunk_by(|a, b| (*a > 1.0) == (*b > 1.0))
            .map(<[f64]>::len)
            .collect();
        let whole = lasted.iter().filter(|windows| **windows == 80).count();
        assert!(whole as f64 > 0.75 * lasted.len() as f64, "{whole}");
    }

    #[test]
    fn it_depends_on_the_moment_and_not_on_the_way_there() {
        let trace = trace();
        let new = |at| Interfering::new(Some(&trace), 7, at);
        let mut steps = new((0, 0));
        let walked: Vec<f64> = (0..20_000)
            .map(|i| steps.factor(f64::from(i) * 0.7e-3))
            .collect();
        let jumped = new((0, 0)).factor(19_999.0 * 0.7e-3);
        assert!((walked[19_999] - jumped).abs() < 1e-12);
        for other in [(0, 1), (1, 0)] {
            let mut other = new(other);
            let differs = (0..20_000)
                .filter(|i| {
                    (other.factor(f64::from(*i) * 0.7e-3) - walked[*i as usize]).abs() > 0.1
                })
                .count();
            assert!(differs > 5000, "{differs}");
        }
        let mut none = Interfering::new(None, 1, (0, 0));
        assert!((none.factor(1e300) - 1.0).abs() < 1e-12);
    }
}
