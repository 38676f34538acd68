//! A replica in this process: a queue, a batcher and instances, under a load
//! that was laid down before.
//!
//! **No thread generates the load.** The times of arrival are known, so the
//! queue at any moment is simply the requests whose time has come and that no
//! batch has taken. Of the free instances the one that is free longest leads
//! (leader and followers, Schmidt et al., 2000): it waits until the next batch is
//! due, takes what has arrived, hands the lead on and runs the batch; where it
//! loses its core meanwhile, a follower takes the batch. A
//! generator on a machine of two cores would take its processor time from the
//! instances; this costs nothing while they are busy. Latency counts from the
//! scheduled arrival, whatever the instances were doing then.
//!
//! **Waiting** is sleep until shortly before the batch is due, then a short
//! spin where the instance has a core of its own: a sleeping processor is woken
//! up to a tenth of a millisecond late, which is the operating system's time
//! and not the model's. How late batches really started is recorded.

mod clock;
pub mod http_server;
pub mod protocol;
mod run;

pub use clock::Clock;
pub(crate) use clock::sleep_precisely;
pub use run::{Instance, Rule, ServedBatch, Work, drive, drive_sizes};
