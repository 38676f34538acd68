//! `advisor` answers one question with evidence: what hardware should this
//! model run on, and what will it cost?

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod caveat;
pub mod error;
pub mod estimate;
pub mod plan;
pub mod profile;
pub mod units;
