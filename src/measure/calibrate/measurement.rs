//! The measurement: start a child per layout, warm every batch size up, then
//! visit all points in rotating rounds until they are precise or time is up.

use super::{
    child::{Launcher, MeasuringChild},
    protocol::{Answer, LoadRequest, Request},
    sweep::{batch_sizes, layouts, visiting_order},
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    measure::{
        probe::load::{self, Disturbance, LoadSnapshot},
        runtime::Library,
    },
    model::InputSpec,
    profile::{
        calibration::{
            Calibration, Device, Fingerprint, LeftOut, ModelSummary, Round, Row, SCHEMA,
            SessionLayout, Start,
        },
        machine::Machine,
    },
    stats::{Sample, interval_of_mean},
    units::{Bytes, Fraction, Time},
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// Rounds below which no interval is trusted.
const LEAST_ROUNDS: usize = 6;

/// Rounds that the time budget is laid out for.
const ROUNDS_AIMED_AT: f64 = 12.0;

/// Even the longest batches are visited in every fourth round.
const LONGEST_PERIOD: f64 = 4.0;

/// One visit lasts at least this long where a batch is shorter: long enough to
/// drown the clock and the switch between children, short enough to go round often.
const VISIT: f64 = 0.040;

/// Service times kept per row: enough for a p99 of the shape, few enough that a
/// saved calibration stays readable.
const SAMPLES_KEPT: usize = 256;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The machine, as probed.
    pub machine: &'s Machine,
    /// The device to run on.
    pub device: &'s Device,
    /// The ONNX Runtime to use.
    pub library: &'s Library,
    /// The model file.
    pub model: &'s Path,
    /// Its facts.
    pub facts: &'s ModelSummary,
    /// What to feed it.
    pub inputs: &'s [InputSpec],
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for the rounds; loading and warming up come on top.
    pub time: Time,
    /// Half-width of the 95 % interval, relative to the mean, at which a row is done.
    pub precision: Fraction,
    /// The largest batch size.
    pub max_batch: u32,
    /// Batches that would take longer than this are left out.
    pub longest_inference: Time,
    /// The layouts; those of [`layouts`] when empty.
    pub layouts: Vec<SessionLayout>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time: Time::saturating(30.0),
            precision: Fraction::saturating(0.03),
            max_batch: 32,
            longest_inference: Time::saturating(1.0),
            layouts: Vec::new(),
        }
    }
}

/// What is going on, for a progress line.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// A layout is being loaded and warmed up.
    Starting {
        /// The layout.
        layout: SessionLayout,
        /// Its number, from one, and how many there are.
        number: (usize, usize),
    },
    /// The rounds go on.
    Measuring {
        /// Time spent in rounds.
        spent: Time,
        /// Time there is.
        budget: Time,
        /// Complete rounds.
        rounds: usize,
    },
}

/// Measures a model on one device. `stop` ends it early with what there is.
///
/// # Errors
/// Nothing at all could be measured; the message says what happened to the first layout.
pub fn calibrate(
    subject: &Subject<'_>,
    options: &Options,
    launcher: &Launcher,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Progress),
) -> Result<Calibration> {
    let taken_at = jiff::Timestamp::now().to_string();
    let load_before = LoadSnapshot::take();
    let mut measurement = Measurement::new(subject, options, launcher);
    measurement.start_layouts(stop, observe);
    if measurement.points.is_empty() {
        return Err(measurement.nothing_measured());
    }
    measurement.go_round(stop, observe);
    let disturbance = load::between(&load_before, &LoadSnapshot::take());
    Ok(measurement.finish(taken_at, &disturbance))
}

struct Measurement<'m> {
    subject: &'m Subject<'m>,
    options: &'m Options,
    launcher: &'m Launcher,
    begin: Instant,
    children: Vec<Option<MeasuringChild>>,
    points: Vec<Point>,
    starts: Vec<Start>,
    left_out: Vec<LeftOut>,
    caveats: Vec<Caveat>,
}

/// One row in the making.
struct Point {
    child: usize,
    /// What one inference takes, roughly.
    expected: Time,
    row: Row,
    failed: bool,
}

