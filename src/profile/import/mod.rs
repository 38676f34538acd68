//! Results of other people's tools as calibrations: Triton's `perf_analyzer`,
//! `onnxruntime_perf_test`, `MLPerf` `LoadGen`.
//!
//! None of them says which machine or model it was; that must be given. What they
//! give is one visit each, so a single file leaves the interval of a service time
//! at half to double; several files of the same run count as visits.

mod loadgen;
mod perf_analyzer;
mod perf_test;

use super::{
    calibration::{
        Calibration, Device, Fingerprint, ModelSummary, Overheads, Round, Row, SCHEMA,
        SessionLayout, Start,
    },
    machine::Machine,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    units::{Bytes, Time},
};

/// Formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// The CSV that `perf_analyzer -f` writes.
    PerfAnalyzer,
    /// What `onnxruntime_perf_test -s` prints.
    PerfTest,
    /// `mlperf_log_summary.txt`.
    LoadGen,
}

impl ToolFormat {
    /// The tool, for people and for the fingerprint.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerfAnalyzer => "perf_analyzer",
            Self::PerfTest => "onnxruntime_perf_test",
            Self::LoadGen => "MLPerf LoadGen",
        }
    }

    /// The format that a text looks like.
    #[must_use]
    pub fn guess(text: &str) -> Option<Self> {
        let first = text.lines().next().unwrap_or_default();
        if first.contains("Inferences/Second") && first.contains(',') {
            Some(Self::PerfAnalyzer)
        } else if text.contains("Average inference time cost") {
            Some(Self::PerfTest)
        } else if text.contains("MLPerf Results Summary") {
            Some(Self::LoadGen)
        } else {
            None
        }
    }

    fn read(self, text: &ToolText<'_>, setup: ToolSetup) -> Result<ToolRows> {
        match self {
            Self::PerfAnalyzer => perf_analyzer::read(text, setup),
            Self::PerfTest => perf_test::read(text, setup),
            Self::LoadGen => loadgen::read(text, setup),
        }
    }
}

/// A file and its name for messages.
#[derive(Debug, Clone, Copy)]
pub struct ToolText<'t> {
    /// The file's name.
    pub name: &'t str,
    /// What is in it.
    pub text: &'t str,
}

impl ToolText<'_> {
    /// A complaint about a line, counted from 1.
    fn refuse(&self, line: usize, why: &str) -> Error {
        Error::bad_input(format!("{}:{line}: {why}", self.name))
    }
}

/// What a tool's output does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolSetup {
    /// Items per request; none where the tool says so itself.
    pub batch_size: Option<u32>,
    /// Instances of the model on the server; none is one.
    pub instances: Option<u32>,
    /// Intra-op threads of each; none where the tool says so itself, else one.
    pub threads: Option<u32>,
}

/// One measured setup.
#[derive(Debug, Clone, PartialEq)]
struct ToolRow {
    layout: SessionLayout,
    batch_size: u32,
    mean: Time,
    inferences: u32,
    /// Shares and times, ascending; may be empty.
    percentiles: Vec<(f64, Time)>,
    peak_memory: Option<Bytes>,
}

/// What one file gave.
#[derive(Debug, Clone, Default, PartialEq)]
struct ToolRows {
    rows: Vec<ToolRow>,
    starts: Vec<Start>,
    caveats: Vec<Caveat>,
}

/// What was run, where and when.
#[derive(Debug, Clone)]
pub struct ToolSubject {
    /// The model.
    pub model: ModelSummary,
    /// The machine.
    pub machine: Machine,
    /// What it is sold as.
    pub machine_type: String,
    /// What ran the model there.
    pub device: Device,
    /// When, in RFC 3339.
    pub taken_at: String,
}

/// How the runtime of a fingerprint begins where another tool measured.
const BROUGHT_IN: &str = "brought in from ";

/// Whether another tool measured it, in software that is not known: it holds for
/// the very machine type, and is not carried over to others.
#[must_use]
pub fn is_brought_in(calibration: &Calibration) -> bool {
    calibration.fingerprint.runtime.starts_with(BROUGHT_IN)
}

/// Samples that are read off percentiles.
const SAMPLES: u32 = 200;

