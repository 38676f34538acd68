//! A calibration: what was measured of one model on one device of one machine,
//! with the fingerprint that keys the word "measured".

pub use super::{
    conditions::{BetweenRuns, Copies, IdleGap, Overheads, Steadiness},
    fingerprint::Fingerprint,
};

use super::{hold_ups::HoldUps, interference::Interference, machine::Machine};
use crate::{
    caveat::Caveat,
    estimate::{Estimate, Source},
    stats::{Sample, interval_of_next_mean},
    units::{Bytes, Count, Flops, Fraction, Power, Time},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the saved form.
pub const SCHEMA: u32 = 3;

/// The oldest saved form that is still read: what later ones added is then
/// missing, and said to be. Others are refused, not guessed at.
pub const OLDEST_SCHEMA: u32 = 1;

/// Level of the intervals of measured service times.
pub const LEVEL: f64 = 0.95;

/// A device that can run a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through the CUDA execution provider.
    Cuda {
        /// Index as CUDA counts the visible devices.
        index: u32,
        /// Name as NVML gives it.
        name: String,
    },
}

impl Device {
    /// The execution provider that runs nodes on this device.
    #[must_use]
    pub const fn execution_provider(&self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda { .. } => "CUDAExecutionProvider",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Cuda { index, name } => write!(f, "GPU {index} ({name})"),
        }
    }
}

/// How the sessions of one server share a device: measured together, planned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionLayout {
    /// Sessions that run at the same time.
    pub instances: u32,
    /// Threads inside each session.
    pub intra_op_threads: u32,
    /// Whether idle threads of a session spin instead of sleeping.
    pub spinning: bool,
}

impl fmt::Display for SessionLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} threads", self.instances, self.intra_op_threads)?;
        if self.spinning {
            f.write_str(", spinning")?;
        }
        Ok(())
    }
}

/// Everything measured of one model on one device of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it was taken, in RFC 3339, UTC.
    pub taken_at: String,
    /// What must be the same for the numbers to hold.
    pub fingerprint: Fingerprint,
    /// The machine type that it was taken on, as `aws/c7i.2xlarge`; none where
    /// nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// The machine, as probed then.
    pub machine: Machine,
    /// What was run.
    pub model: ModelSummary,
    /// What it ran on.
    pub device: Device,
    /// One row per layout and batch size, sorted.
    pub rows: Vec<Row>,
    /// What each layout cost to start.
    pub starts: Vec<Start>,
    /// Parts of the sweep without a row, and why.
    pub left_out: Vec<LeftOut>,
    /// How much slower an inference is on an instance that waited; by layout
    /// (of one instance), then by gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_gaps: Vec<IdleGap>,
    /// What is in a service time besides the model's arithmetic, and what the
    /// measuring itself cost.
    #[serde(default)]
    pub overheads: Overheads,
    /// Whether the machine held still; none where it was not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steadiness: Option<Steadiness>,
    /// How much means differ from one calibration to the next on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_runs: Option<BetweenRuns>,
    /// Doubts about the whole.
    pub caveats: Vec<Caveat>,
}

/// The facts of a model that planning needs, kept with the calibration so that
/// a saved one stands by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSummary {
    /// Name for people.
    pub name: String,
    /// Hash of the file (or of the reference model's definition).
    pub hash: String,
    /// Learnt parameters.
    pub parameters: Count,
    /// Bytes of the weights as stored.
    pub weight_bytes: Bytes,
    /// Arithmetic for one item.
    pub flops_per_item: Flops,
    /// Bytes read and written by the operators for one item, without the weights.
    pub activation_bytes_per_item: Bytes,
    /// Bytes of the inputs and outputs of one item.
    pub io_bytes_per_item: Bytes,
    /// Operators in the graph.
    pub operators: u32,
    /// What kind of work it is.
    pub class: ModelClass,
    /// The largest batch size that the model takes; none where it is free.
    pub max_batch: Option<u32>,
    /// What it takes of memory in ONNX Runtime on a CPU, from its graph; none in
    /// calibrations from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<GraphMemory>,
}

