//! The child's side: loads sessions, runs what it is asked to, times it.

use super::protocol::{Answer, LoadRequest, Request};
use crate::{
    error::{Error, Result},
    measure::runtime::session::{PreparedInputs, Session, SessionOptions, environment},
    model::InputSpec,
    profile::calibration::NodePlacement,
    units::{Bytes, Time},
};
use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    sync::{
        Barrier, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// Different inputs of one batch size that take turns: one repeated input made
/// a tree ensemble 3.7 times as fast, because the branches become predictable.
const INPUT_SETS: u64 = 16;

/// Inputs of one batch size together stay below this, so that large images do
/// not fill the memory.
const INPUT_BYTES: u64 = 256 << 20;

/// Serves requests until the input ends.
///
/// # Errors
/// The pipes break. Everything else is answered as [`Answer::Failed`].
pub fn serve(requests: impl BufRead, mut answers: impl Write) -> Result<()> {
    let broken =
        |error: std::io::Error| Error::machine(format!("the pipe to the parent broke: {error}"));
    let mut worker = Worker::default();
    for line in requests.lines() {
        let line = line.map_err(broken)?;
        let answer = serde_json::from_str::<Request>(&line)
            .map_err(|error| Error::machine(format!("not a request: {error}")))
            .and_then(|request| worker.handle(request))
            .unwrap_or_else(|error| Answer::Failed {
                message: error.to_string(),
            });
        let text = serde_json::to_string(&answer)
            .map_err(|error| Error::machine(format!("cannot write an answer: {error}")))?;
        writeln!(answers, "{text}").map_err(broken)?;
        answers.flush().map_err(broken)?;
    }
    Ok(())
}

#[derive(Default)]
struct Worker {
    loaded: Option<Loaded>,
}

struct Loaded {
    request: Box<LoadRequest>,
    sessions: Vec<Session>,
    inputs: BTreeMap<u32, Vec<PreparedInputs>>,
}

impl Worker {
    fn handle(&mut self, request: Request) -> Result<Answer> {
        if let Request::Load(request) = request {
            let (loaded, load) = Loaded::new(request)?;
            self.loaded = Some(loaded);
            return Ok(Answer::Loaded {
                load,
                memory_bytes: resident_set("VmRSS:"),
            });
        }
        let loaded = self
            .loaded
            .as_mut()
            .ok_or_else(|| Error::machine("no model is loaded yet"))?;
        match request {
            Request::Warm { batch_size } => loaded.warm(batch_size),
            Request::Run {
                batch_size,
                duration,
                at_least,
            } => loaded.run(batch_size, duration, at_least),
            Request::CountNodes => Ok(Answer::Counted {
                nodes: loaded.count_nodes()?,
            }),
            Request::Load(_) => Err(Error::machine("a load within a load")),
        }
    }
}

impl Loaded {
    fn new(request: Box<LoadRequest>) -> Result<(Self, Time)> {
        let environment = environment(&request.library)?;
        let options = SessionOptions {
            device: &request.device,
            intra_op_threads: request.layout.intra_op_threads,
            spinning: request.layout.spinning,
            profile_prefix: None,
        };
        let begin = Instant::now();
        let mut sessions = vec![Session::load(&environment, &request.model, &options)?];
        let load = Time::from(begin.elapsed());
        for _ in 1..request.layout.instances {
            sessions.push(Session::load(&environment, &request.model, &options)?);
        }
        Ok((
            Self {
                request,
                sessions,
                inputs: BTreeMap::new(),
            },
            load,
        ))
    }

    fn prepare(&mut self, batch_size: u32) -> Result<()> {
        if !self.inputs.contains_key(&batch_size) {
            let sets = prepared(&self.request.inputs, batch_size)?;
            self.inputs.insert(batch_size, sets);
        }
        Ok(())
    }

    /// Runs the first session until two runs in a row agree within a fifth, at
    /// most ten times, and every other session twice.
    fn warm(&mut self, batch_size: u32) -> Result<Answer> {
        self.prepare(batch_size)?;
        let inputs = self.inputs.get(&batch_size).map_or(&[][..], Vec::as_slice);
        let input = inputs
            .first()
            .ok_or_else(|| Error::machine("no inputs could be made"))?;
        let (session, others) = self
            .sessions
            .split_first_mut()
            .ok_or_else(|| Error::machine("no session is loaded"))?;
        let first = timed(session, input)?;
        let mut steady = first;
        let mut last = first;
        for _ in 0..10 {
            let next = timed(session, input)?;
            steady = steady.min(next);
            if next.ratio(last) > 0.8 && next.ratio(last) < 1.25 {
                break;
            }
            last = next;
        }
        for session in others {
            session.run(input)?;
        }
        Ok(Answer::Warmed { first, steady })
    }

    /// Runs all instances at once, each in its own thread, until every one has
    /// its share. A run that ended after the first instance had finished its
    /// share still counts while the others are at work: it was contended. Those
    /// that end after all have finished do not.
    fn run(&mut self, batch_size: u32, duration: Time, at_least: u32) -> Result<Answer> {
        self.prepare(batch_size)?;
        let inputs = self.inputs.get(&batch_size).map_or(&[][..], Vec::as_slice);
        reset_peak();
        let instances = self.sessions.len();
        let unfinished = AtomicU32::new(instances as u32);
        let barrier = Barrier::new(instances);
        let collected = Mutex::new((Vec::new(), None));
        std::thread::scope(|scope| {
            for (index, session) in self.sessions.iter_mut().enumerate() {
                let (unfinished, barrier, collected) = (&unfinished, &barrier, &collected);
                scope.spawn(move || {
                    barrier.wait();
                    let share = Share {
                        inputs,
                        offset: index,
                        duration,
                        at_least: at_least.max(1),
                    };
                    let result = share.work(session, unfinished);
                    let mut slot = collected.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(times) => slot.0.extend(times),
                        Err(error) => slot.1 = Some(error),
                    }
                });
            }
        });
        let (mut times, failure) = collected
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failure {
            return Err(error);
        }
        times.sort_by_key(|(end, _): &(Time, Time)| *end);
        Ok(Answer::Ran {
            service: times.into_iter().map(|(_, service)| service).collect(),
            peak_memory_bytes: resident_set("VmHWM:"),
        })
    }

    /// Loads the model once more with the profiler on and runs it once.
    fn count_nodes(&mut self) -> Result<Vec<NodePlacement>> {
        let folder = tempfile::tempdir()
            .map_err(|error| Error::machine(format!("no temporary folder: {error}")))?;
        let environment = environment(&self.request.library)?;
        let mut session = Session::load(
            &environment,
            &self.request.model,
            &SessionOptions {
                device: &self.request.device,
                intra_op_threads: self.request.layout.intra_op_threads,
                spinning: self.request.layout.spinning,
                profile_prefix: Some(&folder.path().join("nodes")),
            },
        )?;
        self.prepare(1)?;
        if let Some(input) = self.inputs.get(&1).and_then(|sets| sets.first()) {
            session.run(input)?;
        }
        session.count_nodes()
    }
}

