//! The child's side: loads sessions, runs what it is asked to, times it.

use super::{
    gaps::after_gaps,
    guard::kibibytes,
    inputs::{Turns, bytes_of, first_input, prepared, sets_of},
    processor::processor_time,
    protocol::{Answer, LoadRequest, Request},
    saturating::{Sequence, sizes},
    visit::{Share, timed, told_by_instances},
};
use crate::{
    error::{Error, Result},
    measure::{
        replica::{
            Clock, Instance, Rule, ServedBatch, Work, drive, drive_sizes,
            http_server::{self, Infer, NamedTensor},
            protocol::{ModelMetadata, TensorMetadata, datatype},
            sleep_precisely,
        },
        runtime::{
            cores::keep_calling_thread,
            session::{Ends, PreparedInputs, Session, SessionOptions, environment},
        },
    },
    profile::calibration::{Copies, Device, NodePlacement},
    units::{Bytes, Time},
};
use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    sync::{
        Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    time::Instant,
};

/// Seconds of inferences that tell how many there are to be in a visit.
const LOOK: f64 = 0.001;

/// Seconds for which all batch sizes of a session are warmed up.
const WARM_ALL: f64 = 8.0;

/// Set by a request to stop, which may come in the middle of a load.
static STOP: AtomicBool = AtomicBool::new(false);

/// Turns of the loop without an inference.
const HARNESS_RUNS: u32 = 20_000;

