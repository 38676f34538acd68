//! The cheapest machines for an offline job: throughput instead of latency, billing
//! by the started second or hour, spot machines with what being taken back costs.

mod interruption;
mod option;
mod plan;
mod question;

#[cfg(test)]
mod tests;

pub use option::BatchOption;
pub use plan::{BatchPlan, Throughput, batch};
pub use question::BatchQuestion;
