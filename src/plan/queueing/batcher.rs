//! How servers make batches, each with its source.
//!
//! - **When free** (ours, the default): when an instance is free, everything
//!   that waits boards it, up to the maximum batch; with a batch window, it
//!   first waits for more until the oldest request is as old as the window or
//!   the batch is full. This equals Triton's dynamic batcher without a queue
//!   delay and without preferred sizes below the maximum, and with a delay as
//!   long as an instance is free when the delay runs out; see [`super::triton`]
//!   for the difference when all are busy.
//! - **Triton**: [`super::triton`].
//! - **`MLServer`** (`SeldonIO/MLServer` at a325e52, December 2025,
//!   `mlserver/batching/adaptive.py`, `batching/hooks.py`,
//!   `parallel/dispatcher.py`): one task collects requests, from the first one
//!   on for at most `max_batch_time` or until there are `max_batch_size`, whether
//!   or not a worker is free; the batch then goes to the workers in turn
//!   (round-robin), each of which has its own queue and runs one batch at a time
//!   as long as the model's `predict` does not yield. Without a batch time, or
//!   with a batch size of 1, there is no batching; the workers still take turns.
//! - **`MLServer` in process** (`parallel_workers` 0; `SeldonIO/MLServer` 1.7.1, the same
//!   files): the model runs on the event loop that also reads requests, so nothing is
//!   read while it does. The collector ends when nothing waits; the first request that
//!   is read after an inference starts it and its clock again, however long that
//!   request has waited. One batch is under way at a time. Not simulated: what had
//!   been read beyond a full batch, whose clock runs on during the inference.
//! - **`KServe`** (`kserve/kserve` at aaac4e2, August 2026,
//!   `pkg/batcher/handler.go`): one loop takes requests, in order, and starts
//!   its clock when it takes the first of a batch, not when that arrived. It
//!   calls the model when it has `maxBatchSize` requests or `maxLatency` whole
//!   milliseconds have passed, looks at least every 100 µs, and takes nothing
//!   more until the answer is there: one batch is under way at a time, however
//!   many instances there are.
//! - **None**: every request alone, to the first free instance from one queue
//!   (Triton without a dynamic batcher).
//!
//! Queue limits count the requests that wait, in a batch laid ready or not. A
//! timeout drops a request that has waited too long in the queue; one that is
//! already in a batch of `MLServer` or `KServe` is computed all the same (those
//! servers do not take it out), but counts as timed out.

use super::kernel::Server;
use std::collections::VecDeque;

/// How often the loop of `KServe` looks at its clock (`SleepTime`), in seconds.
const KSERVE_SLEEP: f64 = 100e-6;

/// The batch that `MLServer` is collecting.
#[derive(Debug, Clone, Default)]
pub(super) struct Forming {
    requests: Vec<u32>,
    due: f64,
    turn: usize,
}

impl Forming {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Adds a request; gives the batch out when it is full. `spare` is the list
    /// in which the next one is collected.
    pub(super) fn add(
        &mut self,
        request: u32,
        now: f64,
        server: &Server,
        mut spare: Vec<u32>,
    ) -> Option<Vec<u32>> {
        if self.requests.is_empty() {
            self.due = now + server.window;
        }
        self.requests.push(request);
        (self.requests.len() >= server.max_batch).then(|| {
            spare.clear();
            std::mem::replace(&mut self.requests, spare)
        })
    }

    /// Gives the batch out when its time is over.
    pub(super) fn overdue(&mut self, now: f64) -> Option<Vec<u32>> {
        (now >= self.deadline()).then(|| std::mem::take(&mut self.requests))
    }

    /// When the batch is given out at the latest.
    pub(super) fn deadline(&self) -> f64 {
        if self.requests.is_empty() {
            f64::INFINITY
        } else {
            self.due
        }
    }

    /// The queue of the worker whose turn it is.
    pub(super) fn next_lane<'l>(
        &mut self,
        lanes: &'l mut [VecDeque<Vec<u32>>],
    ) -> &'l mut VecDeque<Vec<u32>> {
        let lane = self.turn;
        self.turn = (self.turn + 1) % lanes.len();
        &mut lanes[lane]
    }
}

/// A loop that takes requests only while none is under way.
#[derive(Debug, Clone)]
pub(super) struct OneAtATime {
    pub forming: Vec<u32>,
    max_batch: usize,
    /// For how many seconds more are taken after the first.
    latency: f64,
    /// How often it looks at its clock, in seconds; zero for always.
    sleep: f64,
    started: f64,
    last_taken: f64,
}

