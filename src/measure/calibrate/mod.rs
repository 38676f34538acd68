//! Calibration: short, trustworthy measurements of a model on the devices of
//! this machine.

mod child;
mod measurement;
mod protocol;
pub mod sweep;
mod worker;

pub use child::Launcher;
pub use measurement::{Options, Progress, Subject, calibrate};
pub use protocol::WORKER_COMMAND;
pub use worker::serve;
