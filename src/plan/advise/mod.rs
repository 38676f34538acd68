//! From curves, prices and a question to a plan.

mod at_load;
mod batch;
mod bound;
mod choose;
mod demand;
mod fleet;
mod footprint;
mod machine;
mod option;
mod plan;
mod question;
mod reasons;
mod settle;
mod sizing;
mod stakes;
mod turning;

pub use batch::{BatchOption, BatchPlan, BatchQuestion, Throughput, batch};
pub use demand::{DemandPlan, Following, Way, demand_plan};
pub use fleet::{FleetPart, FleetType, MixedFleet, cheapest_fleet, mixed_fleet};
pub use footprint::{Fit, MemoryFit, MemoryUse};
pub use machine::{Candidate, Candidates, Evidence, Kind, Machine, from_offers, here};
pub use option::{Predicted, ServingOption, Setup, Verdict};
pub use plan::{Plan, advise};
pub use question::{Accept, Question};
pub use sizing::{Waiting, service_times};
pub use stakes::{Baseline, IDLE_GPU, Saving, Varied, WhatIf, what_if};
pub use turning::Turning;
