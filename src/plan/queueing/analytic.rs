//! Closed forms and exact numerical solutions from queueing theory.
//!
//! They test the simulator and bound what a configuration could carry; they are
//! never the answer, since no real server is as simple.

use crate::units::{Fraction, Rate, Time};
use crate::workload::Percentile;

/// Erlang's C: the share of requests that have to wait with `servers` servers
/// and Poisson arrivals, when `load` servers would be busy on average
/// (rate × mean service time; exponential service). Kleinrock, *Queueing
/// Systems I*, section 3.5.
///
/// None where the servers cannot keep up.
#[must_use]
pub fn erlang_c(servers: u32, load: f64) -> Option<Fraction> {
    if load.is_nan() || load < 0.0 || load >= f64::from(servers) {
        return None;
    }
    // Erlang's B by its recursion, which neither over- nor underflows.
    let blocked = (1..=servers).fold(1.0, |b, k| load * b / (f64::from(k) + load * b));
    let utilisation = load / f64::from(servers);
    Some(Fraction::saturating(
        blocked / (1.0 - utilisation * (1.0 - blocked)),
    ))
}

/// A queue with Poisson arrivals and exponential service (M/M/c).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmc {
    waits: f64,
    /// The rate at which the queue drains, per second: c·μ − λ.
    drain: f64,
    /// The service rate of one server, per second.
    service_rate: f64,
    /// c − a, free servers on average.
    spare: f64,
}

impl Mmc {
    /// None where the servers cannot keep up.
    #[must_use]
    pub fn new(rate: Rate, service: Time, servers: u32) -> Option<Self> {
        let load = rate.get() * service.get();
        let waits = erlang_c(servers, load)?.get();
        let service_rate = 1.0 / service.get();
        Some(Self {
            waits,
            drain: f64::from(servers) * service_rate - rate.get(),
            service_rate,
            spare: f64::from(servers) - load,
        })
    }

    /// The mean time from arrival to the start of service.
    #[must_use]
    pub fn mean_wait(&self) -> Time {
        Time::saturating(self.waits / self.drain)
    }

    /// The percentile of the time from arrival to the start of service: zero
    /// for those that do not wait, exponential for the others.
    #[must_use]
    pub fn waiting(&self, percentile: Percentile) -> Time {
        let beyond = percentile.misses() / self.waits;
        Time::saturating((-beyond.ln() / self.drain).max(0.0))
    }

    /// The percentile of the time from arrival to the end of service.
    #[must_use]
    pub fn latency(&self, percentile: Percentile) -> Time {
        // P(T > t) = e^{−μt} (1 + C (1 − e^{−μt(c−1−a)}) / (c − 1 − a)).
        let spare = self.spare - 1.0;
        let beyond = |t: f64| {
            let served = self.service_rate * t;
            let queue = if spare.abs() < 1e-9 {
                served
            } else {
                (1.0 - (-served * spare).exp()) / spare
            };
            (-served).exp() * (1.0 + self.waits * queue)
        };
        Time::saturating(solve(&beyond, percentile.misses(), 1.0 / self.service_rate))
    }
}

