//! The planning wing: pure functions from profiles and prices to a plan. No clock,
//! no files, no devices.

pub mod pricing;
