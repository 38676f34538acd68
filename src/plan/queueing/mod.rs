//! Latency under load: a seeded discrete-event simulation of a replica, and
//! from it the SLO capacity.
//!
//! - [`ServiceTimes`]: how long a batch occupies an instance.
//! - [`Simulator`]: one replica, or several behind a balancer, under a load.
//! - [`Simulator::slo_capacity`]: the highest rate at which every objective holds.
//! - [`best_configuration`]: the batch size and window with the highest capacity.
//! - [`analytic`]: closed forms, for tests and for giving up early, never as
//!   the answer.
//!
//! The invariants that the tests cite by name:
//!
//! | name | says |
//! |---|---|
//! | INV-CONSERVATION | arrived = served + rejected + timed out + in flight, at any moment |
//! | INV-CAUSALITY | no batch starts before its requests arrived, or ends before it starts; an instance runs one batch at a time |
//! | INV-CLOCK | time never goes back |
//! | INV-WORK-CONSERVATION | without a batch window no instance is free while requests wait |
//! | INV-DETERMINISM | the same run gives the same result to the last bit |
//! | INV-MONOTONE | without batching, a higher rate or slower service lowers no waiting time (common random numbers) |
//! | INV-LITTLE | requests in the system on average = rate × mean latency |

pub mod analytic;
mod batcher;
mod capacity;
mod cluster;
mod contended;
mod hold_ups;
mod idle;
mod interference;
mod kernel;
mod outcome;
mod pass;
mod replica;
mod search;
mod service;
mod simulator;
mod sink;
mod streams;
mod triton;

pub use capacity::{CapacityLimit, SloCapacity, slo_capacity};
pub use idle::IdleSlowdown;
pub use outcome::{MeanTime, Outcome, PercentileTime, Saturation, Steady, percentiles};
pub use pass::{Pass, Passed};
pub use search::{
    Alternative, BestConfiguration, SearchSpace, best_configuration, best_configuration_above,
};
pub use service::{ServicePoint, ServiceRange, ServiceTimes};
pub use simulator::{Replicas, SimulationOptions, Simulator};
pub use sink::Quantity;
pub use streams::Streams;

#[cfg(test)]
mod capacity_tests;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod tests;
