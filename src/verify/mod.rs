//! Predicted against measured: a serving configuration is put under a real
//! load, and what came is laid beside what was predicted.
//!
//! - [`Schedule`]: the arrivals, laid down before the run.
//! - [`forecast`], [`replay`]: what the simulator says, for any run at that rate
//!   and for these very arrivals.
//! - [`Observed`]: what came.
//! - [`recorded_service_times`]: the service times of the run itself, which tell
//!   the error of the queueing model from that of the calibration.
//! - [`Verification`]: all of it, with the judgement.
//! - [`Ledger`]: every verification, kept.

mod dispatch;
mod forecast;
mod ledger;
mod observed;
mod pauses;
mod recorded;
mod replay;
mod schedule;
mod starts;
mod verification;

pub use dispatch::{dispatch_delay, dispatch_load};
pub use forecast::{Forecast, Span, forecast, service_range};
pub use ledger::{Compared, Entry, LEAST_ENTRIES, Ledger, Spread};
pub use observed::{Lateness, Observed, Outcome};
pub use pauses::Pauses;
pub use recorded::{Recorded, recorded_service_times};
pub use replay::{Stretch, explaining_factor, replay, replay_recorded, replay_stretches};
pub use schedule::Schedule;
pub use verification::{Held, Judgement, ObjectiveCount, Target, Verification, judge};
