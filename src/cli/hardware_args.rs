//! What can be typed about the speed of hardware.

use super::args::Kind;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `advisor hardware`.
#[derive(Debug, Clone, Subcommand)]
pub enum HardwareCommand {
    /// List CPU families and GPUs.
    List {
        /// Only this kind.
        #[arg(long, value_enum)]
        only: Option<Kind>,
    },
    /// Show all that is known of one.
    Show {
        /// Its name in price tables (`L4`, `aws/c7i`), or the one that NVML gives.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `advisor fit-hardware`.
#[derive(Debug, Clone, Args)]
pub struct FitHardwareArgs {
    /// The folder of published measurements.
    #[arg(long, value_name = "DIR", default_value = "tests/data/bench")]
    pub data: PathBuf,
    /// Where the fit is written; `fitted/speed.toml` in the configuration folder is
    /// used in place of the shipped one.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "profiles/fitted/speed.toml"
    )]
    pub output: PathBuf,
    /// Write nothing; hold models and devices out, and show how wrong each predictor
    /// is, beside datasheet ratios, and what that costs.
    #[arg(long, conflicts_with = "output")]
    pub evaluate: bool,
}