impl<'m> Measurement<'m> {
    fn new(subject: &'m Subject<'m>, options: &'m Options, launcher: &'m Launcher) -> Self {
        Self {
            subject,
            options,
            launcher,
            begin: Instant::now(),
            children: Vec::new(),
            points: Vec::new(),
            starts: Vec::new(),
            left_out: Vec::new(),
            caveats: Vec::new(),
        }
    }

    fn start_layouts(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Progress)) {
        let wanted = if self.options.layouts.is_empty() {
            layouts(self.subject.device, self.subject.machine.usable_threads())
        } else {
            self.options.layouts.clone()
        };
        let mut memory_in_use = Bytes::ZERO;
        for (i, &layout) in wanted.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                self.leave_out(layout, None, "interrupted");
                continue;
            }
            observe(Progress::Starting {
                layout,
                number: (i + 1, wanted.len()),
            });
            if let Some(why) = self.too_much_memory(layout, memory_in_use) {
                self.leave_out(layout, None, &why);
                continue;
            }
            match self.start_layout(layout, stop) {
                Ok(memory) => memory_in_use = memory_in_use + memory,
                Err(error) => self.leave_out(layout, None, error.message()),
            }
        }
    }

    /// The children all stay loaded while the rounds go on; on a small machine
    /// with a large model that must not push anybody out of memory.
    fn too_much_memory(&self, layout: SessionLayout, in_use: Bytes) -> Option<String> {
        let usable = self.subject.machine.usable_memory()?;
        // Packed weights are a second copy; half as much again for activations.
        let needed = self.subject.facts.weight_bytes.scaled(2.5) * u64::from(layout.instances);
        let room = usable.scaled(0.8);
        (in_use + needed > room).then(|| {
            format!("needs about {needed} beside the {in_use} in use, of {room} that may be taken")
        })
    }

    /// Loads one layout and warms its batch sizes up; returns its memory.
    fn start_layout(&mut self, layout: SessionLayout, stop: &AtomicBool) -> Result<Bytes> {
        let mut child = MeasuringChild::start(self.launcher)?;
        let load = Request::Load(Box::new(LoadRequest {
            library: self.subject.library.path.clone(),
            model: self.subject.model.to_owned(),
            device: self.subject.device.clone(),
            layout,
            inputs: self.subject.inputs.to_vec(),
        }));
        let patience = Time::saturating(120.0 + 10.0 * f64::from(layout.instances));
        let Answer::Loaded { load, memory_bytes } = child.ask(&load, patience)? else {
            return Err(out_of_step());
        };
        let nodes = match self.subject.device {
            Device::Cpu => Vec::new(),
            Device::Cuda { .. } => match child.ask(&Request::CountNodes, patience)? {
                Answer::Counted { nodes } => nodes,
                _ => return Err(out_of_step()),
            },
        };
        let (first, steady) = warm(&mut child, 1, patience)?;
        self.starts.push(Start {
            layout,
            load,
            first_inference: first,
            loaded_memory_bytes: memory_bytes,
            nodes,
        });
        let index = self.children.len();
        self.push_point(index, layout, 1, steady);
        self.warm_larger(&mut child, index, layout, steady, stop);
        self.children.push(Some(child));
        Ok(memory_bytes.unwrap_or(self.subject.facts.weight_bytes))
    }

    fn warm_larger(
        &mut self,
        child: &mut MeasuringChild,
        index: usize,
        layout: SessionLayout,
        steady_alone: Time,
        stop: &AtomicBool,
    ) {
        let largest = self
            .subject
            .facts
            .max_batch
            .unwrap_or(u32::MAX)
            .min(self.options.max_batch);
        let (mut last, mut last_size) = (steady_alone, 1);
        for size in batch_sizes(largest).into_iter().skip(1) {
            if stop.load(Ordering::Relaxed) {
                self.leave_out(layout, Some(size), "interrupted");
                return;
            }
            let expected = last.scaled(f64::from(size) / f64::from(last_size));
            if expected > self.options.longest_inference {
                self.leave_out(
                    layout,
                    Some(size),
                    &format!(
                        "one inference would take about {expected}, longer than {}",
                        self.options.longest_inference
                    ),
                );
                continue;
            }
            match warm(child, size, patience(expected)) {
                Ok((_, steady)) => {
                    self.push_point(index, layout, size, steady);
                    (last, last_size) = (steady, size);
                }
                Err(error) => {
                    self.leave_out(layout, Some(size), error.message());
                    return;
                }
            }
        }
    }

    fn push_point(&mut self, child: usize, layout: SessionLayout, batch_size: u32, expected: Time) {
        self.points.push(Point {
            child,
            expected,
            failed: false,
            row: Row {
                layout,
                batch_size,
                rounds: Vec::new(),
                samples: Vec::new(),
                peak_memory_bytes: None,
            },
        });
    }

    fn go_round(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Progress)) {
        let begin = Instant::now();
        for round in 0.. {
            let order = visiting_order(self.points.len(), round);
            for index in order {
                let spent = Time::from(begin.elapsed());
                // The first two rounds are finished whatever the budget: a row
                // without rounds would be no row.
                let over = spent >= self.options.time && round >= 2;
                if over || stop.load(Ordering::Relaxed) {
                    return;
                }
                if !self.due(index, round) || (round >= LEAST_ROUNDS && self.precise(index)) {
                    continue;
                }
                self.visit(index);
                observe(Progress::Measuring {
                    spent,
                    budget: self.options.time,
                    rounds: round,
                });
            }
            let all_precise = (0..self.points.len()).all(|index| self.precise(index));
            if round + 1 >= LEAST_ROUNDS && all_precise {
                return;
            }
        }
    }

    /// Whether a point is visited in this round. Points whose batches take long
    /// are visited in every second, third or fourth round only, so that they do
    /// not eat the time of all the others; all are in the first.
    fn due(&self, index: usize, round: usize) -> bool {
        let share = self.options.time.get() / self.points.len().max(1) as f64;
        let visit = self
            .points
            .get(index)
            .map_or(VISIT, |point| point.expected.get().max(VISIT));
        let period = (ROUNDS_AIMED_AT * visit / share)
            .round()
            .clamp(1.0, LONGEST_PERIOD);
        round.is_multiple_of(period as usize)
    }

    /// Whether a row's mean is known as well as asked (or the row has failed).
    fn precise(&self, index: usize) -> bool {
        let Some(point) = self.points.get(index) else {
            return true;
        };
        if point.failed {
            return true;
        }
        let means: Vec<f64> = point.row.rounds.iter().map(|r| r.mean.get()).collect();
        if means.len() < LEAST_ROUNDS {
            return false;
        }
        relative_half_width(&means).is_some_and(|w| w <= self.options.precision.get())
    }

    fn visit(&mut self, index: usize) {
        let at = Time::from(self.begin.elapsed());
        let Some(point) = self.points.get_mut(index) else {
            return;
        };
        if point.failed {
            return;
        }
        let Some(Some(child)) = self.children.get_mut(point.child) else {
            point.failed = true;
            return;
        };
        let request = Request::Run {
            batch_size: point.row.batch_size,
            duration: Time::saturating(VISIT),
            at_least: 1,
        };
        match child.ask(&request, patience(point.expected)) {
            Ok(Answer::Ran {
                service,
                peak_memory_bytes,
            }) if !service.is_empty() => {
                let total: Time = service.iter().copied().sum();
                point.row.rounds.push(Round {
                    inferences: service.len() as u32,
                    mean: total.scaled(1.0 / service.len() as f64),
                    at,
                });
                point.row.samples.extend(service);
                point.row.peak_memory_bytes = point.row.peak_memory_bytes.max(peak_memory_bytes);
            }
            Ok(_) => point.failed = true,
            Err(error) => {
                let (layout, size) = (point.row.layout, point.row.batch_size);
                let child = point.child;
                // A dead child takes its other points with it; what they have
                // measured stands.
                for other in self.points.iter_mut().filter(|p| p.child == child) {
                    other.failed = true;
                }
                if let Some(slot) = self.children.get_mut(child) {
                    *slot = None;
                }
                self.caveats.push(Caveat::new(
                    CaveatKind::Incomplete,
                    format!(
                        "{layout}, batch {size}: {}; its rows hold what was measured before",
                        error.message()
                    ),
                ));
            }
        }
    }

    fn leave_out(&mut self, layout: SessionLayout, batch_size: Option<u32>, why: &str) {
        self.left_out.push(LeftOut {
            layout,
            batch_size,
            why: why.to_owned(),
        });
    }

    fn nothing_measured(&self) -> Error {
        let why = self
            .left_out
            .first()
            .map_or("no layout fits this machine", |left| left.why.as_str());
        Error::machine(format!(
            "{} could not be measured on {}: {why}",
            self.subject.facts.name, self.subject.device
        ))
    }

    fn finish(mut self, taken_at: String, disturbance: &Disturbance) -> Calibration {
        self.caveats.extend(disturbance.caveats());
        self.caveats
            .extend(fallback(self.subject.device, &self.starts));
        let mut rows = Vec::new();
        for mut point in std::mem::take(&mut self.points) {
            if point.row.rounds.is_empty() {
                self.leave_out(
                    point.row.layout,
                    Some(point.row.batch_size),
                    "no inference was completed",
                );
                continue;
            }
            point.row.samples = thinned(&point.row.samples, SAMPLES_KEPT);
            rows.push(point.row);
        }
        rows.sort_by_key(|row| (row.layout, row.batch_size));
        self.starts.sort_by_key(|start| start.layout);
        self.left_out
            .sort_by_key(|left| (left.layout, left.batch_size));
        Calibration {
            schema: SCHEMA,
            taken_at,
            fingerprint: Fingerprint::of(
                self.subject.machine,
                self.subject.device,
                &self.subject.library.inspection.version,
                &self.subject.facts.hash,
            ),
            machine: self.subject.machine.clone(),
            model: self.subject.facts.clone(),
            device: self.subject.device.clone(),
            rows,
            starts: self.starts,
            left_out: self.left_out,
            caveats: self.caveats,
        }
    }
}

