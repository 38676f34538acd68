//! The planning wing: pure functions from profiles and prices to a plan. No clock,
//! no files, no devices.

pub mod pricing;
//! The planning wing: from a profile to an answer. Pure functions of their
//! arguments; no clock, no files, every random draw seeded.

pub mod queueing;
