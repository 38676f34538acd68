//! The measurement: start a child per layout, take a first look at single
//! items, warm the larger batches up, then visit all points in rotating rounds
//! until they are precise or time is up.

use super::{
    accounts::Accounts,
    child::{Launcher, MeasuringChild},
    gaps::GAPS_MS,
    guard::{Limits, room},
    journal::{Entry, IdleVisit, Journal, Recovered},
    point::Point,
    verdict::judge,
    watch::DeviceWatch,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    measure::{
        probe::load::{self, LoadSnapshot},
        runtime::Library,
    },
    model::InputSpec,
    profile::{
        calibration::{
            BetweenRuns, Calibration, Device, Fingerprint, LeftOut, ModelSummary, Overheads, Row,
            SCHEMA, SessionLayout, Start,
        },
        machine::Machine,
    },
    stats::condensed,
    units::{Bytes, Fraction, Time},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// Service times kept per row: enough for a p99 of the shape, few enough that a
/// saved calibration stays readable.
const SAMPLES_KEPT: usize = 256;

/// Lengths of hold-ups kept per row.
const HOLD_UPS_KEPT: usize = 64;

/// Blocks of windows of interference kept per row.
const BLOCKS_KEPT: usize = 10;

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

impl Subject<'_> {
    /// What must be the same for the numbers to hold.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(
            self.machine,
            self.device,
            &self.library.inspection.version,
            &self.facts.hash,
        )
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for the rounds; loading and the first look come on top.
    pub time: Time,
    /// Half-width of the 95 % interval, relative to the mean, at which a row is done.
    pub precision: Fraction,
    /// The largest batch size.
    pub max_batch: u32,
    /// The batch sizes; 1, 2, 4, … up to the largest when empty.
    pub batch_sizes: Vec<u32>,
    /// Batches that would take longer than this are left out.
    pub longest_inference: Time,
    /// The layouts; those of [`super::sweep::layouts`] when empty.
    pub layouts: Vec<SessionLayout>,
    /// The idle gaps to measure; none when empty.
    pub gaps: Vec<Time>,
    /// What all sessions together may take; nine tenths of what can be had
    /// when none is given.
    pub memory: Option<Bytes>,
    /// Where to write down what is measured as it comes, and to go on from.
    pub journal: Option<PathBuf>,
    /// How much earlier calibrations differed, where that is known.
    pub between_runs: Option<BetweenRuns>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time: Time::saturating(30.0),
            precision: Fraction::saturating(0.03),
            max_batch: 32,
            batch_sizes: Vec::new(),
            longest_inference: Time::saturating(1.0),
            layouts: Vec::new(),
            gaps: GAPS_MS.map(Time::from_millis).to_vec(),
            memory: None,
            journal: None,
            between_runs: None,
        }
    }
}

/// What is going on, for a progress line.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A layout is being loaded and warmed up.
    Starting {
        /// The layout.
        layout: SessionLayout,
        /// Its number, from one, and how many there are.
        number: (usize, usize),
    },
    /// There is a first result to look at; it is being refined.
    FirstLook(Box<Calibration>),
    /// The rounds go on.
    Measuring {
        /// Time spent in rounds.
        spent: Time,
        /// Time there is.
        budget: Time,
        /// Complete rounds.
        rounds: usize,
    },
    /// Something that the user should know at once.
    Remark(String),
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
    let (journal, recovered) = Journal::open(options.journal.as_deref(), &subject.fingerprint());
    for remark in remarks(&recovered) {
        observe(Progress::Remark(remark));
    }
    let mut measurement = Measurement::new(subject, options, launcher, (journal, recovered));
    measurement.start_layouts(stop, observe);
    if measurement.points.is_empty() && measurement.recovered.is_empty() {
        return Err(measurement.nothing_measured());
    }
    measurement.look_first(stop, observe);
    measurement.measure_overheads(stop);
    measurement.begin_accounts();
    measurement.go_round(stop, observe);
    measurement.settle_accounts();
    if measurement.has_nothing() {
        return Err(measurement.nothing_measured());
    }
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        measurement.caveats.push(
            Caveat::new(CaveatKind::Incomplete, "it was interrupted")
                .hint("`advisor calibrate` goes on from here"),
        );
    }
    Ok(measurement.result())
}

/// What is to be said of the journal before measuring.
fn remarks(recovered: &Recovered) -> Vec<String> {
    let mut all = Vec::new();
    if recovered.damaged > 0 {
        all.push(format!(
            "{} damaged lines of the journal were passed over",
            recovered.damaged
        ));
    }
    if let Some(why) = &recovered.unusable {
        all.push(format!("no journal is kept: {why}"));
    }
    if recovered.taken_at.is_some() && !recovered.rows.is_empty() {
        let visits: usize = recovered.rows.values().map(|row| row.rounds.len()).sum();
        all.push(format!(
            "going on from an interrupted calibration: {visits} visits to {} rows",
            recovered.rows.len()
        ));
    }
    all
}

