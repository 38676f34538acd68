//! The planning wing: pure functions from profiles and prices to a plan. No clock,
//! no files, no devices, seeded randomness: the same inputs give the same plan,
//! byte for byte.

pub mod advise;
pub mod energy;
pub mod latency;
pub mod memory;
pub mod pricing;
pub mod queueing;
pub mod transfer;
