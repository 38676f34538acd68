//! What can be typed after `advisor verify`.

use super::args::{Kind, parse, parse_dimension};
use crate::units::{Rate, Time};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `advisor verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// A reference model or the path of an ONNX file [default: the plan's, or bert-base].
    #[arg(long, short, value_name = "NAME|FILE")]
    pub model: Option<String>,
    /// Size of a free dimension other than the batch, as the model names it; may be repeated.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dimension)]
    pub dims: Vec<(String, u64)>,
    /// Verify this plan, as printed by `advisor plan --format json`.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Which option of the plan, from 1 [default: the one for this machine].
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u32).range(1..))]
    pub row: Option<u32>,
    /// The load [default: the plan's load of one replica].
    #[arg(long, value_name = "RATE", value_parser = parse::<Rate>, allow_negative_numbers = true)]
    pub qps: Option<Rate>,
    /// Instances: sessions that run at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub instances: Option<u32>,
    /// Intra-op threads of each instance [default: as many as there are processors for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// The most items in one batch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch: Option<u32>,
    /// How long a request may be held back to fill a batch.
    #[arg(long, value_name = "TIME", value_parser = parse::<Time>, allow_negative_numbers = true)]
    pub window: Option<Time>,
    /// How the server makes batches (with `--url`).
    #[arg(long, value_enum, default_value_t = BatcherArg::WhenFree)]
    pub batcher: BatcherArg,
    /// How long to drive it.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse::<Time>)]
    pub time: Time,
    /// Seed of the arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Median latency objective.
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
    /// Run on this kind of device.
    #[arg(long, value_enum, default_value_t = Kind::Cpu)]
    pub only: Kind,
    /// Predict from this saved calibration instead of measuring.
    #[arg(long, value_name = "FILE", conflicts_with = "recalibrate")]
    pub calibration: Option<PathBuf>,
    /// Measure again even where a saved calibration fits.
    #[arg(long)]
    pub recalibrate: bool,
    /// Time for the calibration where one is needed.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse::<Time>)]
    pub calibrate_for: Time,
    /// Drive a running server that speaks the Open Inference Protocol: `http://localhost:8000`.
    #[arg(long, value_name = "URL", conflicts_with = "http")]
    pub url: Option<String>,
    /// The model's name on the server [default: that of `--model`].
    #[arg(long, value_name = "NAME", requires = "url")]
    pub server_model: Option<String>,
    /// How tensors are sent over HTTP.
    #[arg(long, value_enum, default_value_t = TensorsArg::Json)]
    pub tensors: TensorsArg,
    /// A request without an answer after this long is a miss (over HTTP).
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::<Time>)]
    pub timeout: Time,
    /// Also measure what HTTP adds to a request, over loopback.
    #[arg(long)]
    pub http: bool,
    /// Show the earlier verifications and their errors.
    #[arg(long)]
    pub history: bool,
}

/// Ways to make batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BatcherArg {
    /// When an instance is free.
    WhenFree,
    /// None: every request alone.
    None,
    /// Triton's dynamic batcher.
    Triton,
    /// `MLServer`'s adaptive batching with parallel workers.
    #[value(name = "mlserver")]
    MlServer,
    /// The same with `parallel_workers` 0.
    #[value(name = "mlserver-in-process")]
    MlServerInProcess,
    /// The batcher of the `KServe` agent.
    Kserve,
}

/// Ways to send tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TensorsArg {
    /// Numbers in JSON.
    Json,
    /// The binary tensor data extension.
    Binary,
}
