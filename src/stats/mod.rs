//! Arithmetic on samples: quantiles, intervals, drift, regression. Nothing here
//! knows what was measured.

mod bootstrap;
mod condense;
mod interval;
mod proof;
mod regression;
mod repeat;
mod sample;
mod trend;

pub use bootstrap::bootstrap_over_rounds;
pub use condense::condensed;
pub use interval::{Interval, batch_means, interval_of_mean, quantile_interval, student_t};
pub use proof::{misses_allowed, requests_needed};
pub use regression::{Line, least_squares, theil_sen};
pub use repeat::{interval_of_next_mean, long_run_variance};
pub(crate) use sample::rank_of;
pub use sample::{Sample, SampleError};
pub use trend::{Trend, autocorrelation_lag1, mann_kendall};
