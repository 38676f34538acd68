//! What can be typed. Nothing here looks at the machine or at a file, so that
//! `--help` works in a broken environment.

use crate::{
    model::reference::Precision,
    units::{Bytes, Count, Fraction, GridIntensity, Rate, Time, UnitError, Usd, UsdPerHour},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, str::FromStr};

/// What hardware should this model run on, and what will it cost?
///
/// advisor runs short inferences on this machine, simulates the load you expect
/// and joins the result with price tables. Every number says where it came from.
#[derive(Debug, Parser)]
#[command(
    name = "advisor",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How to print the result.
    #[arg(long, value_enum, global = true, default_value_t = Format::Table, help_heading = "Global options")]
    pub format: Format,
    /// Where calibrations, reference models and the runtime are kept
    /// [default: the user's data folder].
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ADVISOR_DATA_DIR",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub data_dir: Option<PathBuf>,
    /// Print no progress.
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
}

/// How to print the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Table,
    /// For design reviews.
    Markdown,
    /// For programs; `schema/` in the repository describes it.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Recommend machines, replicas and batching for a request rate and a latency objective.
    Plan(Box<PlanArgs>),
    /// Find the cheapest machines for an offline job with a deadline.
    Batch(Box<BatchArgs>),
    /// Look at prices, check them, compare price books, bring in newer ones.
    #[command(subcommand)]
    Prices(super::price_args::PricesCommand),
    /// Measure a model on this machine.
    Calibrate(CalibrateArgs),
    /// Put a configuration under a real load: predicted against measured.
    Verify(Box<super::verify_args::VerifyArgs>),
    /// Does it fit: memory of inference, fine-tuning or training, made of what, on which card.
    Memory(Box<super::memory_args::MemoryArgs>),
    /// Compare devices, thread counts or number formats on single and batched input.
    Compare(CompareArgs),
    /// Show this machine: processor, limits of the container, memory, GPUs.
    Probe,
    /// Show which ONNX Runtime is used, or fetch one.
    Runtime(RuntimeArgs),
    /// List the reference models, or write them as ONNX files.
    Models(ModelsArgs),
    /// Show what is known of processors and GPUs, and who says so.
    #[command(subcommand)]
    Hardware(super::hardware_args::HardwareCommand),
    /// Bring in calibrations of other machines, or give this machine's to others.
    #[command(subcommand)]
    Profiles(super::profile_args::ProfilesCommand),
    /// Learn the speed of hardware anew from published measurements, or show how wrong it is.
    FitHardware(super::hardware_args::FitHardwareArgs),
    /// Measuring and inspecting in a process of its own; used by the other commands.
    #[command(hide = true, subcommand)]
    Worker(WorkerCommand),
}

/// Which model.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// A reference model (see `advisor models`) or the path of an ONNX file.
    #[arg(long, short, value_name = "NAME|FILE", default_value = "bert-base")]
    pub model: String,
    /// Size of a free dimension other than the batch, as the model names it; may be repeated.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dimension)]
    pub dims: Vec<(String, u64)>,
}

/// What and how long to measure.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// Time for the measurement itself; loading and warming up come on top.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::<Time>)]
    pub time: Time,
    /// Stop earlier when every mean is known this well (half-width of the 95 % interval).
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = parse::<Fraction>)]
    pub precision: Fraction,
    /// The largest batch size.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch: u32,
    /// Leave out batches that take longer than this.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::<Time>)]
    pub longest_inference: Time,
    /// The most memory that the measured sessions may take together
    /// [default: nine tenths of what is free].
    #[arg(long, value_name = "SIZE", value_parser = parse::<Bytes>)]
    pub memory_limit: Option<Bytes>,
    /// Start anew instead of going on from an interrupted calibration.
    #[arg(long)]
    pub fresh: bool,
}

/// `advisor calibrate`.
#[derive(Debug, Clone, Args)]
pub struct CalibrateArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// How much to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Measure only on this kind of device.
    #[arg(long, value_enum)]
    pub only: Option<Kind>,
    /// Number formats of the model, as in `fp32,int8`: a reference model is written
    /// in each, a file is converted by your Python's `onnxruntime.quantization`.
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',', value_parser = parse_format)]
    pub variants: Vec<Precision>,
    /// Also write the calibration to this file (one device) or folder.
    #[arg(long, value_name = "PATH")]
    pub save: Option<PathBuf>,
    /// What this machine is sold as, `aws/c7i.2xlarge`: kept in the saved file, so that
    /// `advisor profiles import` elsewhere knows which offers it is of.
    /// With `--on`: those to measure on, may be repeated.
    #[arg(long, value_name = "PROVIDER/TYPE,…", value_delimiter = ',', value_parser = parse_machine_type)]
    pub machine_type: Vec<String>,
    /// Measure nothing here: write the jobs that measure on each machine type, into
    /// the folder given by `--save`.
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub on: Option<Engine>,
    /// The build of this program that the machines get [default: this one].
    #[arg(long, value_name = "FILE", requires = "on")]
    pub program: Option<PathBuf>,
    /// The image that holds this program (with `--on kubernetes`).
    #[arg(long, value_name = "IMAGE", requires = "on")]
    pub image: Option<String>,
}

