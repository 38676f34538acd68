//! What the calibrating process and its children say to each other: one JSON
//! value per line, requests on standard input, answers on standard output.

use crate::{
    measure::replica::{Rule, ServedBatch},
    model::InputSpec,
    profile::{
        calibration::{Copies, Device, NodePlacement, SessionLayout},
        hold_ups::HoldUps,
        interference::Interference,
    },
    units::{Bytes, Time},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The arguments that make this program a measuring child.
pub const WORKER_COMMAND: [&str; 2] = ["worker", "measure"];

/// What a child is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Load the model into as many sessions as the layout has instances.
    Load(Box<LoadRequest>),
    /// Run one batch size on one instance until the first-run cost is gone.
    Warm {
        /// Items per inference.
        batch_size: u32,
    },
    /// Run one batch size on all instances at once.
    Run {
        /// Items per inference.
        batch_size: u32,
        /// How long to go on.
        #[serde(rename = "for_s")]
        duration: Time,
        /// Inferences per instance, whatever the time.
        at_least: u32,
    },
    /// Run one batch size back to back and after idle gaps, on one instance.
    Idle {
        /// Items per inference.
        batch_size: u32,
        /// The gaps, with how many inferences follow each.
        gaps: Vec<(Time, u32)>,
    },
    /// Run every batch size up to this once on every instance.
    WarmAll {
        /// Items in the largest batch.
        max_batch: u32,
    },
    /// Serve requests with all instances, as they arrive.
    Serve {
        /// When each request arrives, since the start; never falling.
        #[serde(rename = "arrivals_s")]
        arrivals: Vec<Time>,
        /// How batches are made.
        rule: Rule,
    },
    /// Serve batches of all sizes in turn without pause, on all instances.
    Saturate {
        /// The largest; the others are the powers of two below it.
        max_batch: u32,
        /// For about how long.
        #[serde(rename = "duration_s")]
        duration: Time,
    },
    /// Serve the model over HTTP on loopback, until the process ends.
    Listen,
    /// End what is being served, with what there is; answered by it.
    Stop,
    /// Run the measuring loop without an inference.
    Harness,
    /// Time the copies between host and device.
    Copies {
        /// Items per inference.
        batch_size: u32,
    },
    /// Say how much processor time this process has used.
    ProcessorTime,
    /// Count the nodes that each execution provider runs.
    CountNodes,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// The model file.
    pub model: PathBuf,
    /// The device to run on.
    pub device: Device,
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// The cores of each instance's threads, the calling one first; empty leaves
    /// them to the scheduler.
    #[serde(default)]
    pub cores: Vec<Vec<u32>>,
    /// The inputs to feed.
    pub inputs: Vec<InputSpec>,
}

/// Inferences and their service times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// How many.
    pub inferences: u32,
    /// Their mean service time.
    #[serde(rename = "mean_s")]
    pub mean: Time,
    /// Service times without those that were held up; where there were many,
    /// means of equal shares of the sorted ones.
    #[serde(rename = "service_s")]
    pub service: Vec<Time>,
    /// Those that were.
    pub hold_ups: HoldUps,
    /// What instances met of interference; empty where sizes took turns, for which
    /// the answer holds it.
    #[serde(default, skip_serializing_if = "Interference::is_empty")]
    pub interference: Interference,
}

/// What a child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
pub enum Answer {
    /// All sessions are loaded.
    Loaded {
        /// Time for the first of them.
        #[serde(rename = "load_s")]
        load: Time,
        /// Resident set of the child with all of them.
        memory_bytes: Option<Bytes>,
    },
    /// The first-run cost is gone.
    Warmed {
        /// The first inference.
        #[serde(rename = "first_s")]
        first: Time,
        /// The fastest of those after it.
        #[serde(rename = "steady_s")]
        steady: Time,
        /// Highest resident set so far, with all instances warm.
        peak_memory_bytes: Option<Bytes>,
        /// Processor time spent in inference.
        #[serde(rename = "inference_cpu_s")]
        inference_cpu: Time,
    },
    /// The batches were run.
    Ran {
        /// Inferences of all instances.
        #[serde(flatten)]
        timed: Timed,
        /// Processor time spent in inference.
        #[serde(rename = "inference_cpu_s")]
        inference_cpu: Time,
    },
    /// The batches of all sizes were run.
    Saturated {
        /// By batch size, inferences of all instances.
        by_size: Vec<(u32, Timed)>,
        /// What instances met of interference, over all sizes.
        interference: Interference,
    },
    /// The gaps were waited for.
    Idled {
        /// Mean service time back to back, before and after the gaps.
        #[serde(rename = "back_to_back_s")]
        back_to_back: Time,
        /// For each gap: its length, the mean time from its end to that of the
        /// inference after it (waking up counts), how many.
        #[serde(rename = "after_s")]
        after: Vec<(Time, Time, u32)>,
        /// Processor time spent in inference.
        #[serde(rename = "inference_cpu_s")]
        inference_cpu: Time,
    },
    /// Every batch size was run.
    WarmedAll {
        /// One inference of the largest batch.
        #[serde(rename = "largest_s")]
        largest: Time,
    },
    /// The load is over.
    Served {
        /// Every batch, in the order of its requests.
        batches: Vec<ServedBatch>,
        /// Processor time of the whole process.
        #[serde(rename = "processor_s")]
        processor: Time,
        /// What the runtime said of the first inference that failed.
        failure: Option<String>,
    },
    /// The server listens.
    Listening {
        /// On this port of the loopback interface; the model is called `advisor`.
        port: u16,
    },
    /// The loop was run.
    Harness {
        /// What it takes per inference.
        #[serde(rename = "each_s")]
        each: Time,
    },
    /// The copies were timed.
    Copied {
        /// What they take.
        copies: Copies,
    },
    /// What this process has used.
    ProcessorTime {
        /// In user and kernel mode, all threads.
        #[serde(rename = "used_s")]
        used: Time,
    },
    /// The nodes were counted.
    Counted {
        /// Nodes by execution provider.
        nodes: Vec<NodePlacement>,
    },
    /// It could not be done; the child is still usable.
    Failed {
        /// What ONNX Runtime said.
        message: String,
    },
}
