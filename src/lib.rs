//! `advisor` answers one question with evidence: what hardware should this
//! model run on, and what will it cost?
//!
//! Two wings meet at the profile: the measuring wing ([`measure`]) makes
//! profiles of machines and models, the planning wing ([`plan`]) reads them and
//! is pure. [`cli`] joins the two. `ARCHITECTURE.md` has the map.

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
pub mod cli;
pub mod error;
pub mod estimate;
pub mod measure;
pub mod model;
pub mod plan;
pub mod profile;
pub mod render;
pub mod stats;
pub mod units;
pub mod verify;
pub mod workload;