/// What one instance does in one request.
struct Share<'i> {
    inputs: &'i [PreparedInputs],
    offset: usize,
    duration: Time,
    at_least: u32,
}

impl Share<'_> {
    /// Runs until this instance has its share and every other one too; returns
    /// (end, service time) pairs.
    fn work(&self, session: &mut Session, unfinished: &AtomicU32) -> Result<Vec<(Time, Time)>> {
        let begin = Instant::now();
        let mut times = Vec::new();
        let mut finished = false;
        let mut turn = self.offset;
        let outcome = loop {
            let Some(input) = self.inputs.get(turn % self.inputs.len().max(1)) else {
                break Err(Error::machine("no inputs could be made"));
            };
            turn += 1;
            match timed(session, input) {
                Ok(service) => {
                    if finished && unfinished.load(Ordering::Acquire) == 0 {
                        break Ok(());
                    }
                    times.push((Time::from(begin.elapsed()), service));
                }
                Err(error) => break Err(error),
            }
            if !finished
                && times.len() >= self.at_least as usize
                && Time::from(begin.elapsed()) >= self.duration
            {
                finished = true;
                unfinished.fetch_sub(1, Ordering::AcqRel);
            }
            if finished && unfinished.load(Ordering::Acquire) == 0 {
                break Ok(());
            }
        };
        if !finished {
            // The others must not wait for an instance that gave up.
            unfinished.fetch_sub(1, Ordering::AcqRel);
        }
        outcome.map(|()| times)
    }
}

fn timed(session: &mut Session, input: &PreparedInputs) -> Result<Time> {
    let begin = Instant::now();
    session.run(input)?;
    Ok(Time::from(begin.elapsed()))
}

fn prepared(specs: &[InputSpec], batch_size: u32) -> Result<Vec<PreparedInputs>> {
    let specs: Vec<InputSpec> = specs
        .iter()
        .map(|spec| of_batch(spec, batch_size))
        .collect();
    let bytes: u64 = specs
        .iter()
        .map(|spec| spec.element.bytes(spec.elements()).get())
        .sum();
    let sets = (INPUT_BYTES / bytes.max(1)).clamp(2, INPUT_SETS);
    (0..sets)
        .map(|seed| Session::prepare(&specs, seed))
        .collect()
}

/// The same input for another batch size.
fn of_batch(spec: &InputSpec, batch_size: u32) -> InputSpec {
    let mut spec = spec.clone();
    if let Some(dim) = spec.batch_axis.and_then(|axis| spec.dims.get_mut(axis)) {
        *dim = u64::from(batch_size);
    }
    spec
}

/// A line of this process's status, where the system has it.
fn resident_set(field: &str) -> Option<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes::new(kib.saturating_mul(1024)))
}

/// Makes the kernel forget this process's highest resident set (proc(5), `clear_refs`).
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
