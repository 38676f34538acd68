//! The replica at work.

use super::clock::{Clock, sleep_precisely};
use crate::{error::Result, measure::runtime::cores::keep_calling_thread, units::Time};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// From the start of the threads to the origin of time.
const LEAD_IN: Duration = Duration::from_millis(20);

/// How often a sleeping instance looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a follower without a core of its own looks whether it leads.
const FOLLOWER_SLEEP: Duration = Duration::from_micros(50);

/// Seconds after which a follower takes a batch that the leader has left: ten
/// times what cores need to tell each other, a fraction of what the interrupt
/// takes that the leader is probably in.
const TAKE_OVER: f64 = 2e-6;

/// Seconds after it was due within which a batch was taken in time.
const IN_TIME: f64 = 4e-6;

/// Batches for which memory is made ready: more than most runs have.
const MOST_READY: usize = 4_000_000;

/// Nobody leads.
const NOBODY: usize = usize::MAX;

/// By which rule batches are made: when an instance is free, everything that
/// waits boards it, held back at most the window for more
/// (`workload::Batcher::WhenFree`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The most items in a batch, at least 1.
    pub max_batch: u32,
    /// How long the oldest request may be held back.
    #[serde(rename = "window_s")]
    pub window: Time,
}

/// One batch that was run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Flat", into = "Flat")]
pub struct ServedBatch {
    /// Its first request, counted from 0; the others follow in order.
    pub first: u32,
    /// How many requests.
    pub items: u32,
    /// On which instance.
    pub instance: u32,
    /// When it could have started by the rule, on this instance.
    pub due: Time,
    /// When it started.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// Whether the inference failed.
    pub failed: bool,
}

/// As written: one short line of numbers per batch.
type Flat = (u32, u32, u32, Time, Time, Time, bool);

impl From<Flat> for ServedBatch {
    fn from((first, items, instance, due, start, end, failed): Flat) -> Self {
        Self {
            first,
            items,
            instance,
            due,
            start,
            end,
            failed,
        }
    }
}

impl From<ServedBatch> for Flat {
    fn from(batch: ServedBatch) -> Self {
        (
            batch.first,
            batch.items,
            batch.instance,
            batch.due.to_nanos(),
            batch.start.to_nanos(),
            batch.end.to_nanos(),
            batch.failed,
        )
    }
}

impl ServedBatch {
    /// By how much it started so late that others could come aboard; zero where it
    /// started in time.
    #[must_use]
    pub fn late(&self) -> Time {
        let late = self.start - self.due;
        if late.get() > IN_TIME {
            late
        } else {
            Time::ZERO
        }
    }

    /// The time for which it occupied its instance, late start included.
    #[must_use]
    pub fn service(&self) -> Time {
        self.end - self.due
    }
}

/// What an instance can do.
pub trait Work: Send {
    /// Runs a batch of that many items.
    ///
    /// # Errors
    /// The inference failed.
    fn run(&mut self, items: u32) -> Result<()>;
}

/// One instance: what it does, and the cores it is kept to (none: any).
#[derive(Debug)]
pub struct Instance<W> {
    /// Runs its batches.
    pub work: W,
    /// The cores of its threads, the calling one first.
    pub cores: Vec<u32>,
}

/// What all instances share.
#[derive(Debug)]
struct Crew<'c> {
    arrivals: &'c [f64],
    rule: Rule,
    /// The most items in the batch that begins with a request; empty where the
    /// rule says it.
    sizes: &'c [u32],
    clock: Clock,
    stop: &'c AtomicBool,
    /// Free instances, the one that is free longest first.
    free: Mutex<VecDeque<usize>>,
    /// The first of them, or [`NOBODY`].
    leader: AtomicUsize,
    /// The first request that no batch has taken.
    head: AtomicUsize,
}

/// Runs instances under arrivals (never falling) until all are served
/// or `stop` is set; returns the batches in the order of their requests.
pub fn drive<W: Work>(
    instances: Vec<Instance<W>>,
    arrivals: &[Time],
    rule: Rule,
    stop: &AtomicBool,
) -> Vec<ServedBatch> {
    let arrivals: Vec<f64> = arrivals.iter().map(|time| time.get()).collect();
    serve_all(instances, (&arrivals, rule, &[]), stop)
}

/// Runs instances without pause with batches of these sizes, in this order;
/// returns the batches.
pub fn drive_sizes<W: Work>(
    instances: Vec<Instance<W>>,
    in_turn: Vec<u32>,
    stop: &AtomicBool,
) -> Vec<ServedBatch> {
    let rule = Rule {
        max_batch: in_turn.iter().copied().max().unwrap_or(1),
        window: Time::ZERO,
    };
    // Each request knows the size of the batch that begins with it.
    let sizes: Vec<u32> = in_turn
        .into_iter()
        .flat_map(|size| std::iter::repeat_n(size, size as usize))
        .collect();
    let arrivals = vec![0.0; sizes.len()];
    serve_all(instances, (&arrivals, rule, &sizes), stop)
}