/// Memory of a process that serves a model on a CPU, estimated from the graph when
/// the model was at hand, so that planning does not read the model again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphMemory {
    /// The process with the runtime's library and no model.
    pub process_bytes: Bytes,
    /// What each instance holds once loaded.
    pub per_instance_bytes: Bytes,
    /// What loading holds besides, and gives back.
    pub loading_bytes: Bytes,
    /// What running adds to each instance, by batch size, ascending.
    pub batches: Vec<BatchMemory>,
}

/// What running a batch adds to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchMemory {
    /// Items in the batch.
    pub batch_size: u32,
    /// Tensors, arena and inputs.
    pub running_bytes: Bytes,
}

impl GraphMemory {
    /// What running adds to an instance at most for batches up to `batch_size`: the
    /// figure of the next larger batch that was estimated, beyond the largest in
    /// proportion to it.
    #[must_use]
    pub fn running(&self, batch_size: u32) -> Bytes {
        let next = self.batches.iter().find(|b| b.batch_size >= batch_size);
        match (next, self.batches.last()) {
            (Some(batch), _) => batch.running_bytes,
            (None, Some(largest)) => largest
                .running_bytes
                .scaled(f64::from(batch_size) / f64::from(largest.batch_size.max(1))),
            (None, None) => Bytes::ZERO,
        }
    }

    /// What instances take together at their highest, the process not counted:
    /// while the last one loads, or with all of them running.
    #[must_use]
    pub fn needed(&self, instances: u32, batch_size: u32) -> Bytes {
        let n = u64::from(instances);
        self.per_instance_bytes * n + self.loading_bytes.max(self.running(batch_size) * n)
    }
}

/// The kinds of model that hardware treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelClass {
    /// Attention and large matrix products.
    Transformer,
    /// Convolutions.
    Convolutional,
    /// Matrix products without attention.
    Dense,
    /// Decision trees: comparisons and jumps, no arithmetic to speak of; ONNX
    /// Runtime has no GPU kernel for them.
    TreeEnsemble,
    /// Anything else.
    Other,
}

/// What was measured for one layout and one batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Items per inference.
    pub batch_size: u32,
    /// One entry per visit; visits of all rows take turns.
    pub rounds: Vec<Round>,
    /// Service times, in seconds; where there were many, means of equal shares of
    /// the sorted ones. Without those that were held up, and without those by which
    /// short inferences were warmed up at the start of a visit.
    #[serde(rename = "samples_s")]
    pub samples: Vec<Time>,
    /// Those that something else on the machine held up; part of the means.
    #[serde(default, skip_serializing_if = "HoldUps::is_empty")]
    pub hold_ups: HoldUps,
    /// How many times as long as usual inferences took, millisecond by millisecond
    /// on one instance after the other; only where they are short.
    #[serde(default, skip_serializing_if = "Interference::is_empty")]
    pub interference: Interference,
    /// Highest resident set (or device memory) of the process when this batch
    /// size was first run, before any larger one: the runtime keeps what it has
    /// once taken, so later peaks would be those of the largest batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<Bytes>,
    /// Mean power while it ran, of all processor packages or of the GPU; none
    /// where there is no counter that may be read.
    #[serde(rename = "power_w", default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// The layout that was so much better that this row was dropped early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_for: Option<SessionLayout>,
}

impl Row {
    /// A row without measurements.
    #[must_use]
    pub fn new(layout: SessionLayout, batch_size: u32) -> Self {
        Self {
            layout,
            batch_size,
            rounds: Vec::new(),
            samples: Vec::new(),
            hold_ups: HoldUps::default(),
            interference: Interference::default(),
            peak_memory_bytes: None,
            power: None,
            dropped_for: None,
        }
    }

    /// The time of service over all rounds, hold-ups included.
    #[must_use]
    pub fn busy(&self) -> Time {
        self.rounds
            .iter()
            .map(|round| round.mean.scaled(f64::from(round.inferences)))
            .sum()
    }

    /// The share of the time of service that was not lost in hold-ups.
    #[must_use]
    pub fn undisturbed(&self) -> Fraction {
        let busy = self.busy();
        if busy.is_zero() {
            return Fraction::saturating(1.0);
        }
        Fraction::saturating(1.0 - self.hold_ups.total().ratio(busy))
    }

