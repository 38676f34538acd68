//! Doubts that belong to a result: part of the value, of the table and of the JSON.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Something the reader must know before trusting a number: what was seen, why
/// it matters, what to do.
///
/// Kept as data, not printed where it arises, so that a saved calibration still
/// carries the doubts of the moment it was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caveat {
    /// What kind of doubt it is, for programs that read the JSON.
    pub kind: CaveatKind,
    /// What was seen and why it matters, with its size; one sentence, no final full stop.
    pub message: String,
    /// What to do about it, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaveatKind {
    /// The machine was busy, throttled or robbed of time while it was measured.
    Noise,
    /// The speed changed over the run.
    Drift,
    /// Fewer samples than the statistic needs.
    FewSamples,
    /// A part of the sweep was left out or failed.
    Incomplete,
    /// A value was carried over from other hardware.
    Transferred,
    /// A value was assumed.
    Assumed,
    /// Nodes ran on another device than the one asked for.
    Fallback,
    /// A price is old or an estimate.
    Price,
    /// Memory is tight or was not checked.
    Memory,
    /// Load is so high that small errors decide.
    HighUtilisation,
    /// A limit of the container or the machine shaped the result.
    Limit,
}

impl Caveat {
    /// A doubt without advice.
    pub fn new(kind: CaveatKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}
