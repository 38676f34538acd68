use crate::error::{Error, Result};
use crate::units::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a server makes batches of the requests that wait.
///
/// The semantics of each, with its source, stand in `plan::queueing::batcher`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batcher {
    /// Every request alone, by the first free instance.
    None,
    /// A batch is made when an instance is free: all that wait, up to the
    /// maximum, held back at most the batch window for more.
    #[default]
    WhenFree,
    /// The dynamic batcher of NVIDIA Triton (max queue delay, preferred batch sizes).
    Triton {
        /// The batch sizes to aim at; empty means the maximum batch size, as in Triton.
        preferred_batch_sizes: Vec<u32>,
    },
    /// The adaptive batching of Seldon's `MLServer` (max batch size, max batch time)
    /// with workers in processes of their own (`parallel_workers` 1 and more).
    MlServer,
    /// The same with the model in the server's own process (`parallel_workers` 0).
    MlServerInProcess,
    /// The batcher of the `KServe` agent (`maxBatchSize`, `maxLatency`).
    KServe,
}

impl fmt::Display for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no batching",
            Self::WhenFree => "batch when free",
            Self::Triton { .. } => "Triton dynamic batcher",
            Self::MlServer => "MLServer adaptive batching",
            Self::MlServerInProcess => "MLServer in-process adaptive batching",
            Self::KServe => "KServe batcher",
        })
    }
}

/// How requests are spread over replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancer {
    /// Each request to a replica drawn at random: the pessimistic default.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// To the replica with the fewest requests waiting or running; among equals
    /// in turn (as the `least_conn` method of nginx does).
    LeastOutstanding,
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random split",
            Self::RoundRobin => "round-robin",
            Self::LeastOutstanding => "least outstanding",
        })
    }
}

/// What happens to requests that find a long queue. By default nothing: they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueuePolicy {
    /// How many requests may wait in one replica; one more is rejected.
    pub limit: Option<u32>,
    /// How long a request may wait before its batch starts; after that it is
    /// dropped (timed out).
    pub timeout: Option<Time>,
}

/// How one replica is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingConfiguration {
    /// How many batches can run at the same time.
    pub instances: u32,
    /// Threads inside each instance.
    pub intra_op_threads: u32,
    /// The most items in one batch.
    pub max_batch: u32,
    /// How long a request may be held back to fill a batch.
    pub batch_window: Time,
    /// The rule by which batches are made.
    pub batcher: Batcher,
}

impl ServingConfiguration {
    /// Batches made when an instance is free; see [`Batcher::WhenFree`].
    #[must_use]
    pub const fn when_free(instances: u32, max_batch: u32, batch_window: Time) -> Self {
        Self {
            instances,
            intra_op_threads: 1,
            max_batch,
            batch_window,
            batcher: Batcher::WhenFree,
        }
    }

    /// Every request alone.
    #[must_use]
    pub const fn unbatched(instances: u32) -> Self {
        Self {
            instances,
            intra_op_threads: 1,
            max_batch: 1,
            batch_window: Time::ZERO,
            batcher: Batcher::None,
        }
    }

    /// The same with this many threads inside each instance.
    #[must_use]
    pub fn with_threads(mut self, intra_op_threads: u32) -> Self {
        self.intra_op_threads = intra_op_threads;
        self
    }

    /// The same with another batcher.
    #[must_use]
    pub fn with_batcher(mut self, batcher: Batcher) -> Self {
        self.batcher = batcher;
        self
    }

    /// The largest batch that will really be made: 1 where the batcher makes none.
    #[must_use]
    pub fn effective_max_batch(&self) -> u32 {
        match self.batcher {
            Batcher::None => 1,
            // MLServer switches batching off without a batch time (`load_batching`).
            Batcher::MlServer | Batcher::MlServerInProcess if self.batch_window.is_zero() => 1,
            _ => self.max_batch,
        }
    }

    /// Checks that the server could be started like this.
    ///
    /// # Errors
    /// Refuses zero instances, threads or batch size, preferred batch sizes
    /// outside 1 to the maximum, and a `KServe` batcher without a window of at
    /// least 1 ms (it would fall back to 5 s).
    pub fn check(&self) -> Result<()> {
        for (count, what) in [
            (self.instances, "instances"),
            (self.intra_op_threads, "intra-op threads"),
            (self.max_batch, "items in a batch"),
        ] {
            if count == 0 {
                return Err(Error::bad_input(format!(
                    "the configuration has 0 {what}, but needs at least 1"
                )));
            }
        }
        match &self.batcher {
            Batcher::Triton {
                preferred_batch_sizes,
            } => {
                let fits = |size: &u32| (1..=self.max_batch).contains(size);
                if let Some(size) = preferred_batch_sizes.iter().find(|s| !fits(s)) {
                    return Err(Error::bad_input(format!(
                        "the preferred batch size {size} is not between 1 and the maximum of {}",
                        self.max_batch
                    )));
                }
                Ok(())
            }
            Batcher::KServe if self.batch_window < Time::from_millis(1.0) => {
                Err(Error::bad_input(format!(
                    "the KServe batcher counts its window in whole milliseconds, so {} is none, and without one it waits 5 s",
                    self.batch_window
                ))
                .hint("give a batch window of at least 1ms"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ServingConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} × {} threads, max batch {}, window {}, {}",
            self.instances, self.intra_op_threads, self.max_batch, self.batch_window, self.batcher
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_start_is_refused() {
        let good = ServingConfiguration::when_free(2, 8, Time::from_millis(5.0));
        assert!(good.check().is_ok());
        let zero = ServingConfiguration {
            instances: 0,
            ..good.clone()
        };
        assert!(zero.check().unwrap_err().message().contains("0 instances"));
        let triton = good.clone().with_batcher(Batcher::Triton {
            preferred_batch_sizes: vec![4, 9],
        });
        assert!(triton.check().unwrap_err().message().contains('9'));
        let kserve =
            ServingConfiguration::when_free(1, 8, Time::ZERO).with_batcher(Batcher::KServe);
        assert!(kserve.check().is_err());
    }

    #[test]
    fn the_batch_is_one_where_the_batcher_makes_none() {
        let c = ServingConfiguration::when_free(1, 8, Time::ZERO);
        assert_eq!(c.effective_max_batch(), 8);
        assert_eq!(
            c.clone().with_batcher(Batcher::None).effective_max_batch(),
            1
        );
        assert_eq!(c.with_batcher(Batcher::MlServer).effective_max_batch(), 1);
    }
}
