//! What a plan is asked for.

use crate::{
    plan::pricing::Term,
    units::{Rate, UsdPerHour},
    workload::{Balancer, Slos},
};
use serde::Serialize;

/// A request rate to serve within latency objectives and a budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// Requests to serve.
    #[serde(rename = "rate_per_s")]
    pub rate: Rate,
    /// Latency objectives, all of which must hold.
    pub slos: Slos,
    /// The most that serving may cost; none means any price.
    #[serde(rename = "budget_usd_per_hour")]
    pub budget: Option<UsdPerHour>,
    /// How machines are paid for.
    pub term: Term,
    /// How requests are spread over replicas.
    pub balancer: Balancer,
    /// How many options to show.
    #[serde(skip)]
    pub top: usize,
    /// Which verdicts may be recommended.
    pub accept: Accept,
}

/// Which verdicts may be recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// An option that meets the objectives; where none does, one that may.
    Unproven,
    /// Only an option that meets them at the pessimistic end of its interval.
    Meets,
}
