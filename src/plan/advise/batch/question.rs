//! What an offline job asks for.

use crate::{
    plan::pricing::Term,
    units::{Count, Time, Usd},
};
use serde::Serialize;

/// A number of items to run through the model by a deadline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchQuestion {
    /// Items of the job.
    pub items: Count,
    /// From the start of the machines to the last result.
    #[serde(rename = "deadline_s")]
    pub deadline: Time,
    /// The most that the job may cost; none means any price.
    #[serde(rename = "budget_usd")]
    pub budget: Option<Usd>,
    /// How machines are paid for.
    pub term: Term,
    /// From asking for a machine to the start of the program on it: an assumption.
    #[serde(rename = "start_up_s")]
    pub start_up: Time,
    /// Work between two checkpoints, which is what a taken back machine can lose.
    #[serde(rename = "checkpoint_s")]
    pub checkpoint: Time,
    /// The most machines that can be had at once.
    pub most_machines: u32,
    /// How many options to show.
    #[serde(skip)]
    pub top: usize,
}
