//! What both wings share: what a machine is, what hardware can do, and what was
//! measured.

pub mod calibration;
pub mod check;
pub mod comparison;
mod conditions;
mod fingerprint;
pub mod hardware;
pub mod hardware_book;
pub mod history;
pub mod hold_ups;
pub mod import;
pub mod interference;
pub mod machine;
pub mod microarchitecture;
pub mod settings;
pub mod shelf;
pub mod store;
pub mod toml_text;
