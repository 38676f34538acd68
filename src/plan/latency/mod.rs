//! From calibrations to latency curves: those of the measured machine, and
//! those carried over to machines that nobody here has.

pub mod curve;
pub mod transfer;

pub use curve::{BatchPoint, End, LatencyCurve};