impl OneAtATime {
    /// The loop of the `KServe` agent: whole milliseconds.
    pub(super) fn kserve(max_batch: usize, window: f64) -> Self {
        Self {
            sleep: KSERVE_SLEEP,
            ..Self::in_process(max_batch, (window * 1e3 + 1e-9).floor() * 1e-3)
        }
    }

    /// The event loop of `MLServer`.
    pub(super) fn in_process(max_batch: usize, window: f64) -> Self {
        Self {
            forming: Vec::new(),
            max_batch,
            latency: window,
            sleep: 0.0,
            started: 0.0,
            last_taken: 0.0,
        }
    }

    /// Takes what waits; gives the batch out when it is full or due.
    pub(super) fn collect(&mut self, queue: &mut VecDeque<u32>, now: f64) -> Option<Vec<u32>> {
        while self.forming.len() < self.max_batch {
            let Some(request) = queue.pop_front() else {
                break;
            };
            if self.forming.is_empty() {
                self.started = now;
            }
            self.last_taken = now;
            self.forming.push(request);
        }
        let full = self.forming.len() >= self.max_batch;
        let due = !self.forming.is_empty() && now >= self.started + self.latency;
        (full || due).then(|| std::mem::take(&mut self.forming))
    }

    /// The first look at the clock at which the batch is due: whole sleeps after
    /// the last request was taken.
    pub(super) fn next_look(&self) -> f64 {
        if self.forming.is_empty() {
            return f64::INFINITY;
        }
        let over = self.started + self.latency;
        if self.sleep <= 0.0 {
            return over;
        }
        let looks = ((over - self.last_taken) / self.sleep - 1e-6)
            .ceil()
            .max(0.0);
        (self.last_taken + looks * self.sleep).max(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mlserver_counts_from_the_first_request_and_takes_turns() {
        let server = Server {
            instances: 2,
            max_batch: 3,
            window: 0.010,
        };
        let mut forming = Forming::default();
        assert_eq!(forming.add(0, 1.0, &server, vec![]), None);
        assert_eq!(forming.add(1, 1.004, &server, vec![]), None);
        assert!((forming.deadline() - 1.010).abs() < 1e-12);
        assert_eq!(forming.overdue(1.005), None);
        assert_eq!(forming.add(2, 1.006, &server, vec![]), Some(vec![0, 1, 2]));
        assert!(forming.deadline().is_infinite());
        forming.add(3, 2.0, &server, vec![]);
        assert_eq!(forming.overdue(2.010), Some(vec![3]));
        let mut lanes = vec![VecDeque::new(); 2];
        for batch in 0..3 {
            forming.next_lane(&mut lanes).push_back(vec![batch]);
        }
        assert_eq!(lanes[0], [vec![0], vec![2]]);
        assert_eq!(lanes[1], [vec![1]]);
    }

    #[test]
    fn kserve_counts_from_the_taking_and_looks_every_100_microseconds() {
        let mut kserve = OneAtATime::kserve(4, 0.005);
        let mut queue = VecDeque::from([7]);
        assert_eq!(kserve.collect(&mut queue, 1.0), None);
        assert!((kserve.next_look() - 1.005).abs() < 1e-12);
        queue.push_back(8);
        // Taken 30 µs past a look, so the looks are shifted by as much.
        assert_eq!(kserve.collect(&mut queue, 1.002_03), None);
        assert!((kserve.next_look() - 1.005_03).abs() < 1e-9);
        // A request that comes between the deadline and that look is on board.
        queue.push_back(9);
        assert_eq!(kserve.collect(&mut queue, 1.005_01), Some(vec![7, 8, 9]));
    }

    #[test]
    fn in_process_the_clock_starts_with_the_first_that_is_read_and_stops_exactly() {
        let mut mlserver = OneAtATime::in_process(4, 0.0055);
        let mut queue = VecDeque::from([7]);
        assert_eq!(mlserver.collect(&mut queue, 1.0), None);
        queue.push_back(8);
        assert_eq!(mlserver.collect(&mut queue, 1.002_03), None);
        assert!((mlserver.next_look() - 1.0055).abs() < 1e-12);
        assert_eq!(mlserver.collect(&mut queue, 1.0055), Some(vec![7, 8]));
        assert!(mlserver.next_look().is_infinite());
    }

    #[test]
    fn kserve_takes_no_more_than_a_batch() {
        let mut kserve = OneAtATime::kserve(2, 0.005);
        let mut queue = VecDeque::from([1, 2, 3]);
        assert_eq!(kserve.collect(&mut queue, 1.0), Some(vec![1, 2]));
        assert_eq!(queue, [3]);
    }
}
