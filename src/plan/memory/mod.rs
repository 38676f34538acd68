//! Memory: does it fit.
pub mod architecture;
mod network;
mod optimizer;
pub mod question;
mod sharding;
mod step;
mod tape;
mod dev;
pub use dev::run as dev_run;
