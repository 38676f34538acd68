//! The random numbers of a simulation: one stream per purpose, drawn once and
//! used again for every configuration that is compared.

use crate::error::{Error, Result};
use crate::units::{Fraction, Rate, Time};
use crate::workload::Arrivals;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp1, Gamma};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Requests and times that belong to them.
pub(super) type ByRequest<'r> = &'r [(u32, Time)];

/// What a stream of random numbers is for. Each has its own generator, so that
/// a further draw for one purpose never shifts the numbers of another.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Arrivals,
    Service,
    Balancer,
}

impl Purpose {
    /// The generator for this purpose. The constants only keep the seeds apart;
    /// xoshiro spreads the seed over its whole state with `SplitMix64`.
    fn generator(self, seed: u64) -> Xoshiro256PlusPlus {
        let tag: u64 = match self {
            Self::Arrivals => 0x6172_7269_7661_6c73,
            Self::Service => 0x7365_7276_6963_6531,
            Self::Balancer => 0x6261_6c61_6e63_6572,
        };
        Xoshiro256PlusPlus::seed_from_u64(seed ^ tag.rotate_left(17))
    }
}

/// Common random numbers: when requests arrive at one per second on average,
/// and which place in the table of relative service times each of them draws.
///
/// A run at another rate stretches the same arrivals, a run of another
/// configuration gives every request the same draw, so that differences between
/// runs are differences between configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    /// Times of arrival at unit rate, never falling. The last is exactly the
    /// number of requests, so that the realised load is the one asked for.
    pub(super) unit_arrivals: Vec<f64>,
    /// A batch takes the draw of its first request.
    pub(super) codes: Vec<u16>,
    /// Requests whose batch is held up, ascending, and for how many seconds.
    pub(super) hold_ups: Vec<(usize, f64)>,
    /// Requests whose batch leaves late, ascending, and by how many seconds.
    pub(super) late: Vec<(usize, f64)>,
    pub(super) seed: u64,
}

impl Streams {
    /// Draws the numbers for a run of that many requests.
    ///
    /// # Errors
    /// Refuses fewer than 1000 requests, which prove nothing, and more than a
    /// hundred million, which do not fit into memory.
    pub fn new(arrivals: &Arrivals, requests: u32, seed: u64) -> Result<Self> {
        if !(1000..=100_000_000).contains(&requests) {
            return Err(Error::bad_input(format!(
                "a simulation of {requests} requests is outside 1000 to 100 million"
            )));
        }
        let unit_arrivals = unit_arrivals(arrivals, requests as usize, seed)?;
        Ok(Self::of(unit_arrivals, seed))
    }

    /// Requests at these times, of which a second is the unit, and as many draws.
    pub(super) fn at(arrivals: &[Time], seed: u64) -> Self {
        Self::of(arrivals.iter().map(|time| time.get()).collect(), seed)
    }

    fn of(unit_arrivals: Vec<f64>, seed: u64) -> Self {
        let requests = unit_arrivals.len();
        let mut rng = Purpose::Service.generator(seed);
        let mut codes = Vec::with_capacity(requests + 3);
        while codes.len() < requests {
            let word = rng.next_u64();
            codes.extend([0, 16, 32, 48].map(|shift| (word >> shift) as u16));
        }
        codes.truncate(requests);
        Self {
            unit_arrivals,
            codes,
            hold_ups: Vec::new(),
            late: Vec::new(),
            seed,
        }
    }

    /// How many requests there are.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.codes.len()
    }

    /// When the first `count` requests arrive at this rate.
    pub fn arrivals(&self, rate: Rate, count: usize) -> impl Iterator<Item = Time> {
        let interval = rate.interval().unwrap_or_default().get();
        self.unit_arrivals
            .iter()
            .take(count)
            .map(move |unit| Time::saturating(unit * interval))
    }

    /// The same with these draws of service times, over and over, instead of
    /// random ones, and with these requests' batches held up or late.
    #[must_use]
    pub(super) fn in_order(
        mut self,
        draws: &[Fraction],
        (hold_ups, late): (ByRequest<'_>, ByRequest<'_>),
    ) -> Self {
        if !draws.is_empty() {
            for (code, draw) in self.codes.iter_mut().zip(draws.iter().cycle()) {
                *code = (draw.get() * 65536.0).min(65535.0) as u16;
            }
        }
        let sorted = |list: &[(u32, Time)]| {
            let mut list: Vec<(usize, f64)> = list
                .iter()
                .map(|(request, time)| (*request as usize, time.get()))
                .collect();
            list.sort_by_key(|(request, _)| *request);
            list
        };
        self.hold_ups = sorted(hold_ups);
        self.late = sorted(late);
        self
    }

    /// Which of `replicas` each request goes to under a random split.
    pub(super) fn random_replicas(&self, replicas: usize) -> impl Iterator<Item = usize> {
        let mut rng = Purpose::Balancer.generator(self.seed);
        (0..self.requests()).map(move |_| {
            // The high half of a 32 × 32 bit product: uniform to within 2^-32.
            let draw = u128::from(rng.next_u64()) * replicas as u128;
            (draw >> 64) as usize
        })
    }
}

