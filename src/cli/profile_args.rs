//! What can be typed about profiles: calibrations that were taken elsewhere.

use super::args::{ModelArgs, parse_machine_type};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `advisor profiles`.
#[derive(Debug, Clone, Subcommand)]
pub enum ProfilesCommand {
    /// List profiles brought in from elsewhere and calibrations of this machine.
    List,
    /// Show one.
    Show {
        /// Its name in the list, or a file.
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
    /// Write a calibration of this machine to a file, for `import` on another.
    Export(ExportArgs),
    /// Bring in calibrations taken on other machines, or results of other tools.
    Import(Box<ImportArgs>),
}

/// `advisor profiles export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Its name in the list.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What this machine is sold as, `aws/c7i.2xlarge`.
    #[arg(long, value_name = "PROVIDER/TYPE", value_parser = parse_machine_type)]
    pub machine_type: Option<String>,
    /// Where to write it; nothing that is there already is overwritten.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

/// `advisor profiles import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Saved calibrations or outputs of a tool, or folders with calibrations; all are
    /// taken or none. Several outputs of a tool count as runs of the same setup.
    #[arg(value_name = "FILE|DIR", required = true)]
    pub files: Vec<PathBuf>,
    /// What the files are; found out from how they begin.
    #[arg(long, value_enum)]
    pub from: Option<ToolArg>,
    /// What the machine is sold as, `aws/g6.xlarge`; needed for results of tools.
    #[arg(long, value_name = "PROVIDER/TYPE", value_parser = parse_machine_type)]
    pub machine_type: Option<String>,
    /// The model that a tool ran.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Items per request, where the tool does not say.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch_size: Option<u32>,
    /// Instances of the model on the server that the tool asked.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub instances: Option<u32>,
    /// Intra-op threads of each instance.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Take it even where a newer one of the same machine and model is there.
    #[arg(long)]
    pub replace: bool,
}

/// Tools whose results can be brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ToolArg {
    /// A calibration that advisor saved.
    Advisor,
    /// The CSV of Triton's `perf_analyzer -f`.
    PerfAnalyzer,
    /// What `onnxruntime_perf_test -s` printed.
    PerfTest,
    /// `mlperf_log_summary.txt`.
    Loadgen,
}
