//! What can be typed about prices.

use super::args::{Kind, TermArg};
use crate::{
    error::Error,
    plan::pricing::Discount,
    units::{Rate, Time},
};
use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use std::path::PathBuf;

/// Which prices to plan with.
#[derive(Debug, Clone, Default, Args)]
pub struct PriceArgs {
    /// What you pay less than the list price: `aws=18%`, `aws/spot=5%`,
    /// `aws/c7i.2xlarge=10%`; may be repeated, the closest one counts alone.
    #[arg(long = "discount", value_name = "WHOSE=SHARE", value_parser = parse_discount)]
    pub discounts: Vec<Discount>,
    /// Use an older price book: a day (the newest book that `advisor prices save`
    /// kept up to then), or a folder or file with price files.
    #[arg(long, value_name = "DAY|PATH")]
    pub prices_as_of: Option<String>,
}

/// Which machines come into question, and at which prices.
#[derive(Debug, Clone, Args)]
pub struct OfferArgs {
    /// Only these regions; may be repeated.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    /// Only these providers; may be repeated.
    #[arg(long = "provider", value_name = "PROVIDER")]
    pub providers: Vec<String>,
    /// How the machines are paid for.
    #[arg(long, value_enum, default_value_t = TermArg::OnDemand)]
    pub term: TermArg,
    /// Only machines with a GPU, or without one.
    #[arg(long, value_enum)]
    pub only: Option<Kind>,
    /// Which prices.
    #[command(flatten)]
    pub prices: PriceArgs,
}

/// `advisor prices`.
#[derive(Debug, Clone, Subcommand)]
pub enum PricesCommand {
    /// List offers, cheapest first.
    List(ListArgs),
    /// Show all that is known of a machine type.
    Show(ShowArgs),
    /// Look for doubtful prices in the book, or read price files to see that they can be used.
    Check(CheckArgs),
    /// Show what changed between two price books, and whether a plan would turn.
    Diff(Box<DiffArgs>),
    /// Make a price file from a list that others publish.
    Import(ImportArgs),
    /// Keep the present price book, for `--prices-as-of` and `diff`.
    Save,
}

/// `advisor prices list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which offers.
    #[command(flatten)]
    pub offers: OfferArgs,
    /// Offers to show; JSON has all.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub top: usize,
}

/// `advisor prices show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The machine type, as its provider names it.
    #[arg(value_name = "TYPE")]
    pub instance_type: String,
    /// Only this provider.
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Which prices.
    #[command(flatten)]
    pub prices: PriceArgs,
}

/// `advisor prices check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Check these files over the shipped book, instead of your own.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `advisor prices diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The old book: `shipped`, `current`, a day of a saved one, a folder or a file.
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The new book, in the same way.
    #[arg(value_name = "NEW", default_value = "current")]
    pub new: String,
    /// Changes to show; JSON has all.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub top: usize,
    /// Compare the plans from this calibration; may be repeated (one per device).
    #[arg(long = "calibration", value_name = "FILE", requires = "qps")]
    pub calibrations: Vec<PathBuf>,
    /// Requests per second to plan for.
    #[arg(long, value_name = "RATE", requires = "calibrations")]
    pub qps: Option<Rate>,
    /// 95th percentile latency objective of that plan.
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    pub p95: Time,
    /// How the machines of that plan are paid for.
    #[arg(long, value_enum, default_value_t = TermArg::OnDemand)]
    pub term: TermArg,
}

/// `advisor prices import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The list: `vms.csv` of the `SkyPilot` catalogue, a CSV file of gpuhunt, or
    /// `index.json` of the AWS price list.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the list is; found out from how it begins.
    #[arg(long, value_enum)]
    pub from: Option<FromArg>,
    /// Whose prices they are [default: from the path, as in `catalogs/v8/aws/vms.csv`].
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// The day on which the prices held [default: what the list states, else the
    /// day on which the file was last changed].
    #[arg(long, value_name = "DAY")]
    pub as_of: Option<Date>,
    /// Take only these regions; may be repeated.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    /// Put all shipped prices of this provider aside.
    #[arg(long)]
    pub replace: bool,
    /// Write the price file here, not into your pricing folder; `-` prints it.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Formats of price lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FromArg {
    /// `SkyPilot` catalogue (CSV).
    Skypilot,
    /// gpuhunt catalogue (CSV).
    Gpuhunt,
    /// AWS price list of EC2 (JSON).
    Aws,
}

fn parse_discount(text: &str) -> Result<Discount, String> {
    text.parse().map_err(|error: Error| match error.advice() {
        Some(advice) => format!("{}; {advice}", error.message()),
        None => error.message().to_owned(),
    })
}
