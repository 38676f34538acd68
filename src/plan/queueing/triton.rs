//! The dynamic batcher of NVIDIA Triton, decision by decision.
//!
//! Source: triton-inference-server/core at commit 73aad7c (June 2026),
//! `src/dynamic_batch_scheduler.cc` (`Enqueue`, `BatcherThread`,
//! `GetDynamicBatch`), `src/rate_limiter.cc` (`PayloadSlotAvailable`),
//! `src/instance_queue.cc` (`Dequeue`), `src/payload.cc`, `src/scheduler_utils.cc`
//! (`SupportPrefetching`), read for what they do. Of note:
//!
//! - Batches ("payloads") are made ahead of time: up to twice as many as there
//!   are instances may lie ready. Only a queue limit or a timeout switches that
//!   off; then a batch is made when an instance is free.
//! - With a queue delay, a batch whose delay runs out while all instances are
//!   busy is laid ready as it is. Requests that come later join it only when
//!   there are enough of them to reach the next preferred size, since an arrival
//!   wakes the batcher no sooner. Without a delay every arrival joins at once.
//! - Sizes count requests; all requests have the same shape, no priorities, no
//!   response cache, no custom batching.

use std::collections::VecDeque;

/// How long the batcher sleeps when there is nothing to do
/// (`default_wait_microseconds`), in seconds.
const IDLE_WAIT: f64 = 0.5;

/// What the batcher thread knows.
#[derive(Debug, Clone)]
pub(super) struct Triton {
    /// Rising, at least one.
    preferred: Vec<usize>,
    max_batch: usize,
    delay: f64,
    prefetch: bool,
    current: Current,
    saturated: bool,
    next_preferred: usize,
    notified: bool,
}

/// The batch being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Current {
    /// Nothing in it yet.
    Empty,
    /// Laid ready, the last in line, not yet taken by an instance.
    Ready,
    /// Taken by an instance.
    Taken,
}

/// Requests that lie ready together, with the arrival of the oldest.
#[derive(Debug, Clone, Default)]
pub(super) struct Payload {
    pub requests: Vec<u32>,
    pub oldest: f64,
}

/// What [`Triton::choose`] decided.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    /// Move this many requests into the current batch (0: only close it).
    Take(usize),
    /// Look again at this time.
    WaitUntil(f64),
}

/// The queue as the batcher needs it: how many wait and since when the oldest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub count: usize,
    pub oldest: f64,
}

/// What the replica is to do next for the batcher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Move this many requests from the queue to the last payload, a new one
    /// when `fresh`; then ask again.
    Move { count: usize, fresh: bool },
    /// Nothing until this time, an arrival that wakes, or an instance that takes.
    Sleep(f64),
}

impl Triton {
    /// `preferred` empty means the maximum, as Triton fills it in
    /// (`model_config_utils.cc`).
    pub(super) fn new(preferred: &[u32], max_batch: usize, delay: f64, prefetch: bool) -> Self {
        let mut preferred: Vec<usize> = preferred.iter().map(|&p| p as usize).collect();
        if preferred.is_empty() {
            preferred.push(max_batch);
        }
        preferred.sort_unstable();
        Self {
            preferred,
            max_batch,
            delay,
            prefetch,
            current: Current::Empty,
            saturated: false,
            next_preferred: 0,
            notified: false,
        }
    }

    /// A request was queued; `waiting` counts it.
    pub(super) fn arrived(&mut self, waiting: usize, ready: usize, (idle, all): (usize, usize)) {
        let slot = self.slot_available(ready, idle, all);
        self.notified |= slot
            && (self.saturated || self.current == Current::Taken || waiting >= self.next_preferred);
    }

    /// Whether something happened that the batcher reacts to. Without
    /// prefetching it looks whenever an instance may have come free.
    pub(super) fn is_notified(&self) -> bool {
        self.notified || !self.prefetch
    }

    /// An instance takes the first payload: returns it, merged with what follows
    /// where Triton merges (`InstanceQueue::Dequeue`).
    pub(super) fn dequeue(&mut self, ready: &mut VecDeque<Payload>, now: f64) -> Option<Payload> {
        let mut taken = ready.pop_front()?;
        self.notified = true;
        if ready.is_empty() && self.current == Current::Ready {
            self.current = Current::Taken;
        }
        while self.delay > 0.0 && self.max_batch > 1 {
            let Some(next) = ready.front() else { break };
            if now - next.oldest <= self.delay {
                break;
            }
            // Looking at a payload marks it as executing even when it does not
            // fit, so that the batcher adds nothing to it any more.
            if ready.len() == 1 && self.current == Current::Ready {
                self.current = Current::Taken;
            }
            if taken.requests.len() + next.requests.len() > self.max_batch {
                break;
            }
            if let Some(next) = ready.pop_front() {
                taken.requests.extend(next.requests);
            }
        }
        Some(taken)
    }

    /// One turn of the batcher thread. `last` is the size of the last payload.
    pub(super) fn turn(
        &mut self,
        now: f64,
        waiting: Waiting,
        (ready, last): (usize, usize),
        (idle, all): (usize, usize),
    ) -> Step {
        self.notified = false;
        loop {
            if self.saturated || self.current == Current::Taken {
                self.current = Current::Empty;
                self.saturated = false;
                self.next_preferred = 0;
            }
            if waiting.count == 0 {
                // Only while a batch lies ready may requests come that do not
                // wake the batcher, and are found when it wakes by itself.
                let ready = self.current == Current::Ready;
                return Step::Sleep(if ready {
                    now + IDLE_WAIT
                } else {
                    f64::INFINITY
                });
            }
            if !self.slot_available(ready, idle, all) {
                return Step::Sleep(f64::INFINITY);
            }
            let filled = if self.current == Current::Ready {
                last
            } else {
                0
            };
            match self.choose(filled, waiting, now) {
                Choice::WaitUntil(time) => return Step::Sleep(time),
                Choice::Take(0) if self.saturated => {}
                Choice::Take(0) => return Step::Sleep(now + IDLE_WAIT),
                Choice::Take(count) => {
                    let fresh = self.current != Current::Ready;
                    self.current = Current::Ready;
                    return Step::Move { count, fresh };
                }
            }
        }
    }

