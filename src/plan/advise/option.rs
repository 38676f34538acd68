//! One way to serve: what is run where, how fast, at what cost, how sure.

use super::{footprint::MemoryFit, machine::Machine};
use crate::{
    estimate::{Estimate, Source},
    profile::calibration::SessionLayout,
    units::{Fraction, Rate, Time, UsdPerHour, UsdPerMillion},
    workload::Percentile,
};
use serde::Serialize;
use std::fmt;

/// How sure it is that an option holds what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Even the pessimistic end of the interval holds every objective.
    Meets,
    /// The estimate holds them, the pessimistic end does not.
    Unproven,
    /// The estimate itself does not hold them, or the cost is above the budget.
    Misses,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meets => "MEETS",
            Self::Unproven => "UNPROVEN",
            Self::Misses => "MISSES",
        })
    }
}

/// How one replica is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Instances, threads, spinning.
    #[serde(flatten)]
    pub layout: SessionLayout,
    /// The largest batch that is formed.
    pub max_batch: u32,
    /// How long a request may be held back to fill a batch.
    #[serde(rename = "batch_window_s")]
    pub batch_window: Time,
}

/// A predicted percentile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Predicted {
    /// Which.
    pub percentile: Percentile,
    /// The objective for it, where there is one.
    #[serde(rename = "objective_s", skip_serializing_if = "Option::is_none")]
    pub objective: Option<Time>,
    /// The latency; the upper end is none where the pessimistic end cannot
    /// carry the load at all.
    #[serde(rename = "latency_s")]
    pub latency: Option<Estimate<Time>>,
    /// Whether the pessimistic end is overload, so that the interval has no upper end.
    pub open_ended: bool,
}

/// A way to serve the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServingOption {
    /// The machine.
    pub machine: Machine,
    /// How many of them.
    pub replicas: u64,
    /// How each is set up.
    pub setup: Setup,
    /// The rate that one replica holds within the objectives: estimate and ends.
    #[serde(rename = "capacity_per_s")]
    pub capacity: Estimate<Rate>,
    /// The load of one replica.
    #[serde(rename = "offered_load_per_s")]
    pub offered_load: Rate,
    /// Share of time that the instances are busy.
    pub utilisation: Fraction,
    /// Mean items per batch.
    pub mean_batch: f64,
    /// Latencies at that load.
    pub predicted: Vec<Predicted>,
    /// All replicas.
    #[serde(rename = "cost_usd_per_hour")]
    pub cost: Option<UsdPerHour>,
    /// At the rate asked for.
    #[serde(rename = "cost_usd_per_million")]
    pub cost_per_million: Option<UsdPerMillion>,
    /// Whether it fits into memory.
    pub memory: MemoryFit,
    /// Where the service times come from.
    pub source: Source,
    /// The judgement.
    pub verdict: Verdict,
    /// What the judgement rests on, and what would settle or change it.
    pub why: String,
}
