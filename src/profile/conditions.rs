//! What surrounds a measurement: how steady the machine was, what waiting does,
//! what the measuring itself adds, how much repetitions differ.

use super::calibration::SessionLayout;
use crate::units::{Fraction, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The verdict on a measurement itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steadiness {
    /// Nothing was seen to disturb it.
    Steady,
    /// The speed went up or down over the run.
    Drifting,
    /// Steal, throttling, heat, other programs, or rounds that differ widely.
    Disturbed,
}

impl fmt::Display for Steadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Drifting => "drifting",
            Self::Disturbed => "disturbed",
        })
    }
}

/// How much slower an inference of one item is on an instance that waited before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdleGap {
    /// The layout, of one instance.
    pub layout: SessionLayout,
    /// The gap: the mean of what was slept.
    #[serde(rename = "gap_s")]
    pub gap: Time,
    /// Mean service time after the gap over that back to back, both of the same
    /// visits; the median over the visits.
    pub slowdown: f64,
    /// Visits that it rests on.
    pub visits: u32,
    /// Inferences after this gap, in all visits.
    pub inferences: u32,
}

/// What is in a service time besides the model's arithmetic, and what the
/// measuring itself cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overheads {
    /// What the measuring loop adds to each service time (two readings of the
    /// clock, the list of inputs), measured without an inference. Not subtracted.
    #[serde(rename = "harness_s", default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<Time>,
    /// Mean time of a session that only hands one number through, on the same
    /// device: what starting any inference costs. In every service time.
    #[serde(
        rename = "empty_session_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub empty_session: Option<Time>,
    /// Share of the processor time of the program and its children that was
    /// spent outside inference, from the first round to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_inference: Option<Fraction>,
    /// Copies between host and device, by batch size; empty for a CPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<Copies>,
}

/// What moving a batch between host and device costs: each the difference
/// between two runs, in one of which that end stays on the device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// Items per inference.
    pub batch_size: u32,
    /// Inputs, host to device.
    #[serde(rename = "to_device_s")]
    pub to_device: Time,
    /// Outputs, device to host.
    #[serde(rename = "from_device_s")]
    pub from_device: Time,
    /// The run with inputs and outputs on the device.
    #[serde(rename = "compute_s")]
    pub compute: Time,
}

/// How much the mean of a service time differs from one calibration to the
/// next beyond what the rounds of each explain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BetweenRuns {
    /// Its standard deviation, relative to the mean.
    pub relative_deviation: Fraction,
    /// Earlier calibrations that it rests on; with none it is assumed.
    pub runs: u32,
}