    /// Whether the hold-ups fit into the row: fewer than half of the inferences,
    /// since each took several times the median, and less than all of the time.
    #[must_use]
    pub fn hold_ups_are_possible(&self) -> bool {
        let HoldUps { count, lengths } = &self.hold_ups;
        self.hold_ups == HoldUps::default()
            || !self.hold_ups.is_empty()
                && *count <= self.inferences() / 2
                && lengths.len() as u64 <= *count
                && self.hold_ups.total() < self.busy()
    }

    /// The samples with those that were held up in their proportion.
    #[must_use]
    pub fn service_times(&self) -> Vec<Time> {
        let mut times = self.samples.clone();
        times.sort_unstable();
        let Some(usual) = times.get(times.len() / 2).copied() else {
            return times;
        };
        let lengths = &self.hold_ups.lengths;
        let others = self.inferences().saturating_sub(self.hold_ups.count).max(1);
        let share = self.hold_ups.count as f64 / others as f64;
        let count = (share * times.len() as f64).round() as usize;
        let held_up = (0..count).filter_map(|i| lengths.get(i * lengths.len() / count));
        times.extend(held_up.map(|length| usual + *length));
        times
    }

    /// Inferences that the row rests on.
    #[must_use]
    pub fn inferences(&self) -> u64 {
        self.rounds
            .iter()
            .map(|round| u64::from(round.inferences))
            .sum()
    }

    /// The mean service time with the interval in which the mean of the next
    /// calibration is expected: from the variation between rounds, their
    /// autocorrelation and drift, and, where it is known, from what changed
    /// between earlier calibrations ([`interval_of_next_mean`]).
    ///
    /// None for a row without rounds. A single round says nothing of the
    /// spread: half and double are the ends then.
    #[must_use]
    pub fn service_time(
        &self,
        between_runs: Option<&BetweenRuns>,
        source: &Source,
    ) -> Option<Estimate<Time>> {
        let means: Vec<f64> = self.rounds.iter().map(|round| round.mean.get()).collect();
        let sample = Sample::new(means).ok()?;
        let mean = sample.mean();
        if mean <= 0.0 {
            return None;
        }
        let level = Fraction::saturating(LEVEL);
        let between = between_runs.map_or(Fraction::ZERO, |b| b.relative_deviation);
        let (low, high) = interval_of_next_mean(&sample, between, level)
            .map_or((mean / 2.0, mean * 2.0), |i| (i.low, i.high));
        Some(Estimate::new(
            Time::saturating(mean),
            (Time::saturating(low), Time::saturating(high)),
            level,
            source.clone(),
        ))
    }
}

/// One visit to a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Inferences in this visit, over all instances.
    pub inferences: u32,
    /// Their mean service time.
    #[serde(rename = "mean_s")]
    pub mean: Time,
    /// When the visit began, since the calibration began.
    #[serde(rename = "at_s")]
    pub at: Time,
}

/// What it cost to make a layout ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Time to load the model into one session.
    #[serde(rename = "load_s")]
    pub load: Time,
    /// The first inference of a session (allocations, kernel selection), not averaged in.
    #[serde(rename = "first_inference_s")]
    pub first_inference: Time,
    /// Resident set (or device memory) once all instances are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_memory_bytes: Option<Bytes>,
    /// Nodes per execution provider, where they were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodePlacement>,
}

/// How many nodes an execution provider ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlacement {
    /// As ONNX Runtime names it.
    pub provider: String,
    /// Nodes that it ran.
    pub nodes: u32,
}

/// A part of the sweep that has no row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// The batch size; none when the whole layout is missing.
    pub batch_size: Option<u32>,
    /// Why.
    pub why: String,
}

