//! Times at which a whole server stood still.
//!
//! A pause is a matter of the clock and not of a batch: with pauses cut out of
//! time ("working time") a server runs as if there were none, whatever batches
//! it makes of the requests that came meanwhile.

use super::schedule::Schedule;
use crate::units::Time;

/// Pauses of a server, one after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pauses(Vec<Pause>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Pause {
    start: f64,
    end: f64,
    /// Its moment in working time.
    working: f64,
}

impl Pauses {
    /// Pauses by start and length in seconds, in any order; those that overlap
    /// become one.
    #[must_use]
    pub(super) fn new(mut pauses: Vec<(f64, f64)>) -> Self {
        pauses.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut kept: Vec<Pause> = Vec::with_capacity(pauses.len());
        let mut paused = 0.0;
        for (start, length) in pauses {
            let end = start + length;
            match kept.last_mut() {
                Some(last) if start <= last.end => {
                    paused += (end - last.end).max(0.0);
                    last.end = last.end.max(end);
                }
                _ => {
                    kept.push(Pause {
                        start,
                        end,
                        working: start - paused,
                    });
                    paused += length;
                }
            }
        }
        Self(kept)
    }

    /// The same requests in working time: those that come in a pause come at its
    /// moment.
    #[must_use]
    pub fn without(&self, schedule: &Schedule) -> Schedule {
        let working = |time: &Time| Time::saturating(self.working(time.get()));
        Schedule::at(schedule.arrivals().iter().map(working).collect())
    }

    /// A moment of working time on the clock.
    #[must_use]
    pub fn real(&self, working: Time) -> Time {
        let working = working.get();
        let before = self.0.partition_point(|pause| pause.working < working);
        Time::saturating(match before.checked_sub(1).and_then(|i| self.0.get(i)) {
            Some(pause) => pause.end + (working - pause.working),
            None => working,
        })
    }

    fn working(&self, time: f64) -> f64 {
        let before = self.0.partition_point(|pause| pause.start <= time);
        match before.checked_sub(1).and_then(|i| self.0.get(i)) {
            Some(pause) => pause.working + (time - pause.end).max(0.0),
            None => time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Time {
        Time::saturating(seconds)
    }

    #[test]
    fn working_time_stands_still_in_a_pause_and_comes_back() {
        let pauses = Pauses::new(vec![(5.0, 1.0), (1.0, 2.0), (2.0, 1.5)]);
        // One from 1 to 3.5, one from 5 to 6.
        for (time, working) in [(0.5, 0.5), (1.0, 1.0), (3.0, 1.0), (4.5, 2.0), (7.0, 3.5)] {
            assert!((pauses.working(time) - working).abs() < 1e-12, "{time}");
        }
        for (working, time) in [(0.5, 0.5), (1.5, 4.0), (2.5, 5.0), (3.5, 7.0)] {
            assert!((pauses.real(s(working)).get() - time).abs() < 1e-12);
        }
        assert_eq!(Pauses::default().real(s(2.0)), s(2.0));
        let arrivals = vec![s(0.5), s(2.0), s(3.0), s(4.5)];
        let working = pauses.without(&Schedule::at(arrivals));
        assert_eq!(working.arrivals(), [s(0.5), s(1.0), s(1.0), s(2.0)]);
    }
}