pub(super) struct Measurement<'m> {
    pub subject: &'m Subject<'m>,
    pub options: &'m Options,
    pub launcher: &'m Launcher,
    /// When an earlier run began, or this one.
    taken_at: String,
    begin: Instant,
    /// What lies before `begin`: the time since an earlier run began.
    earlier: Time,
    /// Time that an earlier run spent in rounds.
    pub spent_earlier: Time,
    load_before: LoadSnapshot,
    pub watch: DeviceWatch,
    /// Device memory that each child has taken.
    pub on_device: BTreeMap<usize, Bytes>,
    pub children: Vec<Option<MeasuringChild>>,
    pub points: Vec<Point>,
    pub recovered: BTreeMap<(SessionLayout, u32), Row>,
    pub idle: BTreeMap<SessionLayout, Vec<IdleVisit>>,
    pub starts: Vec<Start>,
    left_out: Vec<LeftOut>,
    pub caveats: Vec<Caveat>,
    pub overheads: Overheads,
    pub accounts: Accounts,
    journal: Journal,
    pub remarks: Vec<String>,
    pub first_look_shown: bool,
    /// When the rounds began; none before.
    pub rounds_begun: Option<Instant>,
    room: Option<Bytes>,
}

impl<'m> Measurement<'m> {
    fn new(
        subject: &'m Subject<'m>,
        options: &'m Options,
        launcher: &'m Launcher,
        (journal, recovered): (Journal, Recovered),
    ) -> Self {
        let now = jiff::Timestamp::now();
        let taken_at = recovered.taken_at.unwrap_or_else(|| now.to_string());
        let earlier = taken_at
            .parse::<jiff::Timestamp>()
            .map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        Self {
            subject,
            options,
            launcher,
            taken_at,
            begin: Instant::now(),
            earlier: Time::saturating(earlier),
            spent_earlier: recovered.spent,
            load_before: LoadSnapshot::take(),
            watch: DeviceWatch::of(subject.device, subject.machine),
            on_device: BTreeMap::new(),
            children: Vec::new(),
            points: Vec::new(),
            recovered: recovered.rows,
            idle: recovered.idle,
            starts: recovered.starts,
            left_out: Vec::new(),
            caveats: recovered.caveats,
            overheads: Overheads::default(),
            accounts: Accounts::default(),
            journal,
            remarks: Vec::new(),
            first_look_shown: false,
            rounds_begun: None,
            room: room(options.memory, subject.machine.usable_memory()),
        }
    }

    /// Time since the calibration began, in an earlier run if there was one.
    pub fn now(&self) -> Time {
        self.earlier + Time::from(self.begin.elapsed())
    }

    /// Time spent in rounds, by an earlier run as well.
    pub fn spent(&self) -> Time {
        let now = self
            .rounds_begun
            .map_or(Time::ZERO, |begun| Time::from(begun.elapsed()));
        self.spent_earlier + now
    }

    /// Time since this run began.
    pub fn elapsed(&self) -> Time {
        Time::from(self.begin.elapsed())
    }

