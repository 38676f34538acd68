//! How demand goes over time: request rates by interval, from a table or a log.

use crate::error::{Error, Result};
use crate::units::{Rate, Time};
use jiff::civil::DateTime;
use std::collections::BTreeMap;

/// Access logs are counted by the minute.
const LOG_STEP_S: i64 = 60;

/// More intervals than this are more than a year of minutes.
const MOST_INTERVALS: usize = 1_000_000;

/// Request rates over equal intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The length of an interval.
    pub step: Time,
    /// The rate in each, in order; at least two.
    pub rates: Vec<Rate>,
    /// The hour of the day at which the first one begins, 0 to 24.
    pub first_hour: f64,
    /// Intervals without a value, for which the one before was taken.
    pub filled: usize,
}

impl Demand {
    /// Reads demand from a table (`time,requests` by interval, or `time,rate` with
    /// `rate`, `rps`, `qps` or `per_s` in the heading) or from the lines of an access
    /// log (common log format).
    ///
    /// # Errors
    /// Names the line that cannot be read; refuses fewer than two intervals and ones
    /// that are not in order.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = || {
            text.lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty())
        };
        let Some((_, first)) = lines().next() else {
            return Err(Error::bad_input(
                "there is no demand in the file: it is empty",
            ));
        };
        let points = if log_time(first).is_some() {
            log(lines())?
        } else {
            table(lines())?
        };
        Self::regular(points)
    }

    fn regular(points: Points) -> Result<Self> {
        let Points {
            at,
            values,
            counts,
            step,
        } = points;
        let (Some(first), Some(last)) = (at.first(), at.last()) else {
            return Err(Error::bad_input("there is no demand in the file"));
        };
        let mut gaps: Vec<i64> = at
            .windows(2)
            .filter_map(|w| Some(w.get(1)? - w.first()?))
            .collect();
        if gaps.iter().any(|gap| *gap <= 0) {
            return Err(
                Error::bad_input("the times of the demand do not go forward")
                    .hint("sort the lines by time"),
            );
        }
        gaps.sort_unstable();
        let step = step.or_else(|| gaps.get(gaps.len().saturating_sub(1) / 2).copied());
        let Some(step) = step.filter(|_| at.len() > 1) else {
            return Err(Error::bad_input(
                "one interval is no course of demand: at least two are needed",
            ));
        };
        let length = usize::try_from((last - first) / step + 1).unwrap_or(usize::MAX);
        if length > MOST_INTERVALS {
            return Err(Error::bad_input(format!(
                "the demand spans {length} intervals of {step} s: at most {MOST_INTERVALS} can be planned for"
            )));
        }
        let mut slots: Vec<Option<f64>> = vec![None; length];
        for (at, value) in at.iter().zip(&values) {
            let index = usize::try_from((at - first) / step).unwrap_or(usize::MAX);
            if let Some(slot) = slots.get_mut(index) {
                *slot = Some(slot.unwrap_or(0.0) + value);
            }
        }
        let filled = slots.iter().filter(|slot| slot.is_none()).count();
        let mut held = 0.0;
        let rates = slots
            .into_iter()
            .map(|slot| {
                // A log without a line had no request; a table without one is not known.
                held = slot.unwrap_or(if counts == Counts::Lines { 0.0 } else { held });
                Rate::saturating(if counts == Counts::Rates {
                    held
                } else {
                    held / step as f64
                })
            })
            .collect();
        Ok(Self {
            step: Time::saturating(step as f64),
            rates,
            first_hour: (first.rem_euclid(86_400)) as f64 / 3600.0,
            filled: if counts == Counts::Lines { 0 } else { filled },
        })
    }

    /// The highest rate of all intervals.
    #[must_use]
    pub fn peak(&self) -> Rate {
        self.rates.iter().copied().max().unwrap_or(Rate::ZERO)
    }

    /// The mean rate.
    #[must_use]
    pub fn mean(&self) -> Rate {
        let sum: f64 = self.rates.iter().map(|rate| rate.get()).sum();
        Rate::saturating(sum / self.rates.len().max(1) as f64)
    }

    /// The same course with another peak.
    ///
    /// # Errors
    /// There is no request in it.
    pub fn with_peak(mut self, peak: Rate) -> Result<Self> {
        let old = self.peak();
        if old.is_zero() {
            return Err(Error::bad_input("there is no request in the demand"));
        }
        let factor = peak.ratio(old);
        for rate in &mut self.rates {
            *rate = rate.scaled(factor);
        }
        Ok(self)
    }

    /// The hour of the day, 0 to 23, in which an interval begins.
    #[must_use]
    pub fn hour_of_day(&self, interval: usize) -> usize {
        let hours = self.first_hour + interval as f64 * self.step.get() / 3600.0;
        (hours.rem_euclid(24.0)) as usize % 24
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// Requests in the interval.
    Requests,
    /// Requests per second.
    Rates,
    /// One request a line.
    Lines,
}

struct Points {
    /// Seconds.
    at: Vec<i64>,
    values: Vec<f64>,
    counts: Counts,
    step: Option<i64>,
}