/// Serves requests until the input ends.
///
/// # Errors
/// The pipes break. Everything else is answered as a failure.
pub fn serve(requests: impl BufRead + Send + 'static, mut answers: impl Write) -> Result<()> {
    let broken =
        |error: std::io::Error| Error::machine(format!("the pipe to the parent broke: {error}"));
    volunteer();
    let mut worker = Worker::default();
    for line in lines_without_stops(requests) {
        let line = line.map_err(broken)?;
        let answer = parsed(&line)
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

fn parsed(line: &str) -> Result<Request> {
    serde_json::from_str(line).map_err(|error| Error::machine(format!("not a request: {error}")))
}

/// Reads on while a request is being handled, so that a stop gets through.
fn lines_without_stops(
    requests: impl BufRead + Send + 'static,
) -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in requests.lines() {
            if let Ok(text) = &line
                && matches!(parsed(text), Ok(Request::Stop))
            {
                STOP.store(true, Ordering::Relaxed);
            } else if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
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
            } => loaded.run(batch_size, (duration, at_least)),
            Request::Idle { batch_size, gaps } => loaded.idle(batch_size, &gaps),
            Request::WarmAll { max_batch } => loaded.warm_all(max_batch),
            Request::Listen => loaded.listen(),
            Request::Serve { arrivals, rule } => loaded.serve(&arrivals, rule),
            Request::Saturate {
                max_batch,
                duration,
            } => loaded.saturate(max_batch, duration),
            Request::Harness => loaded.harness(),
            Request::Copies { batch_size } => loaded.copies(batch_size),
            Request::ProcessorTime => Ok(Answer::ProcessorTime {
                used: processor_time(),
            }),
            Request::CountNodes => Ok(Answer::Counted {
                nodes: loaded.count_nodes()?,
            }),
            Request::Load(_) | Request::Stop => Err(Error::machine("out of place")),
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
            cores: &[],
            profile_prefix: None,
        };
        let cores = |instance: u32| {
            let own = request.cores.get(instance as usize);
            own.map_or(&[][..], Vec::as_slice)
        };
        let of = |instance| SessionOptions {
            cores: cores(instance),
            ..options.clone()
        };
        let begin = Instant::now();
        let mut sessions = vec![Session::load(&environment, &request.model, &of(0))?];
        let load = Time::from(begin.elapsed());
        for instance in 1..request.layout.instances {
            sessions.push(Session::load(&environment, &request.model, &of(instance))?);
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
            let sets = sets_of(bytes_of(&self.request.inputs, batch_size));
            let made = prepared(&self.request.inputs, batch_size, sets)?;
            self.inputs.insert(batch_size, made);
        }
        Ok(())
    }

    /// Runs the first session until two runs in a row agree within a fifth, at
    /// most ten times, and every other session twice.
    fn warm(&mut self, batch_size: u32) -> Result<Answer> {
        self.prepare(batch_size)?;
        let (input, session, others) = self.first(batch_size)?;
        reset_peak();
        let begun = processor_time();
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
        Ok(Answer::Warmed {
            first,
            steady,
            peak_memory_bytes: resident_set("VmHWM:"),
            inference_cpu: processor_time() - begun,
        })
    }

    /// The first inputs of a batch size, the first session and the others.
    fn first(
        &mut self,
        batch_size: u32,
    ) -> Result<(&PreparedInputs, &mut Session, &mut [Session])> {
        let input = self
            .inputs
            .get(&batch_size)
            .and_then(|sets| sets.first())
            .ok_or_else(|| Error::machine("no inputs could be made"))?;
        let (session, others) = self
            .sessions
            .split_first_mut()
            .ok_or_else(|| Error::machine("no session is loaded"))?;
        Ok((input, session, others))
    }

    /// Runs instances at once, each in its own thread, until every one has
    /// its share. A run that ended after the first instance had finished its
    /// share still counts while the others are at work: it was contended. Those
    /// that end after all have finished do not.
    fn run(&mut self, batch_size: u32, (duration, at_least): (Time, u32)) -> Result<Answer> {
        self.prepare(batch_size)?;
        let inputs = self.inputs.get(&batch_size).map_or(&[][..], Vec::as_slice);
        let begun = processor_time();
        let instances = self.sessions.len();
        let cores = &self.request.cores;
        let unfinished = AtomicU32::new(instances as u32);
        let barrier = Barrier::new(instances);
        let collected = Mutex::new((Vec::new(), None));
        std::thread::scope(|scope| {
            for (index, session) in self.sessions.iter_mut().enumerate() {
                let own = cores.get(index).map_or(&[][..], Vec::as_slice);
                let (unfinished, barrier, collected) = (&unfinished, &barrier, &collected);
                scope.spawn(move || {
                    keep_calling_thread(own);
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
                        Ok(times) => slot.0.push(times),
                        Err(error) => slot.1 = Some(error),
                    }
                });
            }
        });
        let (times, failure) = collected
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failure {
            return Err(error);
        }
        Ok(Answer::Ran {
            timed: told_by_instances(batch_size, times),
            inference_cpu: processor_time() - begun,
        })
    }

    /// Back to back, after each gap, back to back again: the comparison is with
    /// the same seconds, so that drift between visits falls out. Waits as an
    /// instance of a replica does, and counts from the end of the gap.
    fn idle(&mut self, batch_size: u32, gaps: &[(Time, u32)]) -> Result<Answer> {
        self.prepare(batch_size)?;
        let inputs = self.inputs.get(&batch_size).map_or(&[][..], Vec::as_slice);
        let cores = self.request.cores.first().map_or(&[][..], Vec::as_slice);
        let session = self
            .sessions
            .first_mut()
            .ok_or_else(|| Error::machine("no session is loaded"))?;
        let begun = processor_time();
        // A thread of its own, to be kept to a core.
        let (back_to_back, after) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                keep_calling_thread(cores);
                sleep_precisely();
                let clock = if cores.is_empty() {
                    Clock::without_spin(Instant::now())
                } else {
                    Clock::with_spin(Instant::now())
                };
                after_gaps(session, &mut Turns::new(inputs, 1), (clock, gaps))
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::machine("the measuring thread ended early")))
        })?;
        Ok(Answer::Idled {
            back_to_back,
            after,
            inference_cpu: processor_time() - begun,
        })
    }

    /// Every batch size up to the largest once on every session, the largest
    /// first, so that memory is taken once. Where that would take long only
    /// every size that is a power of two.
    fn warm_all(&mut self, max_batch: u32) -> Result<Answer> {
        let max_batch = max_batch.max(1);
        self.prepare_all(max_batch)?;
        let mut largest = Time::ZERO;
        for session in &mut self.sessions {
            let input = first_input(&self.inputs, max_batch)?;
            timed(session, input)?;
            largest = timed(session, input)?;
            let all = largest.scaled(f64::from(max_batch) / 2.0);
            for size in (1..max_batch).rev() {
                if all.get() < WARM_ALL || size.is_power_of_two() {
                    session.run(first_input(&self.inputs, size)?)?;
                }
            }
        }
        Ok(Answer::WarmedAll { largest })
    }

    /// Inputs of every batch size up to the largest, as many sets as fit.
    fn prepare_all(&mut self, max_batch: u32) -> Result<()> {
        let bytes: u64 = (1..=max_batch)
            .map(|size| bytes_of(&self.request.inputs, size).get())
            .sum();
        for size in 1..=max_batch {
            if !self.inputs.contains_key(&size) {
                let made = prepared(&self.request.inputs, size, sets_of(Bytes::new(bytes)))?;
                self.inputs.insert(size, made);
            }
        }
        Ok(())
    }

    /// Serves the model over HTTP, with a session of its own.
    fn listen(&self) -> Result<Answer> {
        let environment = environment(&self.request.library)?;
        let options = SessionOptions {
            device: &self.request.device,
            intra_op_threads: self.request.layout.intra_op_threads,
            spinning: self.request.layout.spinning,
            cores: &[],
            profile_prefix: None,
        };
        let session = Session::load(&environment, &self.request.model, &options)?;
        let inputs = self.request.inputs.iter().map(|spec| TensorMetadata {
            name: spec.name.clone(),
            datatype: datatype(spec.element).unwrap_or("BYTES").to_owned(),
            shape: spec
                .dims
                .iter()
                .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
                .collect(),
        });
        let metadata = ModelMetadata {
            name: "advisor".to_owned(),
            platform: "onnxruntime_onnx".to_owned(),
            inputs: inputs.collect(),
            outputs: Vec::new(),
        };
        let port = http_server::listen(OverHttp { session }, metadata)?;
        Ok(Answer::Listening { port })
    }

    /// Serves a load with all sessions.
    fn serve(&mut self, arrivals: &[Time], rule: Rule) -> Result<Answer> {
        self.prepare_all(rule.max_batch)?;
        let begun = processor_time();
        let (batches, failure) = self.drive(arrivals, rule);
        Ok(Answer::Served {
            batches,
            processor: processor_time() - begun,
            failure,
        })
    }

    /// Serves batches of all sizes without pause, with all sessions, for about so
    /// long: service times with what serving itself adds to them. Sizes take turns,
    /// since a batch after one of another size finds other caches.
    fn saturate(&mut self, max_batch: u32, duration: Time) -> Result<Answer> {
        let mut each = Vec::new();
        for size in sizes(max_batch) {
            each.push((size, self.shortest(size)?));
        }
        let sequence = Sequence::new(&each, duration, self.sessions.len());
        let in_turn = sequence.in_turn.clone();
        let (served, failure) = self.crewed(|crew| drive_sizes(crew, in_turn, &STOP));
        match failure {
            Some(failure) => Err(Error::machine(failure)),
            None => Ok(sequence.came_to(&served)),
        }
    }

    /// What the first session takes for a batch of that size: the least of a few,
    /// with inputs in turn as under load.
    fn shortest(&mut self, batch_size: u32) -> Result<Time> {
        self.prepare(batch_size)?;
        let mut inputs = Turns::new(self.inputs.get(&batch_size).map_or(&[], Vec::as_slice), 0);
        let session = self
            .sessions
            .first_mut()
            .ok_or_else(|| Error::machine("no session is loaded"))?;
        let mut one = timed(session, inputs.next()?)?;
        let mut spent = one;
        while spent.get() < LOOK {
            let again = timed(session, inputs.next()?)?;
            spent = spent + again;
            one = one.min(again);
        }
        Ok(one)
    }

    /// What was served, and the first failure.
    fn drive(&mut self, arrivals: &[Time], rule: Rule) -> (Vec<ServedBatch>, Option<String>) {
        self.crewed(|crew| drive(crew, arrivals, rule, &STOP))
    }

    /// Lets all sessions serve, and tells the first failure.
    fn crewed(
        &mut self,
        drive: impl FnOnce(Vec<Instance<Serving<'_>>>) -> Vec<ServedBatch>,
    ) -> (Vec<ServedBatch>, Option<String>) {
        let failure = Mutex::new(None);
        let inputs = &self.inputs;
        let crew = self
            .sessions
            .iter_mut()
            .enumerate()
            .map(|(index, session)| Instance {
                work: Serving {
                    session,
                    inputs,
                    turn: index,
                    failure: &failure,
                },
                cores: self.request.cores.get(index).cloned().unwrap_or_default(),
            })
            .collect();
        STOP.store(false, Ordering::Relaxed);
        let batches = drive(crew);
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        (batches, failure)
    }

    /// The loop of [`Share::work`] with everything but the inference.
    fn harness(&mut self) -> Result<Answer> {
        self.prepare(1)?;
        let (input, ..) = self.first(1)?;
        let mut times = Vec::new();
        let begin = Instant::now();
        for _ in 0..HARNESS_RUNS {
            let start = Instant::now();
            Session::only_list_inputs(input);
            let service = Time::from(start.elapsed());
            times.push((Time::from(begin.elapsed()), service));
        }
        let each = Time::from(begin.elapsed()).scaled(1.0 / f64::from(HARNESS_RUNS));
        std::hint::black_box(times);
        Ok(Answer::Harness { each })
    }

    /// Differences between runs in which one end or the other stays on the device.
    fn copies(&mut self, batch_size: u32) -> Result<Answer> {
        let Device::Cuda { index, .. } = self.request.device else {
            return Err(Error::machine("a CPU copies nothing to a device"));
        };
        self.prepare(batch_size)?;
        let (input, session, _) = self.first(batch_size)?;
        let mut mean = |inputs_on_device: bool, outputs_on_device: bool| -> Result<Time> {
            let mut bound = session.bind(
                input,
                Ends {
                    device: index,
                    inputs_on_device,
                    outputs_on_device,
                },
            )?;
            let fresh = (!inputs_on_device).then_some(input);
            for _ in 0..3 {
                session.run_bound(&mut bound, fresh)?;
            }
            let begin = Instant::now();
            let mut runs = 0_u32;
            while runs < 5 || (Time::from(begin.elapsed()).get() < 0.05 && runs < 10_000) {
                session.run_bound(&mut bound, fresh)?;
                runs += 1;
            }
            Ok(Time::from(begin.elapsed()).scaled(1.0 / f64::from(runs)))
        };
        let compute = mean(true, true)?;
        let with_inputs = mean(false, true)?;
        let with_outputs = mean(true, false)?;
        Ok(Answer::Copied {
            copies: Copies {
                batch_size,
                to_device: with_inputs - compute,
                from_device: with_outputs - compute,
                compute,
            },
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
                cores: &[],
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

/// An instance of a replica.
struct Serving<'s> {
    session: &'s mut Session,
    inputs: &'s BTreeMap<u32, Vec<PreparedInputs>>,
    turn: usize,
    failure: &'s Mutex<Option<String>>,
}

impl Work for Serving<'_> {
    fn run(&mut self, items: u32) -> Result<()> {
        let sets = self.inputs.get(&items).map_or(&[][..], Vec::as_slice);
        self.turn += 1;
        let input = sets
            .get(self.turn % sets.len().max(1))
            .ok_or_else(|| Error::machine("no inputs could be made"))?;
        self.session.run(input).inspect_err(|error| {
            self.failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| error.message().to_owned());
        })
    }
}

/// A session behind HTTP.
struct OverHttp {
    session: Session,
}

impl Infer for OverHttp {
    fn infer(&mut self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        let inputs = inputs
            .into_iter()
            .map(|tensor| (tensor.name, tensor.dims, tensor.values))
            .collect();
        let outputs = self.session.run_values(inputs)?;
        Ok(outputs
            .into_iter()
            .map(|(name, dims, values)| NamedTensor { name, dims, values })
            .collect())
    }
}

/// Asks the kernel to end this process first when memory runs out (proc(5),
/// `oom_score_adj`), since the calibrating process has more to lose, and to end
/// it when the calibrating process is gone, even from within a hanging library.
fn volunteer() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    #[cfg(target_os = "linux")]
    {
        let kill = rustix::process::Signal::KILL;
        let _ = rustix::process::set_parent_process_death_signal(Some(kill));
    }
}

/// A line of this process's status, where the system has it.
fn resident_set(field: &str) -> Option<Bytes> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

/// Makes the kernel forget this process's highest resident set (proc(5), `clear_refs`).
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
