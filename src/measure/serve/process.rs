//! A replica in a child process: the very process that calibration measures in,
//! so that sessions are loaded, kept to cores and timed in the same way.

use crate::{
    error::{Error, Result},
    measure::{
        calibrate::{Answer, Launcher, Limits, LoadRequest, MeasuringChild, Request, Timed},
        replica::{Rule, ServedBatch},
        runtime::{Library, cores::cores_of_instances},
    },
    model::InputSpec,
    profile::{
        calibration::{Device, Round, SessionLayout},
        hold_ups::HoldUps,
        interference::Interference,
        machine::Machine,
    },
    units::{Bytes, Time},
};
use std::{path::Path, sync::atomic::AtomicBool};

/// Time for loading and for one batch size to warm up.
const PATIENCE: f64 = 180.0;

/// What is served.
#[derive(Debug, Clone, Copy)]
pub struct Served<'s> {
    /// The machine, as probed.
    pub machine: &'s Machine,
    /// Where it runs.
    pub device: &'s Device,
    /// The ONNX Runtime to use.
    pub library: &'s Library,
    /// The model file.
    pub model: &'s Path,
    /// What to feed it.
    pub inputs: &'s [InputSpec],
}

/// A replica that is loaded and ready.
#[derive(Debug)]
pub struct ReplicaProcess {
    child: MeasuringChild,
    memory: Option<Bytes>,
    /// How its sessions are laid out.
    pub layout: SessionLayout,
    /// The cores of each instance; empty where the scheduler places them.
    pub cores: Vec<Vec<u32>>,
}

/// What a load came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Every batch that was run, in the order of its requests.
    pub batches: Vec<ServedBatch>,
    /// Processor time of the whole replica, spinning included.
    pub processor: Time,
    /// What the runtime said of the first inference that failed.
    pub failure: Option<String>,
}

/// One visit of a batch size: the round and some of its service times.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// The round, at time 0.
    pub round: Round,
    /// Service times without those that were held up; where there were many,
    /// means of equal shares of them.
    pub samples: Vec<Time>,
    /// Those that were.
    pub hold_ups: HoldUps,
}

/// Batches of all sizes that were run without pause.
#[derive(Debug, Clone, PartialEq)]
pub struct Saturated {
    /// By batch size, ascending.
    pub by_size: Vec<(u32, Visit)>,
    /// What the instances met of interference, over all sizes.
    pub interference: Interference,
}

/// Gaps that were waited for: the mean service time back to back, and for each
/// gap its length, the mean time after it, how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    /// Mean service time back to back, before and after the gaps.
    pub back_to_back: Time,
    /// Gap, mean time from its end to that of the inference, inferences.
    pub after: Vec<(Time, Time, u32)>,
}

impl Load {
    /// The latency of each of these requests; none for one that was not served
    /// or whose inference failed.
    #[must_use]
    pub fn latencies(&self, arrivals: &[Time]) -> Vec<Option<Time>> {
        let mut latencies = vec![None; arrivals.len()];
        for batch in self.batches.iter().filter(|batch| !batch.failed) {
            let first = batch.first as usize;
            for request in first..first + batch.items as usize {
                if let (Some(slot), Some(arrival)) =
                    (latencies.get_mut(request), arrivals.get(request))
                {
                    *slot = Some(batch.end - *arrival);
                }
            }
        }
        latencies
    }
}

impl Visit {
    fn of(timed: Timed) -> Self {
        Self {
            round: Round {
                inferences: timed.inferences,
                mean: timed.mean,
                at: Time::ZERO,
            },
            samples: timed.service,
            hold_ups: timed.hold_ups,
        }
    }
}