fn table<'t>(lines: impl Iterator<Item = (usize, &'t str)>) -> Result<Points> {
    let mut points = Points {
        at: Vec::new(),
        values: Vec::new(),
        counts: Counts::Requests,
        step: None,
    };
    for (number, line) in lines {
        let refused = |why: &str| {
            Error::bad_input(format!("line {} of the demand: {why}", number + 1))
                .hint("write `time,requests` by interval, as in `2026-11-01 10:05:00,430`")
        };
        let mut cells = line
            .split([',', ';', '\t'])
            .map(|cell| cell.trim().trim_matches('"'));
        let (Some(time), Some(value)) = (cells.next(), cells.next()) else {
            return Err(refused("a time and a number are needed"));
        };
        let (seconds, value) = (seconds(time), value.parse::<f64>().map_err(|_| value));
        match (seconds, value) {
            (Some(seconds), Ok(value)) if value.is_finite() && value >= 0.0 => {
                points.at.push(seconds);
                points.values.push(value);
            }
            (_, Ok(_)) if !points.at.is_empty() || seconds.is_some() => {
                return Err(refused("no time, or a number that is no rate"));
            }
            // Only the first line may be a heading.
            (None, Err(name)) if points.at.is_empty() => {
                let name = name.to_lowercase();
                if ["rate", "rps", "qps", "per_s"]
                    .iter()
                    .any(|word| name.contains(word))
                {
                    points.counts = Counts::Rates;
                }
            }
            _ => return Err(refused("a time and a number are needed")),
        }
    }
    Ok(points)
}

/// Seconds of a date and time (`2026-11-01 10:05:00`, with `T` or a zone as well) or
/// of a number of seconds.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        return (number.is_finite() && number.abs() < 1e12).then_some(number as i64);
    }
    let civil: DateTime = text.trim_end_matches('Z').parse().ok()?;
    Some(civil_seconds(civil))
}

fn civil_seconds(civil: DateTime) -> i64 {
    civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(0, |zoned| zoned.timestamp().as_second())
}

/// The time in `127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326`.
fn log_time(line: &str) -> Option<i64> {
    let (_, rest) = line.split_once('[')?;
    let (time, _) = rest.split_once(']')?;
    let time = time.split(' ').next()?;
    DateTime::strptime("%d/%b/%Y:%H:%M:%S", time)
        .ok()
        .map(civil_seconds)
}

fn log<'t>(lines: impl Iterator<Item = (usize, &'t str)>) -> Result<Points> {
    let mut counts = BTreeMap::<i64, f64>::new();
    for (number, line) in lines {
        let Some(at) = log_time(line) else {
            return Err(Error::bad_input(format!(
                "line {} of the log has no time in brackets",
                number + 1
            )));
        };
        *counts
            .entry(at.div_euclid(LOG_STEP_S) * LOG_STEP_S)
            .or_default() += 1.0;
    }
    Ok(Points {
        at: counts.keys().copied().collect(),
        values: counts.values().copied().collect(),
        counts: Counts::Lines,
        step: Some(LOG_STEP_S),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_counts_becomes_rates() {
        let demand = Demand::parse(
            "timestamp,value\n2014-04-10 00:04:00,94.0\n2014-04-10 00:09:00,56.0\n2014-04-10 00:19:00,30\n",
        )
        .unwrap();
        assert!((demand.step.get() - 300.0).abs() < 1e-9);
        let rates: Vec<f64> = demand.rates.iter().map(|r| r.get() * 300.0).collect();
        // The missing interval is taken as the one before.
        assert_eq!(
            rates.iter().map(|r| r.round()).collect::<Vec<_>>(),
            [94.0, 56.0, 56.0, 30.0]
        );
        assert_eq!(
            (demand.filled, demand.hour_of_day(0), demand.hour_of_day(12)),
            (1, 0, 1)
        );
        let rates = Demand::parse("t,qps\n0,5\n60,7\n").unwrap();
        assert_eq!(rates.peak(), Rate::new(7.0).unwrap());
        let scaled = rates.with_peak(Rate::new(70.0).unwrap()).unwrap();
        assert_eq!(scaled.mean(), Rate::new(60.0).unwrap());
    }

    #[test]
    fn a_log_is_counted_by_the_minute() {
        let line = |time: &str| {
            format!("127.0.0.1 - - [10/Oct/2000:13:{time} -0700] \"GET / HTTP/1.0\" 200 23\n")
        };
        let text: String = ["55:36", "55:40", "58:01"].map(line).concat();
        let demand = Demand::parse(&text).unwrap();
        let counts: Vec<f64> = demand
            .rates
            .iter()
            .map(|r| (r.get() * 60.0).round())
            .collect();
        assert_eq!(counts, [2.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_is_no_demand_is_refused_with_its_line() {
        for (text, says) in [
            ("", "it is empty"),
            ("t,n\n", "no demand in the file"),
            ("t,n\n0,5\n", "at least two"),
            ("t,n\n0,5\n60,x\n", "line 3"),
            ("t,n\n0,5\n60,-1\n", "line 3"),
            ("t,n\n60,5\n0,5\n", "do not go forward"),
            ("t\n0\n", "line 1"),
            ("0,1\n1,1\n2,1\n999999999999,1\n", "at most"),
        ] {
            let error = Demand::parse(text).unwrap_err();
            assert!(error.message().contains(says), "{text}: {error}");
        }
    }
}
