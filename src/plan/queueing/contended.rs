//! The kernel for instances that slow each other.
//!
//! A batch makes progress at the pace that belongs to the number of busy
//! instances at each moment. Batches of one size always share their pace, so
//! each size has a clock of its own that counts in whole batches: it advances by
//! 1 / (mean service time) per second, and a batch ends when the clock has come
//! as far beyond its start as its own relative service time (virtual time, as in
//! the processor-sharing queue of Kleinrock 1967). A change of the number of busy
//! instances then costs a look at each clock, not at each batch.
//!
//! The engine stretches what is left of every batch instead. The two differ by
//! rounding alone; a test holds them to that.

use super::hold_ups::Coming;
use super::interference::Interfering;
use super::kernel::{Input, Server, Tally, boarding, departure, held_up, late};
use super::service::{Draw, ServiceTimes};
use super::sink::Sink;
use std::collections::VecDeque;

/// Batches that a clock counts before it starts again.
const MOST_COUNTED: f64 = 16.0;

/// A batch under way.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// Where its size's clock stands when it ends.
    target: f64,
    began: f64,
    first: usize,
    items: usize,
    instance: usize,
}

/// An instance that is idle, and since when.
type Idle = (f64, usize);

/// The batches of one size.
#[derive(Debug)]
struct Clock<'s> {
    /// Batches' worth of progress since the clock was last reset.
    now: f64,
    /// Under way, the first to end in front.
    running: VecDeque<Running>,
    draw: Draw<'s>,
}

impl Clock<'_> {
    /// Starts the count again before it is so large that its digits are missed.
    #[inline]
    fn rebase(&mut self) {
        if self.now > MOST_COUNTED {
            for batch in &mut self.running {
                batch.target -= self.now;
            }
            self.now = 0.0;
        }
    }

    /// Keeps `running` in order of its ends; later ends are looked for from the back,
    /// where a new batch nearly always belongs.
    #[inline]
    fn add(&mut self, batch: Running) {
        let mut place = self.running.len();
        while place > 0
            && self
                .running
                .get(place - 1)
                .is_some_and(|other| other.target > batch.target)
        {
            place -= 1;
        }
        self.running.insert(place, batch);
    }
}

/// Runs all requests through instances that slow each other.
pub(super) fn run(
    service: &ServiceTimes,
    server: Server,
    input: Input<'_>,
    sink: &mut impl Sink,
) -> Tally {
    let mut tally = Tally::default();
    let mut clocks: Vec<Clock<'_>> = (1..=server.max_batch)
        .map(|batch| Clock {
            now: 0.0,
            running: VecDeque::with_capacity(server.instances),
            draw: service.draw(batch, 1),
        })
        .collect();
    // The longest idle first.
    let mut idle: VecDeque<Idle> = (0..server.instances)
        .map(|instance| (f64::NEG_INFINITY, instance))
        .collect();
    let (mut head, mut hold_up) = (0, 0);
    let mut coming = Coming::new(service.hold_ups(), input.seed, 0);
    let trace = service.interference();
    let mut interfering = Interfering::of_instances(trace, input.seed, (0, server.instances));
    let mut idling = vec![service.idling(); server.instances];
    let mut before = 0.0;
    loop {
        let busy = server.instances - idle.len();
        let (ending, next_end) = first_end(&clocks, service, busy, before);
        let next_start = next_departure(&idle, (&server, service.dispatch()), &input, head);
        let now = next_end.min(next_start);
        if now.is_infinite() {
            break;
        }
        for (at, clock) in clocks.iter_mut().enumerate() {
            let Some(front) = clock.running.front() else {
                continue;
            };
            clock.now = if at == ending && next_end <= now {
                front.target
            } else {
                // Rounding must not carry a clock beyond an end that is yet to come.
                (clock.now + (now - before) * service.pace(at + 1, busy)).min(front.target)
            };
        }
        before = now;
        if next_end <= now {
            for clock in &mut clocks {
                while let Some(batch) = clock.running.front().copied() {
                    if batch.target > clock.now {
                        break;
                    }
                    clock.running.pop_front();
                    for request in batch.first..batch.first + batch.items {
                        let arrival = input.arrival(request);
                        sink.served(request, batch.began - arrival, now - arrival);
                    }
                    if batch.first >= input.warm_up {
                        tally.add(batch.items, now - batch.began);
                    }
                    idle.push_back((now, batch.instance));
                }
            }
            tally.end = now;
            if sink.settled() {
                break;
            }
        }
        while next_departure(&idle, (&server, service.dispatch()), &input, head) <= now {
            let Some((since, instance)) = idle.pop_front() else {
                break;
            };
            let items = boarding(&server, &input, head, now);
            let clock = &mut clocks[items - 1];
            if clock.running.is_empty() {
                clock.now = 0.0;
            }
            clock.rebase();
            // A hold-up counts at the pace of an instance that runs alone.
            let gap = idling[instance].after(now - since);
            let relative =
                clock.draw.relative(input.codes[head], gap) * interfering[instance].factor(now);
            let alone = service.mean_seconds(items, 1);
            let extra =
                coming.during(relative * alone) + held_up(&input, &mut hold_up, head + items);
            let work = relative + extra / alone;
            clock.add(Running {
                target: clock.now + work,
                began: now,
                first: head,
                items,
                instance,
            });
            head += items;
        }
    }
    tally
}

/// The size (less one) whose batch ends first with that many busy instances, and when.
#[inline]
fn first_end(clocks: &[Clock<'_>], service: &ServiceTimes, busy: usize, now: f64) -> (usize, f64) {
    let mut first = (0, f64::INFINITY);
    for (at, clock) in clocks.iter().enumerate() {
        if let Some(front) = clock.running.front() {
            let end = now + (front.target - clock.now) * service.mean_seconds(at + 1, busy);
            if end < first.1 {
                first = (at, end);
            }
        }
    }
    first
}

/// When the batch that begins with `head` leaves on the instance that is idle
/// longest; infinite where there is no such batch or instance.
#[inline]
fn next_departure(
    idle: &VecDeque<Idle>,
    (server, dispatch): (&Server, f64),
    input: &Input<'_>,
    head: usize,
) -> f64 {
    match idle.front() {
        Some((since, _)) if head < input.unit_arrivals.len() => {
            departure(server, input, head, *since) + late(input, head) + dispatch
        }
        _ => f64::INFINITY,
    }
}
