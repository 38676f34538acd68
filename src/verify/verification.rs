//! Predicted and measured side by side, with the judgement.

use super::{forecast::Forecast, observed::Observed, schedule::Schedule};
use crate::{
    caveat::{Caveat, CaveatKind},
    measure::probe::load::Disturbance,
    profile::calibration::{Fingerprint, SessionLayout},
    stats::misses_allowed,
    units::{Fraction, Rate, Time},
    workload::{Percentile, ServingConfiguration, Slo},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Answers per second may fall this far short of the arrivals before a server
/// counts as overloaded: the last requests are still under way when the load ends.
const SHORTFALL: f64 = 0.97;

/// Confidence with which an objective is called held.
const CONFIDENCE: f64 = 0.99;

/// Starts later than this share of the median latency blur what is measured.
const LATE: f64 = 0.05;

/// What was driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// A replica of ours, without HTTP.
    InProcess,
    /// A replica of ours behind HTTP on this machine.
    OwnServer,
    /// A running server.
    Url {
        /// Where.
        url: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("in process"),
            Self::OwnServer => f.write_str("in process, over HTTP"),
            Self::Url { url } => f.write_str(url),
        }
    }
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// When, in RFC 3339, UTC.
    pub taken_at: String,
    /// The model's name.
    pub model: String,
    /// What was driven.
    pub target: Target,
    /// Of the calibration that the prediction rests on; none without one.
    pub fingerprint: Option<Fingerprint>,
    /// Instances, threads and batching.
    pub configuration: ServingConfiguration,
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Whether each instance was kept to cores of its own.
    pub own_cores: bool,
    /// The load asked for.
    #[serde(rename = "rate_per_s")]
    pub rate: Rate,
    /// What the simulator says of any run at that rate.
    pub predicted: Option<Forecast>,
    /// What it says of these very arrivals.
    pub replayed: Option<Forecast>,
    /// The same with the service times recorded in this run: what is left is the
    /// error of the queueing model.
    pub from_recorded: Option<Forecast>,
    /// By what all service times would have to be multiplied to explain the p95.
    pub service_factor: Option<f64>,
    /// What came.
    pub measured: Observed,
    /// What HTTP adds to a request, where it was measured.
    #[serde(
        rename = "http_overhead_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub http_overhead: Option<Time>,
    /// How long a batch that is due waits until it begins, where inferences are so
    /// short that it counts; the predictions have it.
    #[serde(
        rename = "dispatch_delay_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub dispatch_delay: Option<Time>,
    /// The objectives and how many requests missed them.
    pub objectives: Vec<ObjectiveCount>,
    /// Whether the prediction held.
    pub judgement: Judgement,
    /// What disturbed the machine meanwhile.
    pub disturbance: Disturbance,
    /// Doubts.
    pub caveats: Vec<Caveat>,
}

/// An objective under a real load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveCount {
    /// The objective.
    pub objective: Slo,
    /// Requests that took longer, or got no answer.
    pub late: u64,
    /// Of how many.
    pub counted: u64,
    /// What that proves.
    pub verdict: Held,
}

/// Whether a load held an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Held {
    /// With 99 % confidence (the binomial rule of `MLPerf` `LoadGen`).
    Held,
    /// In this run, but with too few requests to prove it.
    Unproven,
    /// Too many requests were late.
    Missed,
}

/// Whether the prediction held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Judgement {
    /// The measured p95 lies in the predicted interval, or the predicted
    /// overload came.
    Holds,
    /// It does not.
    Off,
    /// There was no prediction, or too little came to judge it.
    Unjudged,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "HELD",
            Self::Unproven => "UNPROVEN",
            Self::Missed => "MISSED",
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "HOLDS",
            Self::Off => "OFF",
            Self::Unjudged => "UNJUDGED",
        })
    }
}

/// Judges a prediction by the p95: of the very arrivals where they were
/// replayed, else of the long run, for which the interval of what was measured
/// counts as well.
#[must_use]
pub fn judge(
    predicted: Option<&Forecast>,
    replayed: Option<&Forecast>,
    measured: &Observed,
) -> Judgement {
    let Some(forecast) = replayed.or(predicted) else {
        return Judgement::Unjudged;
    };
    if forecast.saturated_at.is_some() {
        let overloaded = measured.throughput.ratio(measured.offered) < SHORTFALL;
        return if overloaded {
            Judgement::Holds
        } else {
            Judgement::Off
        };
    }
    let Some(span) = forecast.percentile(Percentile::P95) else {
        return Judgement::Unjudged;
    };
    let (Some(latency), Some(outcome)) = (&span.latency, measured.percentile(Percentile::P95))
    else {
        return Judgement::Unjudged;
    };
    let Some(value) = outcome.value else {
        return Judgement::Off;
    };
    let (low, high) = if replayed.is_some() {
        (value, value)
    } else {
        (outcome.low.unwrap_or(value), outcome.high.unwrap_or(value))
    };
    let inside = high >= latency.low && (low <= latency.high || span.open_ended);
    if inside {
        Judgement::Holds
    } else {
        Judgement::Off
    }
}