/// Makes one calibration of the files of one tool; each file is a visit.
///
/// # Errors
/// A file is not of the format, lacks a figure or a unit, or holds what no
/// inference takes, with its line.
pub fn import(
    format: ToolFormat,
    texts: &[ToolText<'_>],
    setup: ToolSetup,
    subject: ToolSubject,
) -> Result<Calibration> {
    let mut rows: Vec<Row> = Vec::new();
    let mut starts: Vec<Start> = Vec::new();
    let mut caveats = vec![Caveat::new(
        CaveatKind::Assumed,
        format!(
            "brought in from {}: which software served it, and how busy the machine was, is not in its output",
            format.name()
        ),
    )];
    for (visit, text) in texts.iter().enumerate() {
        let found = format.read(text, setup)?;
        for one in found.rows {
            add(&mut rows, &one, visit);
        }
        for start in found.starts {
            if !starts.iter().any(|known| known.layout == start.layout) {
                starts.push(start);
            }
        }
        for caveat in found.caveats {
            if !caveats.contains(&caveat) {
                caveats.push(caveat);
            }
        }
    }
    rows.sort_by_key(|row| (row.layout, row.batch_size));
    if texts.len() < 2 {
        caveats.push(
            Caveat::new(
                CaveatKind::FewSamples,
                "one run says nothing of how much the next will differ: intervals are half to double",
            )
            .hint("give the outputs of several runs together"),
        );
    }
    let runtime = format!("{BROUGHT_IN}{}", format.name());
    Ok(Calibration {
        schema: SCHEMA,
        taken_at: subject.taken_at,
        fingerprint: Fingerprint::of(
            &subject.machine,
            &subject.device,
            &runtime,
            &subject.model.hash,
        ),
        machine_type: Some(subject.machine_type),
        machine: subject.machine,
        model: subject.model,
        device: subject.device,
        rows,
        starts,
        left_out: Vec::new(),
        idle_gaps: Vec::new(),
        overheads: Overheads::default(),
        steadiness: None,
        between_runs: None,
        caveats,
    })
}

fn add(rows: &mut Vec<Row>, one: &ToolRow, visit: usize) {
    let same = |row: &&mut Row| row.layout == one.layout && row.batch_size == one.batch_size;
    let round = Round {
        inferences: one.inferences,
        mean: one.mean,
        // Runs of a tool have no common clock; only their order is known.
        at: Time::saturating(visit as f64),
    };
    let samples = samples(&one.percentiles, one.mean);
    if let Some(row) = rows.iter_mut().find(same) {
        row.rounds.push(round);
        row.samples.extend(samples);
    } else {
        let mut row = Row::new(one.layout, one.batch_size);
        row.rounds.push(round);
        row.samples = samples;
        row.peak_memory_bytes = one.peak_memory;
        rows.push(row);
    }
}

/// Evenly spaced values of the distribution function through the percentiles,
/// straight lines between them, with the mean that was measured; the mean alone
/// without percentiles.
fn samples(percentiles: &[(f64, Time)], mean: Time) -> Vec<Time> {
    let read: Vec<f64> = (0..SAMPLES)
        .filter_map(|i| {
            let share = (f64::from(i) + 0.5) / f64::from(SAMPLES);
            at_share(percentiles, share)
        })
        .collect();
    let average = read.iter().sum::<f64>() / read.len().max(1) as f64;
    if read.is_empty() || average <= 0.0 {
        return vec![mean];
    }
    read.into_iter()
        .map(|value| Time::saturating(value * mean.get() / average))
        .collect()
}

fn at_share(percentiles: &[(f64, Time)], share: f64) -> Option<f64> {
    let (first, last) = (percentiles.first()?, percentiles.last()?);
    if share <= first.0 {
        return Some(first.1.get());
    }
    if share >= last.0 {
        return Some(last.1.get());
    }
    percentiles.windows(2).find_map(|pair| {
        let [low, high] = pair else { return None };
        (low.0 <= share && share <= high.0).then(|| {
            let part = (share - low.0) / (high.0 - low.0).max(f64::EPSILON);
            low.1.get() + (high.1.get() - low.1.get()) * part
        })
    })
}

/// The instances and threads that were said, or one of each.
fn layout(setup: ToolSetup, threads: Option<u32>, instances: u32) -> SessionLayout {
    SessionLayout {
        instances: instances.max(1),
        intra_op_threads: setup.threads.or(threads).unwrap_or(1).max(1),
        spinning: false,
    }
}

#[cfg(test)]
mod tests;