/// A calibration for tests of other modules: rows with three equal rounds each.
#[cfg(test)]
pub(crate) fn example(rows: &[((u32, u32), u32, f64)]) -> Calibration {
    use super::machine::{Cpu, Gpus, Limits, Reading};
    let machine = Machine {
        os: Reading::Known("Linux".into()),
        cpu: Cpu {
            model: Reading::Known("test".into()),
            vendor: Reading::unknown("test"),
            arch: "x86_64".into(),
            signature: Reading::unknown("test"),
            physical_cores: Reading::Known(2),
            logical_cores: 2,
            instruction_sets: vec![],
        },
        memory_bytes: Reading::Known(Bytes::from_gib(8.0)),
        limits: Limits::default(),
        gpus: Gpus::NoDriver {
            tried: "test".into(),
        },
    };
    let rows = rows
        .iter()
        .map(|&((instances, intra_op_threads), batch_size, seconds)| {
            let layout = SessionLayout {
                instances,
                intra_op_threads,
                spinning: false,
            };
            let mut row = Row::new(layout, batch_size);
            let mean = Time::saturating(seconds);
            row.rounds = (0..3)
                .map(|i| Round {
                    inferences: 4,
                    mean,
                    at: Time::saturating(f64::from(i)),
                })
                .collect();
            row.samples = vec![mean; 12];
            row
        })
        .collect();
    Calibration {
        schema: SCHEMA,
        taken_at: "2026-01-01T00:00:00Z".into(),
        fingerprint: Fingerprint::of(&machine, &Device::Cpu, "1.31.1", "hash"),
        machine_type: None,
        machine,
        model: ModelSummary {
            name: "test".into(),
            hash: "hash".into(),
            parameters: Count::new(1),
            weight_bytes: Bytes::from_mib(1),
            flops_per_item: Flops::saturating(1.0),
            activation_bytes_per_item: Bytes::ZERO,
            io_bytes_per_item: Bytes::ZERO,
            operators: 1,
            class: ModelClass::Dense,
            max_batch: None,
            memory: None,
        },
        device: Device::Cpu,
        rows,
        starts: Vec::new(),
        left_out: Vec::new(),
        idle_gaps: Vec::new(),
        overheads: Overheads::default(),
        steadiness: None,
        between_runs: None,
        caveats: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibration_of_the_first_schema_is_still_read() {
        let mut value = serde_json::to_value(example(&[((1, 1), 1, 0.1)])).unwrap();
        let fields = value.as_object_mut().unwrap();
        for added in ["idle_gaps", "overheads", "steadiness", "between_runs"] {
            fields.remove(added);
        }
        fields.insert("schema".into(), 1.into());
        let read: Calibration = serde_json::from_value(value).unwrap();
        assert_eq!(read.overheads, Overheads::default());
        assert_eq!(read.steadiness, None);
    }

    #[test]
    fn variation_between_runs_widens_the_interval() {
        let calibration = example(&[((1, 1), 1, 0.1)]);
        let row = &calibration.rows[0];
        let alone = row.service_time(None, &Source::Measured).unwrap();
        let between = BetweenRuns {
            relative_deviation: Fraction::saturating(0.05),
            runs: 8,
        };
        let wide = row.service_time(Some(&between), &Source::Measured).unwrap();
        assert!((alone.high - alone.low).get() < 1e-9);
        // 1.96 · √2 · 5 % either way.
        assert!(((wide.high - wide.value).get() - 0.1 * 0.138_6).abs() < 1e-4);
    }

    #[test]
    fn hold_ups_are_in_the_mean_and_shown_in_their_proportion() {
        let mut row = example(&[((1, 1), 1, 0.010)]).rows.remove(0);
        assert!((row.undisturbed().get() - 1.0).abs() < 1e-12);
        // 12 inferences of 10 ms on average: 9 of 5 ms, 3 held up by 20 ms.
        row.samples = vec![Time::from_millis(5.0); 9];
        row.hold_ups = HoldUps {
            count: 3,
            lengths: vec![Time::from_millis(20.0)],
        };
        assert!((row.undisturbed().get() - 0.5).abs() < 1e-12);
        let shown = row.service_times();
        assert_eq!(shown.len(), 12);
        let sum: Time = shown.iter().copied().sum();
        assert!((sum.as_millis() - 120.0).abs() < 1e-9, "{sum}");
        assert!(row.hold_ups_are_possible());
        row.hold_ups.count = u64::MAX;
        assert!(!row.hold_ups_are_possible());
    }
}
