//! The planning wing: from a profile to an answer. Pure functions of their
//! arguments; no clock, no files, every random draw seeded.

pub mod queueing;