impl ObjectiveCount {
    /// Counts the late among the requests that count.
    #[must_use]
    pub fn of(objective: Slo, latencies: &[Option<Time>]) -> Self {
        let warm_up = super::observed::warm_up(latencies.len());
        let counted = latencies.iter().skip(warm_up);
        let late = counted
            .clone()
            .filter(|latency| latency.is_none_or(|l| l > objective.latency))
            .count() as u64;
        let counted = counted.count() as u64;
        let percentile = Fraction::from(objective.percentile);
        let allowed = misses_allowed(percentile, counted, Fraction::saturating(CONFIDENCE));
        let share = late as f64 / counted.max(1) as f64;
        let verdict = if share > objective.percentile.misses() {
            Held::Missed
        } else if allowed.is_some_and(|allowed| late <= allowed) {
            Held::Held
        } else {
            Held::Unproven
        };
        Self {
            objective,
            late,
            counted,
            verdict,
        }
    }
}

impl Verification {
    /// Doubts that follow from what was measured.
    pub fn doubt(&mut self, schedule: &Schedule) {
        let measured = &self.measured;
        let median = measured
            .percentile(Percentile::P50)
            .and_then(|p| p.value)
            .unwrap_or_default();
        if !median.is_zero() && measured.lateness.p99 > median.scaled(LATE) {
            self.caveats.push(Caveat::new(
                CaveatKind::Noise,
                format!(
                    "one start in a hundred came {} or more after it was due, at a median latency of {median}: the machine was slow to wake up or busy with something else",
                    measured.lateness.p99
                ),
            ));
        }
        if measured.counted < 200 {
            self.caveats.push(
                Caveat::new(
                    CaveatKind::FewSamples,
                    format!(
                        "{} requests say little of a p95 and nothing of a p99",
                        measured.counted
                    ),
                )
                .hint("give more time with `--time`"),
            );
        }
        let sent = schedule.arrivals().len() as u64;
        if measured.requests < sent {
            self.caveats.push(Caveat::new(
                CaveatKind::Incomplete,
                format!(
                    "it was interrupted after {} of {sent} requests",
                    measured.requests
                ),
            ));
        }
        if measured.throughput.ratio(measured.offered) < SHORTFALL && measured.failed == 0 {
            self.caveats.push(Caveat::new(
                CaveatKind::HighUtilisation,
                format!(
                    "{} arrived and {} were answered: the queue grew, so the latencies depend on how long the run was",
                    measured.offered, measured.throughput
                ),
            ));
        }
        self.caveats.extend(self.disturbance.caveats());
    }

    /// Measured over predicted, for a percentile: of the very arrivals where
    /// they were replayed.
    #[must_use]
    pub fn ratio(&self, percentile: Percentile) -> Option<f64> {
        let forecast = self.replayed.as_ref().or(self.predicted.as_ref())?;
        let predicted = forecast.percentile(percentile)?.latency.as_ref()?.value;
        let measured = self.measured.percentile(percentile)?.value?;
        Some(measured.ratio(predicted))
    }

    /// Whether everything asked for came: no objective missed, the prediction
    /// not off, and an answer to nearly every request.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let answered = self.measured.failed * 100 <= self.measured.counted;
        let held = self.objectives.iter().all(|o| o.verdict != Held::Missed);
        answered && held && self.judgement != Judgement::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_held_only_with_enough_requests() {
        let slo = Slo {
            percentile: Percentile::P95,
            latency: Time::from_millis(10.0),
        };
        let of = |n: usize, late: usize| {
            let latencies: Vec<Option<Time>> = (0..n)
                .map(|i| Some(Time::from_millis(if i >= n - late { 20.0 } else { 5.0 })))
                .collect();
            ObjectiveCount::of(slo, &latencies)
        };
        // 90 requests without a miss prove a p95 (99 % confidence), 130 with one.
        assert_eq!(of(95, 0).verdict, Held::Held);
        assert_eq!(of(80, 0).verdict, Held::Unproven);
        assert_eq!(of(100, 1).verdict, Held::Unproven);
        assert_eq!(of(140, 1).verdict, Held::Held);
        assert_eq!(of(100, 20).verdict, Held::Missed);
        assert_eq!((of(100, 20).late, of(100, 20).counted), (20, 95));
        let none = vec![None; 100];
        assert_eq!(ObjectiveCount::of(slo, &none).late, 95);
    }
}