/// What runs jobs on other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// `SkyPilot` tasks.
    Skypilot,
    /// Kubernetes Jobs.
    Kubernetes,
}

/// `advisor compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Kinds of device to compare [default: the CPU and every GPU].
    #[arg(
        long,
        value_enum,
        value_name = "KIND,…",
        value_delimiter = ',',
        conflicts_with = "threads"
    )]
    pub on: Vec<Kind>,
    /// Intra-op threads to compare on the CPU, as in `1,2,4`.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Vec<u32>,
    /// Number formats to compare, as in `fp32,int8`.
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',', value_parser = parse_format)]
    pub variants: Vec<Precision>,
    /// The batch size beside single items.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Time for each measurement.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::<Time>)]
    pub time: Time,
    /// Stop earlier when every mean is known this well (half-width of the 95 % interval).
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = parse::<Fraction>)]
    pub precision: Fraction,
}

/// `advisor plan`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that is typed"
)]
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Requests per second to serve: `40`, `2.5k`, `90/min`.
    #[arg(long, value_name = "RATE", value_parser = parse::<Rate>, allow_negative_numbers = true)]
    pub qps: Rate,
    /// Median latency objective: `50ms`.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub p50: Option<Time>,
    /// 90th percentile latency objective.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub p90: Option<Time>,
    /// 95th percentile latency objective.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub p95: Option<Time>,
    /// 99th percentile latency objective.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub p99: Option<Time>,
    /// The most that serving may cost, in US dollars per hour.
    #[arg(long, value_name = "USD", value_parser = parse::<UsdPerHour>, allow_negative_numbers = true)]
    pub budget: Option<UsdPerHour>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Only these regions; may be repeated.
    #[arg(long = "region", value_name = "REGION")]
    pub regions: Vec<String>,
    /// Only these providers; may be repeated.
    #[arg(long = "provider", value_name = "PROVIDER")]
    pub providers: Vec<String>,
    /// How the machines are paid for.
    #[arg(long, value_enum, default_value_t = TermArg::OnDemand)]
    pub term: TermArg,
    /// Which prices.
    #[command(flatten)]
    pub prices: super::price_args::PriceArgs,
    /// Only this kind of device.
    #[arg(long, value_enum)]
    pub only: Option<Kind>,
    /// Plan for this machine alone, from measurements alone.
    #[arg(long)]
    pub here: bool,
    /// What this machine costs, in US dollars per hour (with `--here`).
    #[arg(long, value_name = "USD", requires = "here", value_parser = parse::<UsdPerHour>, allow_negative_numbers = true)]
    pub price: Option<UsdPerHour>,
    /// How requests are spread over replicas.
    #[arg(long, value_enum, default_value_t = BalancerArg::Random)]
    pub balancer: BalancerArg,
    /// Options to show.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub top: u32,
    /// Recommend only what holds at the pessimistic end of its interval.
    #[arg(long)]
    pub strict: bool,
    /// Also look for machines of different types that share the load for less.
    #[arg(long, conflicts_with = "here")]
    pub mixed: bool,
    /// Also show what the best options draw and emit.
    #[arg(long)]
    pub energy: bool,
    /// Emissions of the grid, in grams of CO₂ equivalent per kWh, instead of the region's.
    #[arg(long, value_name = "GRAMS", value_parser = parse::<GridIntensity>, allow_negative_numbers = true)]
    pub grid_intensity: Option<GridIntensity>,
    /// Demand over time, to follow it with the recommended machine: a table
    /// `time,requests` by interval, or an access log; its peak is scaled to `--qps`.
    #[arg(long, value_name = "FILE", conflicts_with = "here")]
    pub demand: Option<PathBuf>,
    /// From the decision to add a machine to its first answer (with `--demand`).
    #[arg(long, value_name = "TIME", default_value = "3min", value_parser = parse::<Time>)]
    pub cold_start: Time,
    /// How much more than the demand seen is provided for (with `--demand`).
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = parse::<Fraction>)]
    pub headroom: Fraction,
    /// Also plan with the prices, the rate and all service times 20 % lower and higher.
    #[arg(long)]
    pub what_if: bool,
    /// Plan from this saved calibration instead of measuring; may be repeated
    /// (one per device).
    #[arg(long = "calibration", value_name = "FILE", conflicts_with_all = ["here", "recalibrate"])]
    pub calibrations: Vec<PathBuf>,
    /// Measure again even where a saved calibration fits.
    #[arg(long)]
    pub recalibrate: bool,
    /// How much to measure where no saved calibration fits.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// `advisor batch`.