    fn slot_available(&self, ready: usize, idle: usize, all: usize) -> bool {
        if self.prefetch {
            ready < 2 * all
        } else {
            // Without prefetching the batcher waits for a waiting instance.
            idle > ready
        }
    }

    /// `GetDynamicBatch` with `filled` requests in the current payload.
    fn choose(&mut self, filled: usize, waiting: Waiting, now: f64) -> Choice {
        let largest = self.preferred.last().copied().unwrap_or(self.max_batch);
        let mut pending = 0;
        let mut best = 0;
        let mut full = false;
        while pending < waiting.count {
            if filled + pending > 0 {
                if filled + pending + 1 > largest && best == 0 {
                    best = pending;
                    self.saturated = true;
                }
                if filled + pending + 1 > self.max_batch {
                    full = true;
                    break;
                }
            }
            pending += 1;
            if self.preferred.binary_search(&(filled + pending)).is_ok() {
                best = pending;
            }
        }
        let overdue = self.delay > 0.0 && now >= waiting.oldest + self.delay;
        if best != 0 && !overdue {
            self.saturated |= self.delay <= 0.0;
            return Choice::Take(best);
        }
        if pending == 0 {
            return Choice::Take(0);
        }
        if full || filled + pending >= largest {
            self.saturated = true;
            return Choice::Take(pending);
        }
        if overdue || self.delay <= 0.0 {
            return Choice::Take(pending);
        }
        let next = self.preferred.partition_point(|&p| p <= filled + pending);
        if let Some(&size) = self.preferred.get(next) {
            self.next_preferred = size;
        }
        self.next_preferred = self.next_preferred.saturating_sub(filled);
        if !self.saturated && filled > 0 && self.preferred.binary_search(&filled).is_err() {
            return Choice::Take(pending);
        }
        Choice::WaitUntil(waiting.oldest + self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: usize, oldest: f64) -> Waiting {
        Waiting { count, oldest }
    }

    #[test]
    fn without_a_delay_whatever_waits_goes() {
        let mut t = Triton::new(&[], 8, 0.0, true);
        let step = t.turn(1.0, waiting(3, 1.0), (0, 0), (1, 1));
        assert_eq!(
            step,
            Step::Move {
                count: 3,
                fresh: true
            }
        );
        // The batch lies ready and grows with the next arrival.
        t.arrived(1, 1, (0, 1));
        assert!(t.is_notified());
        let step = t.turn(1.1, waiting(1, 1.1), (1, 3), (0, 1));
        assert_eq!(
            step,
            Step::Move {
                count: 1,
                fresh: false
            }
        );
    }

    #[test]
    fn with_a_delay_the_first_request_waits_for_more() {
        let mut t = Triton::new(&[], 4, 0.010, true);
        assert_eq!(
            t.turn(1.0, waiting(1, 1.0), (0, 0), (1, 1)),
            Step::Sleep(1.010)
        );
        // The second does not wake the batcher, the fourth does.
        t.arrived(2, 0, (1, 1));
        assert!(!t.is_notified());
        t.arrived(4, 0, (1, 1));
        assert!(t.is_notified());
    }

    #[test]
    fn a_batch_laid_ready_grows_only_to_a_preferred_size() {
        let mut t = Triton::new(&[], 4, 0.010, true);
        t.turn(1.0, waiting(1, 1.0), (0, 0), (0, 1));
        let step = t.turn(1.010, waiting(2, 1.0), (0, 0), (0, 1));
        assert_eq!(
            step,
            Step::Move {
                count: 2,
                fresh: true
            }
        );
        assert!(matches!(
            t.turn(1.010, waiting(0, 0.0), (1, 2), (0, 1)),
            Step::Sleep(_)
        ));
        t.arrived(1, 1, (0, 1));
        assert!(!t.is_notified(), "one more is not enough");
        t.arrived(4, 1, (0, 1));
        assert!(t.is_notified());
    }

    #[test]
    fn a_preferred_size_goes_at_once_and_leaves_the_rest() {
        let mut t = Triton::new(&[4], 8, 0.010, true);
        let step = t.turn(1.0, waiting(6, 0.995), (0, 0), (1, 1));
        assert_eq!(
            step,
            Step::Move {
                count: 4,
                fresh: true
            }
        );
        // Overdue requests no longer wait for a preferred size.
        let mut t = Triton::new(&[4], 8, 0.010, true);
        let step = t.turn(1.0, waiting(6, 0.9), (0, 0), (1, 1));
        assert_eq!(
            step,
            Step::Move {
                count: 6,
                fresh: true
            }
        );
    }

    #[test]
    fn without_prefetching_a_batch_waits_for_an_instance() {
        let mut t = Triton::new(&[], 4, 0.0, false);
        assert_eq!(
            t.turn(1.0, waiting(3, 1.0), (0, 0), (0, 2)),
            Step::Sleep(f64::INFINITY)
        );
        assert!(matches!(
            t.turn(1.0, waiting(3, 1.0), (0, 0), (1, 2)),
            Step::Move { count: 3, .. }
        ));
    }
}
