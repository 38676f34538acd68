//! The planning wing: pure functions from profiles and questions to answers.

pub mod memory;