    /// What a question to child `index` may cost: the memory that the others
    /// have not taken.
    pub fn limits(&self, index: usize, time: Time) -> Limits {
        let others: Bytes = self
            .children
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != index)
            .filter_map(|(_, child)| child.as_ref()?.memory())
            .sum();
        Limits {
            time,
            memory: self.room.map(|room| room - others),
        }
    }

    pub const fn room(&self) -> Option<Bytes> {
        self.room
    }

    /// Writes an entry down; a failure becomes a caveat and a remark, once.
    pub fn note(&mut self, entry: &Entry) {
        if let Err(why) = self.journal.note(entry) {
            self.caveats
                .push(Caveat::new(CaveatKind::Incomplete, why.clone()));
            self.remarks.push(why);
        }
    }

    /// Adds a doubt that the next run, too, must know of.
    pub fn doubt(&mut self, caveat: Caveat) {
        self.note(&Entry::Doubted {
            caveat: caveat.clone(),
        });
        self.caveats.push(caveat);
    }

    pub fn leave_out(&mut self, layout: SessionLayout, batch_size: Option<u32>, why: &str) {
        self.left_out.push(LeftOut {
            layout,
            batch_size,
            why: why.to_owned(),
        });
    }

    fn has_nothing(&self) -> bool {
        self.recovered.is_empty() && self.points.iter().all(|point| point.row.rounds.is_empty())
    }

    fn nothing_measured(&self) -> Error {
        let why = self
            .left_out
            .first()
            .map(|left| left.why.clone())
            .or_else(|| self.caveats.first().map(|caveat| caveat.message.clone()))
            .unwrap_or_else(|| "no layout fits this machine".to_owned());
        Error::machine(format!(
            "{} could not be measured on {}: {why}",
            self.subject.facts.name, self.subject.device
        ))
    }

    /// What there is now, as a calibration.
    pub fn result(&self) -> Calibration {
        let mut rows: Vec<Row> = self.recovered.values().cloned().collect();
        let mut left_out = self.left_out.clone();
        for point in &self.points {
            if point.row.rounds.is_empty() {
                left_out.push(LeftOut {
                    layout: point.row.layout,
                    batch_size: Some(point.row.batch_size),
                    why: "no inference was completed".to_owned(),
                });
            } else {
                let power = point.drawn.power().or(point.row.power);
                rows.push(Row {
                    power,
                    ..point.row.clone()
                });
            }
        }
        for row in &mut rows {
            row.samples = condensed(&row.samples, SAMPLES_KEPT);
            row.hold_ups = row.hold_ups.condensed(HOLD_UPS_KEPT);
            row.interference = row.interference.thinned(BLOCKS_KEPT);
        }
        rows.sort_by_key(|row| (row.layout, row.batch_size));
        left_out.sort_by_key(|left| (left.layout, left.batch_size));
        let mut starts = self.starts.clone();
        starts.sort_by_key(|start| start.layout);
        let disturbance = load::between(&self.load_before, &LoadSnapshot::take());
        let (steadiness, doubts) = judge(&rows, &disturbance, self.subject.machine);
        let mut caveats = self.caveats.clone();
        caveats.extend(doubts);
        caveats.extend(self.watch.caveats());
        caveats.extend(fallback(self.subject.device, &starts));
        caveats.extend(batching_is_off(&rows, self.subject.facts.max_batch));
        Calibration {
            machine_type: None,
            schema: SCHEMA,
            taken_at: self.taken_at.clone(),
            fingerprint: self.subject.fingerprint(),
            machine: self.subject.machine.clone(),
            model: self.subject.facts.clone(),
            device: self.subject.device.clone(),
            rows,
            starts,
            left_out,
            idle_gaps: self.idle_gaps(),
            overheads: self.overheads.clone(),
            steadiness: Some(steadiness),
            between_runs: self.options.between_runs,
            caveats,
        }
    }
}

/// A model whose batch is fixed cannot be batched by a server.
fn batching_is_off(rows: &[Row], max_batch: Option<u32>) -> Option<Caveat> {
    let size = max_batch.filter(|most| rows.iter().all(|row| row.batch_size == *most))?;
    let what = match size {
        1 => "one item at a time".to_owned(),
        n => format!("batches of exactly {n}"),
    };
    Some(
        Caveat::new(
            CaveatKind::Limit,
            format!("the model takes {what}, so batching is off"),
        )
        .hint("export it with a free batch dimension to let a server form batches"),
    )
}

/// A GPU row in which the CPU ran some of the nodes is not a GPU row.
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
                "{} of {total} nodes ran on the CPU, not on {device}: these rows are of both together",
                total - there
            ),
        )
        .hint("the model uses operators for which ONNX Runtime has no CUDA kernel")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::NodePlacement;

    fn start(nodes: &[(&str, u32)]) -> Start {
        Start {
            layout: SessionLayout {
                instances: 1,
                intra_op_threads: 1,
                spinning: false,
            },
            load: Time::ZERO,
            first_inference: Time::ZERO,
            loaded_memory_bytes: None,
            nodes: nodes
                .iter()
                .map(|(provider, nodes)| NodePlacement {
                    provider: (*provider).to_owned(),
                    nodes: *nodes,
                })
                .collect(),
        }
    }

    #[test]
    fn nodes_that_fell_back_to_the_cpu_are_told() {
        let gpu = Device::Cuda {
            index: 0,
            name: "L4".to_owned(),
        };
        let mixed = [start(&[
            ("CPUExecutionProvider", 3),
            ("CUDAExecutionProvider", 97),
        ])];
        let caveat = fallback(&gpu, &mixed).unwrap();
        assert_eq!(caveat.kind, CaveatKind::Fallback);
        assert!(caveat.message.starts_with("3 of 100 nodes"), "{caveat}");
        assert_eq!(
            fallback(&gpu, &[start(&[("CUDAExecutionProvider", 9)])]),
            None
        );
        assert_eq!(fallback(&gpu, &[start(&[])]), None);
    }
}
