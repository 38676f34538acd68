//! What both wings share: what a machine is, what hardware can do, and what was
//! measured.

pub mod hardware;
pub mod machine;
pub mod microarchitecture;