fn unit_arrivals(arrivals: &Arrivals, n: usize, seed: u64) -> Result<Vec<f64>> {
    let mut rng = Purpose::Arrivals.generator(seed);
    match arrivals {
        Arrivals::Poisson => Ok(cumulate(n, || Exp1.sample(&mut rng))),
        Arrivals::Deterministic => Ok((1..=n).map(|i| i as f64).collect()),
        Arrivals::Gamma {
            coefficient_of_variation,
        } => {
            let shape = coefficient_of_variation.powi(-2);
            let gaps = Gamma::new(shape, 1.0 / shape)
                .map_err(|e| Error::bad_input(format!("gamma arrivals: {e}")))?;
            Ok(cumulate(n, || gaps.sample(&mut rng)))
        }
        Arrivals::Trace(times) => {
            let times = times.seconds();
            let count = times.len() as f64;
            let span = times.last().copied().unwrap_or(1.0);
            // The gap between the end and the next beginning is the mean gap.
            let period = span * count / (count - 1.0);
            Ok((0..n)
                .map(|i| {
                    let lap = (i / times.len()) as f64;
                    (times[i % times.len()] / period + lap) * count + 1.0
                })
                .collect())
        }
    }
}

/// Sums gaps up, stretched so that the last arrival is at exactly `n`: the
/// number of arrivals in the run is then no source of noise. For Poisson
/// arrivals this is the process given its number of arrivals.
fn cumulate(n: usize, mut gap: impl FnMut() -> f64) -> Vec<f64> {
    let mut now = 0.0;
    let mut times: Vec<f64> = (0..n)
        .map(|_| {
            now += gap();
            now
        })
        .collect();
    let stretch = n as f64 / now;
    for time in &mut times {
        *time *= stretch;
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Sample;
    use crate::workload::Timestamps;

    fn gaps(arrivals: &Arrivals) -> Sample {
        let s = Streams::new(arrivals, 100_000, 11).unwrap();
        Sample::new(s.unit_arrivals.windows(2).map(|w| w[1] - w[0]).collect()).unwrap()
    }

    #[test]
    fn gaps_have_the_variation_asked_for() {
        for (arrivals, variation) in [
            (Arrivals::Poisson, 1.0),
            (Arrivals::Deterministic, 0.0),
            (Arrivals::gamma(2.0).unwrap(), 2.0),
            (Arrivals::gamma(0.5).unwrap(), 0.5),
        ] {
            let sample = gaps(&arrivals);
            assert!((sample.mean() - 1.0).abs() < 1e-3);
            let got = sample.coefficient_of_variation().unwrap();
            assert!((got - variation).abs() < 0.02 * variation + 1e-9, "{got}");
        }
    }

    #[test]
    fn a_trace_is_stretched_and_begun_again() {
        let times = [0.0, 1.0, 5.0].map(Time::from_millis);
        let trace = Arrivals::Trace(Timestamps::new(&times).unwrap());
        let s = Streams::new(&trace, 1000, 1).unwrap();
        let expected = [1.0, 1.4, 3.0, 4.0, 4.4, 6.0];
        for (got, want) in s.unit_arrivals.iter().zip(expected) {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
    }

    #[test]
    fn streams_are_apart_and_repeatable() {
        let one = Streams::new(&Arrivals::Poisson, 5000, 1).unwrap();
        assert_eq!(one, Streams::new(&Arrivals::Poisson, 5000, 1).unwrap());
        let other = Streams::new(&Arrivals::Deterministic, 5000, 1).unwrap();
        assert_eq!(one.codes, other.codes);
        assert_ne!(
            one.codes,
            Streams::new(&Arrivals::Poisson, 5000, 2).unwrap().codes
        );
        assert!(Streams::new(&Arrivals::Poisson, 10, 1).is_err());
    }

    #[test]
    fn a_random_split_is_even() {
        let s = Streams::new(&Arrivals::Poisson, 60_000, 3).unwrap();
        let mut counts = [0_i32; 3];
        for replica in s.random_replicas(3) {
            counts[replica] += 1;
        }
        // Six standard deviations of a binomial count.
        assert!(
            counts.iter().all(|c| (c - 20_000).abs() < 700),
            "{counts:?}"
        );
    }
}