fn serve_all<W: Work>(
    instances: Vec<Instance<W>>,
    (arrivals, rule, sizes): (&[f64], Rule, &[u32]),
    stop: &AtomicBool,
) -> Vec<ServedBatch> {
    let records: Vec<Vec<ServedBatch>> = instances
        .iter()
        .map(|_| ready_memory(arrivals.len()))
        .collect();
    let origin = Instant::now() + LEAD_IN;
    let own_cores = instances.iter().all(|instance| !instance.cores.is_empty());
    let crew = Crew {
        arrivals,
        rule,
        sizes,
        clock: if own_cores {
            Clock::with_spin(origin)
        } else {
            Clock::without_spin(origin)
        },
        stop,
        free: Mutex::new(VecDeque::with_capacity(instances.len())),
        leader: AtomicUsize::new(NOBODY),
        head: AtomicUsize::new(0),
    };
    let crew = &crew;
    let mut batches: Vec<ServedBatch> = std::thread::scope(|scope| {
        let threads: Vec<_> = instances
            .into_iter()
            .zip(records)
            .enumerate()
            .map(|(index, (mut instance, record))| {
                scope.spawn(move || {
                    keep_calling_thread(&instance.cores);
                    sleep_precisely();
                    crew.serve(index, &mut instance.work, record)
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    batches.sort_by_key(|batch| batch.first);
    batches
}

/// Room for so many batches in memory that the system has already given: it
/// would stop an instance for that, page by page, and now and then for
/// milliseconds, which no server that keeps no such record would meet.
fn ready_memory(batches: usize) -> Vec<ServedBatch> {
    let nothing = ServedBatch {
        first: u32::MAX,
        items: 0,
        instance: 0,
        due: Time::ZERO,
        start: Time::ZERO,
        end: Time::ZERO,
        failed: false,
    };
    let mut ready = vec![nothing; batches.min(MOST_READY)];
    ready.clear();
    ready
}

impl Crew<'_> {
    fn serve(
        &self,
        index: usize,
        work: &mut impl Work,
        mut batches: Vec<ServedBatch>,
    ) -> Vec<ServedBatch> {
        let mut free_since = 0.0;
        loop {
            self.line_up(index);
            let taken = self.take(index, free_since);
            self.leave(index);
            let Some((first, items, due)) = taken else {
                return batches;
            };
            let start = self.clock.now();
            let failed = work.run(items).is_err();
            free_since = self.clock.now();
            batches.push(ServedBatch {
                first: first as u32,
                items,
                instance: index as u32,
                due: Time::saturating(due),
                start: Time::saturating(start),
                end: Time::saturating(free_since),
                failed,
            });
        }
    }

    /// Joins the free instances, last in line.
    fn line_up(&self, index: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push_back(index);
        if let Some(first) = free.front() {
            self.leader.store(*first, Ordering::Release);
        }
    }

    /// Leaves the line to run a batch (or for good); the first in line leads.
    fn leave(&self, index: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|waiting| *waiting != index);
        let next = free.front().copied().unwrap_or(NOBODY);
        self.leader.store(next, Ordering::Release);
    }

    /// Waits for a batch and takes it: its first request, its size, and when it
    /// was due. The leader takes it when it is due. A follower is awake then as
    /// well, since it leads right after, and takes what the leader has left: that
    /// may have lost its core just then, and a server would not wait for it. None
    /// when nothing is left.
    fn take(&self, index: usize, free_since: f64) -> Option<(usize, u32, f64)> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let due = self.departure(head, free_since)?;
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let sleep = self.clock.sleep_before(due).min(LOOK_EVERY);
            if !sleep.is_zero() {
                std::thread::sleep(sleep);
                continue;
            }
            let leads = self.leader.load(Ordering::Acquire) == index;
            let now = self.clock.now();
            if now < if leads { due } else { due + TAKE_OVER } {
                if leads || self.clock.spins() {
                    std::hint::spin_loop();
                } else {
                    std::thread::sleep(FOLLOWER_SLEEP);
                }
                continue;
            }
            // Who takes a batch in time takes what had arrived when it was due; what
            // came while it was looking at its clock does not board.
            let until = if now < due + IN_TIME { due } else { now };
            let most = self.sizes.get(head).unwrap_or(&self.rule.max_batch);
            let most = (*most).max(1) as usize;
            let items = self
                .arrivals
                .iter()
                .skip(head)
                .take(most)
                .take_while(|arrival| **arrival <= until)
                .count()
                .max(1);
            let taken =
                self.head
                    .compare_exchange(head, head + items, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_ok() {
                return Some((head, items as u32, due));
            }
        }
    }

    /// When the batch that begins with request `head` is due on an instance
    /// that is free since then: when it is full or its window is over, but not
    /// before the instance is free.
    fn departure(&self, head: usize, free_since: f64) -> Option<f64> {
        let arrival = *self.arrivals.get(head)?;
        let ready = arrival.max(free_since);
        let window = self.rule.window.get();
        if window <= 0.0 || self.rule.max_batch <= 1 {
            return Some(ready);
        }
        let last = head + self.rule.max_batch as usize - 1;
        let full = self.arrivals.get(last).copied().unwrap_or(f64::INFINITY);
        Some(ready.max(full.min(arrival + window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use proptest::prelude::*;

    /// Sleeps as long as a batch takes; fails on batches of `fails` items.
    struct Fake {
        seconds: f64,
        fails: u32,
    }

    impl Work for Fake {
        fn run(&mut self, items: u32) -> Result<()> {
            std::thread::sleep(Duration::from_secs_f64(self.seconds));
            if items == self.fails {
                return Err(Error::machine("out of order"));
            }
            Ok(())
        }
    }

    fn crew(instances: usize, seconds: f64) -> Vec<Instance<Fake>> {
        (0..instances)
            .map(|_| Instance {
                work: Fake { seconds, fails: 0 },
                cores: Vec::new(),
            })
            .collect()
    }

    fn run(
        arrivals: &[f64],
        (instances, max_batch): (usize, u32),
        (seconds, window): (f64, f64),
    ) -> Vec<ServedBatch> {
        let crew = crew(instances, seconds);
        let rule = Rule {
            max_batch,
            window: Time::saturating(window),
        };
        let arrivals = times(arrivals);
        drive(crew, &arrivals, rule, &AtomicBool::new(false))
    }

    fn times(seconds: &[f64]) -> Vec<Time> {
        seconds.iter().map(|s| Time::saturating(*s)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Every request is in exactly one batch, in order; no batch starts
        /// before it is due, is too large, or runs beside another on its instance.
        #[test]
        fn the_replica_keeps_its_rule(
            gaps in prop::collection::vec(0.0..0.002f64, 1..60),
            instances in 1usize..4,
            max_batch in 1u32..5,
            window in prop_oneof![Just(0.0), Just(0.002)],
        ) {
            let arrivals: Vec<f64> = gaps
                .iter()
                .scan(0.0, |now, gap| { *now += gap; Some(*now) })
                .collect();
            let batches = run(&arrivals, (instances, max_batch), (0.001, window));
            let mut next = 0;
            let mut free = vec![0.0; instances];
            for batch in &batches {
                prop_assert_eq!(batch.first, next);
                next += batch.items;
                prop_assert!(batch.items >= 1 && batch.items <= max_batch);
                prop_assert!(batch.start >= batch.due && batch.end > batch.start);
                let last = arrivals[next as usize - 1];
                prop_assert!(batch.start.get() + 1e-9 >= last);
                // Not full and not the end of the load: the window was over.
                let first = arrivals[batch.first as usize];
                if batch.items < max_batch && (next as usize) < arrivals.len() && max_batch > 1 {
                    prop_assert!(batch.start.get() + 1e-9 >= first + window);
                }
                let slot = &mut free[batch.instance as usize];
                prop_assert!(batch.due.get() + 1e-9 >= *slot);
                *slot = batch.end.get();
            }
            prop_assert_eq!(next as usize, arrivals.len());
        }
    }

    #[test]
    fn batches_of_given_sizes_come_in_their_order() {
        let crew = crew(2, 0.001);
        let batches = drive_sizes(crew, vec![1, 4, 2, 8, 1], &AtomicBool::new(false));
        let sizes: Vec<u32> = batches.iter().map(|b| b.items).collect();
        assert_eq!(sizes, [1, 4, 2, 8, 1]);
    }

    #[test]
    fn instances_work_side_by_side() {
        let arrivals = vec![0.0; 4];
        let batches = run(&arrivals, (2, 1), (0.03, 0.0));
        let end = batches.iter().map(|b| b.end).max().unwrap();
        assert!(end.get() > 0.055 && end.get() < 0.11, "{end}");
        let of = |i| batches.iter().filter(|b| b.instance == i).count();
        assert_eq!((of(0), of(1)), (2, 2));
    }

    #[test]
    fn a_failed_inference_is_told_and_the_rest_goes_on() {
        let crew = vec![Instance {
            work: Fake {
                seconds: 0.0,
                fails: 2,
            },
            cores: Vec::new(),
        }];
        let rule = Rule {
            max_batch: 2,
            window: Time::ZERO,
        };
        let arrivals = times(&[0.0, 0.0, 0.02]);
        let batches = drive(crew, &arrivals, rule, &AtomicBool::new(false));
        let told: Vec<(u32, bool)> = batches.iter().map(|b| (b.items, b.failed)).collect();
        assert_eq!(told, [(2, true), (1, false)]);
    }

    #[test]
    fn a_stop_keeps_what_was_served() {
        let stop = AtomicBool::new(false);
        let arrivals: Vec<Time> = (0..1000)
            .map(|i| Time::saturating(f64::from(i) * 0.01))
            .collect();
        let crew = crew(2, 0.001);
        let rule = Rule {
            max_batch: 1,
            window: Time::ZERO,
        };
        let batches = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(120));
                stop.store(true, Ordering::Relaxed);
            });
            drive(crew, &arrivals, rule, &stop)
        });
        assert!((3..60).contains(&batches.len()), "{}", batches.len());
    }
}