impl ReplicaProcess {
    /// Starts a child and loads the model into as many sessions as there are
    /// instances. `memory` is the most that they may take.
    ///
    /// # Errors
    /// The child cannot be started, or the model cannot be loaded.
    pub fn start(
        served: &Served<'_>,
        layout: SessionLayout,
        launcher: &Launcher,
        memory: Option<Bytes>,
    ) -> Result<Self> {
        let cores = cores_of_instances(served.device, layout, served.machine.usable_threads());
        let mut replica = Self {
            child: MeasuringChild::start(launcher)?,
            memory,
            layout,
            cores: cores.clone(),
        };
        let request = Request::Load(Box::new(LoadRequest {
            library: served.library.path.clone(),
            model: served.model.to_owned(),
            device: served.device.clone(),
            layout,
            cores,
            inputs: served.inputs.to_vec(),
        }));
        match replica.ask(&request, Time::saturating(PATIENCE))? {
            Answer::Loaded { .. } => Ok(replica),
            _ => Err(out_of_step()),
        }
    }

    fn ask(&mut self, request: &Request, time: Time) -> Result<Answer> {
        let limits = Limits {
            time,
            memory: self.memory,
        };
        self.child.ask(request, limits)
    }

    /// Runs every batch size up to the largest on every instance; returns what
    /// one inference of the largest takes.
    ///
    /// # Errors
    /// The child died, or an inference failed.
    pub fn warm(&mut self, max_batch: u32) -> Result<Time> {
        match self.ask(
            &Request::WarmAll { max_batch },
            Time::saturating(PATIENCE * f64::from(self.layout.instances)),
        )? {
            Answer::WarmedAll { largest } => Ok(largest),
            _ => Err(out_of_step()),
        }
    }

    /// Serves batches of all sizes (powers of two and the largest) in turn without
    /// pause on all instances for about so long: service times as a load meets them
    /// at its peak, with what the queue itself costs.
    ///
    /// # Errors
    /// The child died, or an inference failed.
    pub fn saturate(&mut self, max_batch: u32, duration: Time) -> Result<Saturated> {
        let request = Request::Saturate {
            max_batch,
            duration,
        };
        match self.ask(&request, Time::saturating(PATIENCE) + duration.scaled(4.0))? {
            Answer::Saturated {
                by_size,
                interference,
            } => Ok(Saturated {
                by_size: by_size
                    .into_iter()
                    .map(|(size, timed)| (size, Visit::of(timed)))
                    .collect(),
                interference,
            }),
            _ => Err(out_of_step()),
        }
    }

    /// Runs one batch size back to back and after gaps, on one instance.
    ///
    /// # Errors
    /// The child died, or an inference failed.
    pub fn after_gaps(&mut self, batch_size: u32, gaps: Vec<(Time, u32)>) -> Result<Gaps> {
        match self.ask(
            &Request::Idle { batch_size, gaps },
            Time::saturating(PATIENCE),
        )? {
            Answer::Idled {
                back_to_back,
                after,
                ..
            } => Ok(Gaps {
                back_to_back,
                after,
            }),
            _ => Err(out_of_step()),
        }
    }

    /// Serves the model over HTTP on loopback as `advisor`, beside the replica
    /// and with a session of its own; returns the URL.
    ///
    /// # Errors
    /// The child died, or no port can be had.
    pub fn listen(&mut self) -> Result<String> {
        match self.ask(&Request::Listen, Time::saturating(PATIENCE))? {
            Answer::Listening { port } => Ok(format!("http://127.0.0.1:{port}")),
            _ => Err(out_of_step()),
        }
    }

    /// Drives the replica with these arrivals; a set `stop` ends it early with
    /// what was served.
    ///
    /// # Errors
    /// The child died, or did not end in time: a load that cannot be carried is
    /// given ten times its length.
    pub fn drive(&mut self, arrivals: &[Time], rule: Rule, stop: &AtomicBool) -> Result<Load> {
        let length = arrivals.last().copied().unwrap_or_default();
        let limits = Limits {
            time: Time::saturating(PATIENCE) + length.scaled(10.0),
            memory: self.memory,
        };
        let request = Request::Serve {
            arrivals: arrivals.iter().map(|time| time.to_nanos()).collect(),
            rule,
        };
        match self.child.ask_unless(&request, limits, stop)? {
            Answer::Served {
                batches,
                processor,
                failure,
            } => Ok(Load {
                batches,
                processor,
                failure,
            }),
            _ => Err(out_of_step()),
        }
    }
}

fn out_of_step() -> Error {
    Error::machine("the serving process answered another question")
}
