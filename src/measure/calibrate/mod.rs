//! Calibration: short, trustworthy measurements of a model on the devices of
//! this machine.

mod accounts;
mod child;
mod empty;
pub mod gaps;
mod guard;
mod inputs;
mod journal;
mod measurement;
mod point;
mod processor;
mod protocol;
mod rounds;
mod saturating;
mod starting;
pub mod sweep;
mod verdict;
mod visit;
mod watch;
mod worker;

pub use child::{Launcher, MeasuringChild};
pub use guard::Limits;
pub use measurement::{Options, Progress, Subject, calibrate};
pub use protocol::{Answer, LoadRequest, Request, Timed, WORKER_COMMAND};
pub use worker::serve;