/// A GPU row in which the CPU ran most of the nodes is not a GPU row.
fn fallback(device: &Device, starts: &[Start]) -> Option<Caveat> {
    let wanted = device.execution_provider();
    let start = starts.iter().find(|start| !start.nodes.is_empty())?;
    let total: u32 = start.nodes.iter().map(|n| n.nodes).sum();
    let there: u32 = start
        .nodes
        .iter()
        .filter(|n| n.provider == wanted)
        .map(|n| n.nodes)
        .sum();
    (there < total).then(|| {
        Caveat::new(
            CaveatKind::Fallback,
            format!(
                "{} of {total} nodes ran on the CPU, not on {device}",
                total - there
            ),
        )
        .hint("the model uses operators for which ONNX Runtime has no CUDA kernel")
    })
}

/// Half-width of the 95 % interval of the mean of the rounds, relative to it.
fn relative_half_width(means: &[f64]) -> Option<f64> {
    let sample = Sample::new(means.to_vec()).ok()?;
    let interval = interval_of_mean(&sample, Fraction::saturating(0.95))?;
    Some(interval.half_width() / sample.mean())
}

fn warm(child: &mut MeasuringChild, batch_size: u32, patience: Time) -> Result<(Time, Time)> {
    match child.ask(&Request::Warm { batch_size }, patience)? {
        Answer::Warmed { first, steady } => Ok((first, steady)),
        _ => Err(out_of_step()),
    }
}

/// A machine may be slow and disturbed; a hundred times slower is a hang.
fn patience(expected: Time) -> Time {
    Time::saturating(30.0) + expected.scaled(100.0)
}

fn out_of_step() -> Error {
    Error::machine("the measuring process answered another question")
}

/// Every n-th value, so that at most `keep` are left and the order is kept.
fn thinned(samples: &[Time], keep: usize) -> Vec<Time> {
    let step = (samples.len() as f64 / keep as f64).max(1.0);
    (0..keep.min(samples.len()))
        .filter_map(|i| samples.get((i as f64 * step) as usize))
        .map(|sample| sample.to_nanos())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_order_and_spread() {
        let samples: Vec<Time> = (0..1000).map(|i| Time::saturating(f64::from(i))).collect();
        let kept = thinned(&samples, 100);
        assert_eq!(kept.len(), 100);
        assert!(kept.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(kept[50], Time::saturating(500.0));
        assert_eq!(thinned(&samples[..5], 100).len(), 5);
    }
}