#[derive(Debug, Clone, Args)]
pub struct BatchArgs {
    /// Items to run through the model: `5M`, `200k`.
    #[arg(long, value_name = "N", value_parser = parse::<Count>, allow_negative_numbers = true)]
    pub items: Count,
    /// The job must be done this long after the machines are asked for: `8h`.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub deadline: Time,
    /// The most that the job may cost, in US dollars.
    #[arg(long, value_name = "USD", value_parser = parse::<Usd>, allow_negative_numbers = true)]
    pub budget: Option<Usd>,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Which machines.
    #[command(flatten)]
    pub offers: super::price_args::OfferArgs,
    /// From asking for a machine to the start of the program on it.
    #[arg(long, value_name = "TIME", default_value = "3min", value_parser = parse::<Time>)]
    pub start_up: Time,
    /// Work between two checkpoints: what a spot machine loses when it is taken back.
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = parse::<Time>)]
    pub checkpoint: Time,
    /// The most machines that can be had at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_machines: u32,
    /// Options to show.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub top: u32,
    /// Plan from this saved calibration instead of measuring; may be repeated
    /// (one per device).
    #[arg(
        long = "calibration",
        value_name = "FILE",
        conflicts_with = "recalibrate"
    )]
    pub calibrations: Vec<PathBuf>,
    /// Measure again even where a saved calibration fits.
    #[arg(long)]
    pub recalibrate: bool,
    /// How much to measure where no saved calibration fits.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// `advisor runtime`.
#[derive(Debug, Clone, Args)]
pub struct RuntimeArgs {
    /// Fetch the pinned release into the data folder with `uv` or `pip`.
    #[arg(long, value_name = "BUILD", num_args = 0..=1, default_missing_value = "cpu", value_enum)]
    pub fetch: Option<BuildArg>,
}

/// `advisor models`.
#[derive(Debug, Clone, Args)]
pub struct ModelsArgs {
    /// Write the models as ONNX files into this folder.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// Only these models; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// What a child process does.
#[derive(Debug, Clone, Subcommand)]
pub enum WorkerCommand {
    /// Say what a library is.
    Inspect {
        /// The library file.
        library: PathBuf,
    },
    /// Serve measuring requests on standard input.
    Measure,
    /// Load a model, run it twice and tell the resident sets.
    PeakMemory,
}

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Processors.
    Cpu,
    /// GPUs.
    Gpu,
}

/// Ways to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TermArg {
    /// By the hour, any time.
    OnDemand,
    /// By the hour, may be taken away.
    Spot,
    /// Committed for a year.
    #[value(name = "reserved-1y")]
    Reserved1y,
    /// Committed for three years.
    #[value(name = "reserved-3y")]
    Reserved3y,
    /// Your own hardware, from `[owned]` in a price file of yours.
    Owned,
}

/// Ways to spread requests over replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BalancerArg {
    /// Each request to any replica: the pessimistic assumption.
    Random,
    /// In turn.
    RoundRobin,
    /// To the replica with the fewest requests in it.
    LeastOutstanding,
}

/// Builds of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuildArg {
    /// Runs on the CPU.
    Cpu,
    /// Runs on NVIDIA GPUs as well.
    Cuda,
}

/// A value parser for any quantity, whose message names what is wrong with it.
pub(super) fn parse<T: FromStr<Err = UnitError>>(text: &str) -> Result<T, UnitError> {
    text.parse()
}

fn parse_format(text: &str) -> Result<Precision, UnitError> {
    text.trim().parse().map_err(|_| {
        UnitError::new(format!(
            "`{text}` is not a number format: use fp32, fp16, int8 or int8-per-channel"
        ))
    })
}

/// `aws/c7i.2xlarge`.
pub(super) fn parse_machine_type(text: &str) -> Result<String, UnitError> {
    match text.trim().split_once('/') {
        Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
            Ok(text.trim().to_owned())
        }
        _ => Err(UnitError::new(format!(
            "`{text}` is not of the form PROVIDER/TYPE, as in `aws/c7i.2xlarge`"
        ))),
    }
}

pub(super) fn parse_dimension(text: &str) -> Result<(String, u64), UnitError> {
    let wrong = || {
        UnitError::new(format!(
            "`{text}` is not of the form NAME=N, as in `sequence=128`"
        ))
    };
    let (name, size) = text.split_once('=').ok_or_else(wrong)?;
    let size: u64 = size.trim().parse().map_err(|_| wrong())?;
    if name.trim().is_empty() || size == 0 {
        return Err(wrong());
    }
    Ok((name.trim().to_owned(), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help_and_every_value_a_name() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{}: --{} has no help",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for sub in command.get_subcommands() {
                check(sub);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn dimensions_parse() {
        assert_eq!(
            parse_dimension("sequence=128").unwrap(),
            ("sequence".to_owned(), 128)
        );
        for bad in ["sequence", "=3", "a=0", "a=-1", "a=x"] {
            assert!(parse_dimension(bad).is_err(), "{bad}");
        }
    }
}