/// The time at which a falling probability reaches `target`, by halving.
fn solve(beyond: &impl Fn(f64) -> f64, target: f64, scale: f64) -> f64 {
    let mut high = scale;
    for _ in 0..200 {
        if beyond(high) <= target {
            break;
        }
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if beyond(middle) <= target {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The mean wait with one server, Poisson arrivals and any service times with
/// that coefficient of variation (M/G/1): the Pollaczek–Khinchine formula.
///
/// None where the server cannot keep up.
#[must_use]
pub fn pollaczek_khinchine(rate: Rate, service: Time, variation: f64) -> Option<Time> {
    allen_cunneen((rate, 1.0), (service, variation), 1)
}

/// The approximate mean wait with several servers and general arrivals and
/// service times (G/G/c): Erlang's C with the mean of the squared coefficients
/// of variation (Allen, *Probability, Statistics and Queueing Theory*, 1990,
/// section 5.3.5). Exact for M/M/c and M/G/1.
///
/// Each pair holds a rate or a mean with its coefficient of variation. None
/// where the servers cannot keep up.
#[must_use]
pub fn allen_cunneen(
    (rate, arrival_variation): (Rate, f64),
    (service, service_variation): (Time, f64),
    servers: u32,
) -> Option<Time> {
    let plain = Mmc::new(rate, service, servers)?.mean_wait();
    Some(plain.scaled(f64::midpoint(
        arrival_variation.powi(2),
        service_variation.powi(2),
    )))
}

/// Inoue's bound on the mean latency of one server that takes everything that
/// waits as one batch, when a batch of b takes exactly α·b + τ₀ (Inoue,
/// *Queueing analysis of GPU-based inference servers with dynamic batching: a
/// closed-form characterization*, Performance Evaluation 147, 2021).
///
/// With x = λα, the second moment of the batch size follows from its mean m, and
/// Little's law over one batch gives the latency as a falling function of m:
///
///   α(1 + x/2) (1 + 2λxτ₀ + λ²τ₀²/m) / (1 − x²) + τ₀(1 + x) + λτ₀²/(2m)
///
/// The mean batch is at least 1 and at least λτ₀ / (1 − x), and the larger of
/// the two in place of m gives the bound; with the second it is the paper's
/// 3τ₀ / (2(1 − x)) + α(x + 2) / (2(1 − x²)).
///
/// None where the server cannot keep up (rate × α ≥ 1).
#[must_use]
pub fn inoue_bound(rate: Rate, per_item: Time, per_batch: Time) -> Option<Time> {
    let (rate, alpha, tau) = (rate.get(), per_item.get(), per_batch.get());
    let x = rate * alpha;
    if x >= 1.0 {
        return None;
    }
    let batch = (rate * tau / (1.0 - x)).max(1.0);
    let squares = (1.0 + 2.0 * rate * x * tau + (rate * tau).powi(2) / batch) / (1.0 - x * x);
    let bound =
        alpha * (1.0 + x / 2.0) * squares + tau * (1.0 + x) + rate * tau * tau / (2.0 * batch);
    Some(Time::saturating(bound))
}

/// The exact mean latency of one server that takes up to `service.len()`
/// waiting requests as one batch, where a batch of b takes exactly
/// `service[b − 1]` and arrivals are Poisson.
///
/// The queue left behind at the ends of batches is a Markov chain (Bailey 1954;
/// Neuts 1967); over one cycle of it the requests in the system are integrated,
/// and Little's law gives the latency. None where the server cannot keep up or
/// the queue is longer than 4000 on the way to rest.
#[must_use]
pub fn batch_service_mean_latency(rate: Rate, service: &[Time]) -> Option<Time> {
    const LONGEST: usize = 4000;
    let rate = rate.get();
    let largest = service.len();
    let full = service.last()?.get();
    if rate <= 0.0 || rate * full >= largest as f64 {
        return None;
    }
    // What waits at the end of a batch: `left[n]` is its probability.
    let arrivals: Vec<Vec<f64>> = service.iter().map(|t| poisson(rate * t.get())).collect();
    let mut left = vec![1.0];
    for _ in 0..200_000 {
        let mut next = vec![0.0; LONGEST];
        for (n, p) in left.iter().enumerate() {
            let taken = n.clamp(1, largest);
            let stays = n.saturating_sub(taken);
            for (k, a) in arrivals.get(taken - 1)?.iter().enumerate() {
                *next.get_mut(stays + k)? += p * a;
            }
        }
        while next.len() > 1 && next.last().is_some_and(|p| *p < 1e-15) {
            next.pop();
        }
        let change: f64 = (0..next.len().max(left.len()))
            .map(|i| {
                let at = |v: &[f64]| v.get(i).copied().unwrap_or(0.0);
                (at(&next) - at(&left)).abs()
            })
            .sum();
        left = next;
        if change < 1e-12 {
            break;
        }
    }
    let (mut inside, mut cycle) = (0.0, 0.0);
    for (n, p) in left.iter().enumerate() {
        let taken = n.clamp(1, largest);
        let time = service.get(taken - 1)?.get();
        // Those there from the start, and those that arrive evenly meanwhile.
        inside += p * (n.max(1) as f64 * time + rate * time * time / 2.0);
        cycle += p * (time + if n == 0 { 1.0 / rate } else { 0.0 });
    }
    Some(Time::saturating(inside / cycle / rate))
}

/// The probabilities of 0, 1, 2, … events when `mean` are expected, until the
/// rest is below 1e-16.
fn poisson(mean: f64) -> Vec<f64> {
    let mut log = -mean;
    let mut list = vec![log.exp()];
    let mut sum = list[0];
    let mut k = 0.0;
    while sum < 1.0 - 1e-16 && k < mean + 40.0 + 12.0 * mean.sqrt() {
        k += 1.0;
        log += (mean / k).ln();
        let p = log.exp();
        sum += p;
        list.push(p);
    }
    list
}

/// A queue with Poisson arrivals and constant service times (M/D/c), solved
/// exactly: the chain of Crommelin (1932) for the requests in the system, and
/// from it the distribution of the wait by Franx, *A simple solution for the
/// M/D/c waiting time distribution*, Operations Research Letters 29 (2001).
#[derive(Debug, Clone, PartialEq)]
pub struct Mdc {
    rate: f64,
    service: f64,
    servers: usize,
    /// The probability that at most so many requests wait.
    waiting_at_most: Vec<f64>,
    mean_wait: f64,
}

impl Mdc {
    /// None where the servers cannot keep up or the utilisation is above 0.97,
    /// where the chain takes too long to come to rest.
    #[must_use]
    pub fn new(rate: Rate, service: Time, servers: u32) -> Option<Self> {
        let c = servers as usize;
        let load = rate.get() * service.get();
        let utilisation = load / c as f64;
        if c == 0 || load <= 0.0 || utilisation > 0.97 {
            return None;
        }
        let arrivals = poisson(load);
        // The tail of the queue falls at least like that of M/M/c.
        let size = 2 * c + (40.0 / (1.0 - utilisation)) as usize;
        let mut state = vec![0.0; size];
        *state.first_mut()? = 1.0;
        // After one service time all that were in service have gone, and the
        // Poisson arrivals of that time have come.
        for _ in 0..200_000 {
            let mut next = vec![0.0; size];
            for (i, p) in state.iter().enumerate() {
                let stays = i.saturating_sub(c);
                for (place, a) in next.iter_mut().skip(stays).zip(&arrivals) {
                    *place += p * a;
                }
            }
            let total: f64 = next.iter().sum();
            let mut change = 0.0;
            for (new, old) in next.iter_mut().zip(&state) {
                *new /= total;
                change += (*new - old).abs();
            }
            state = next;
            if change < 1e-13 {
                break;
            }
        }
        let mut at_most: f64 = state.iter().take(c).sum();
        let mut waiting_at_most = Vec::with_capacity(size - c);
        let mut queue = 0.0;
        for (waiting, p) in state.iter().skip(c).enumerate() {
            at_most += p;
            queue += waiting as f64 * p;
            waiting_at_most.push(at_most);
        }
        Some(Self {
            rate: rate.get(),
            service: service.get(),
            servers: c,
            waiting_at_most,
            mean_wait: queue / rate.get(),
        })
    }

    /// The mean wait, by Little's law.
    #[must_use]
    pub fn mean_wait(&self) -> Time {
        Time::saturating(self.mean_wait)
    }

    /// The share of requests that wait at most so long.
    #[must_use]
    pub fn waits_at_most(&self, wait: Time) -> Fraction {
        let k = (wait.get() / self.service).floor() as usize + 1;
        let mean = self.rate * (k as f64 * self.service - wait.get());
        let mut share = 0.0;
        let mut log = -mean;
        for j in 0..k * self.servers {
            if j > 0 {
                log += (mean / j as f64).ln();
            }
            let waiting = k * self.servers - j - 1;
            share += self.waiting_at_most.get(waiting).unwrap_or(&1.0) * log.exp();
        }
        Fraction::saturating(share)
    }

    /// The percentile of the time from arrival to the start of service.
    #[must_use]
    pub fn waiting(&self, percentile: Percentile) -> Time {
        let beyond = |t: f64| 1.0 - self.waits_at_most(Time::saturating(t)).get();
        if beyond(0.0) <= percentile.misses() {
            return Time::ZERO;
        }
        Time::saturating(solve(&beyond, percentile.misses(), self.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(value: f64) -> Rate {
        Rate::new(value).unwrap()
    }

    fn second() -> Time {
        Time::new(1.0).unwrap()
    }

    /// Known by hand: one server waits with probability ρ; two servers at load
    /// 1 with probability 1/3; a call centre of 11 agents with 10 erlangs with
    /// probability 0.6821 (the standard Erlang-C table).
    #[test]
    fn erlang_c_equals_the_tables() {
        for (servers, load, share) in [(1, 0.6, 0.6), (2, 1.0, 1.0 / 3.0), (11, 10.0, 0.6821)] {
            let c = erlang_c(servers, load).unwrap().get();
            assert!((c - share).abs() < 1e-4, "{servers} {load}: {c}");
        }
        assert_eq!(erlang_c(2, 2.0), None);
        assert_eq!(erlang_c(2, f64::NAN), None);
        assert!(erlang_c(2000, 1990.0).is_some());
    }

    #[test]
    fn one_exponential_server_has_the_textbook_latency() {
        let queue = Mmc::new(rate(0.9), second(), 1).unwrap();
        assert!((queue.mean_wait().get() - 9.0).abs() < 1e-9);
        // Sojourn times are exponential with rate μ − λ = 0.1.
        let p95 = queue.latency(Percentile::P95).get();
        assert!((p95 - 20f64.ln() / 0.1).abs() < 1e-6, "{p95}");
        let wait = queue.waiting(Percentile::P95).get();
        assert!((wait - (0.9 / 0.05f64).ln() / 0.1).abs() < 1e-9);
        let idle = Mmc::new(rate(0.01), second(), 1).unwrap();
        assert_eq!(idle.waiting(Percentile::P95), Time::ZERO);
    }

    #[test]
    fn constant_service_halves_the_mean_wait_of_one_server() {
        for utilisation in [0.3, 0.6, 0.9] {
            let khinchine = pollaczek_khinchine(rate(utilisation), second(), 0.0).unwrap();
            let exact = Mdc::new(rate(utilisation), second(), 1)
                .unwrap()
                .mean_wait();
            let formula = utilisation / (2.0 * (1.0 - utilisation));
            assert!((khinchine.get() - formula).abs() < 1e-9);
            assert!((exact.get() - formula).abs() < 1e-6, "{exact:?}");
        }
    }

    /// Erlang's formula of 1909 for one server, stable for short waits:
    /// P(W ≤ t) = (1−ρ) Σ_{k ≤ t/D} (λ(kD−t))^k / k! · e^{−λ(kD−t)}.
    #[test]
    fn the_wait_of_one_constant_server_follows_erlang() {
        let lambda = 0.8;
        let queue = Mdc::new(rate(lambda), second(), 1).unwrap();
        for t in [0.0, 0.3, 0.99, 1.0, 1.5, 2.7, 4.2] {
            let mut sum = 0.0;
            let mut factorial = 1.0;
            for k in 0..=(t as u16) {
                if k > 0 {
                    factorial *= f64::from(k);
                }
                let x = lambda * (f64::from(k) - t);
                sum += x.powi(i32::from(k)) / factorial * (-x).exp();
            }
            let got = queue.waits_at_most(Time::new(t).unwrap()).get();
            assert!((got - (1.0 - lambda) * sum).abs() < 1e-9, "{t}: {got}");
        }
    }

    /// With many servers and light traffic nobody waits; the wait of M/D/c lies
    /// between half of and that of M/M/c.
    #[test]
    fn constant_servers_wait_between_half_and_all_of_exponential_ones() {
        for (servers, load) in [(2, 1.2), (4, 3.2), (8, 7.2)] {
            let constant = Mdc::new(rate(load), second(), servers).unwrap();
            let exponential = Mmc::new(rate(load), second(), servers).unwrap();
            let ratio = constant.mean_wait().ratio(exponential.mean_wait());
            assert!((0.5..0.7).contains(&ratio), "{servers}: {ratio}");
        }
    }

    #[test]
    fn batches_of_one_are_pollaczek_khinchine() {
        let latency = batch_service_mean_latency(rate(0.7), &[second()]).unwrap();
        let wait = pollaczek_khinchine(rate(0.7), second(), 0.0).unwrap();
        assert!((latency.get() - wait.get() - 1.0).abs() < 1e-8);
        assert_eq!(batch_service_mean_latency(rate(1.1), &[second()]), None);
    }

    /// Inoue's bound holds everywhere and is close (the paper's figures show it
    /// within some percent): against the exact solution with batches that never
    /// fill up, α = 1, τ₀ = 2.
    #[test]
    fn inoues_bound_lies_just_above_the_exact_latency() {
        let service: Vec<Time> = (1..=200)
            .map(|b| Time::new(f64::from(b) + 2.0).unwrap())
            .collect();
        for load in [0.05, 0.2, 0.4, 0.6, 0.8] {
            let exact = batch_service_mean_latency(rate(load), &service).unwrap();
            let bound = inoue_bound(rate(load), second(), Time::new(2.0).unwrap()).unwrap();
            let ratio = bound.ratio(exact);
            assert!((0.999_999..1.15).contains(&ratio), "{load}: {ratio}");
        }
    }
}
