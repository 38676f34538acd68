//! The fast paths: one replica, requests served in order, nothing rejected.
//!
//! They do the same arithmetic in the same order as the general engine, so that
//! their times are equal to the last bit; a test holds them to it. Instances that
//! slow each other have a kernel in a file of its own.
//!
//! Ties are decided on purpose, everywhere alike: at one instant batches end
//! first, then requests arrive, then batches are made. An instance that ends at
//! the very moment of an arrival serves it, and a request that arrives at the
//! very moment of a departure is on board. Of several free instances the one
//! that was idle longest takes the batch (the lowest numbered among equals).

use super::contended;
use super::hold_ups::Coming;
use super::interference::Interfering;
use super::service::{Draw, ServiceTimes};
use super::sink::Sink;

/// What arrives: times at unit rate, how far to stretch them, and the draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    pub unit_arrivals: &'a [f64],
    pub codes: &'a [u16],
    /// Requests whose batch is held up, ascending, and for how many seconds:
    /// hold-ups that came, beside those that are drawn.
    pub hold_ups: &'a [(usize, f64)],
    /// Requests whose batch, where it begins with them, leaves late, ascending, and
    /// by how many seconds.
    pub late: &'a [(usize, f64)],
    /// Of the hold-ups that are drawn.
    pub seed: u64,
    /// Seconds between two arrivals on average.
    pub interval: f64,
    /// Batches whose first request comes before this one are not tallied.
    pub warm_up: usize,
}

impl Input<'_> {
    #[inline]
    pub(super) fn arrival(&self, request: usize) -> f64 {
        self.unit_arrivals[request] * self.interval
    }
}

/// The server as the kernels see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub instances: usize,
    pub max_batch: usize,
    pub window: f64,
}

/// What the instances did after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub batches: u64,
    pub items: u64,
    /// Seconds of service, summed over instances.
    pub busy: f64,
    /// When the last batch ended.
    pub end: f64,
}

impl Tally {
    #[inline]
    pub(super) fn add(&mut self, items: usize, seconds: f64) {
        self.batches += 1;
        self.items += items as u64;
        self.busy += seconds;
    }
}

/// Picks the fastest kernel that fits.
pub(super) fn run(
    service: &ServiceTimes,
    server: Server,
    input: Input<'_>,
    sink: &mut impl Sink,
) -> Tally {
    if service.contends(server.max_batch, server.instances) {
        contended::run(service, server, input, sink)
    } else if server.instances == 1
        && server.max_batch == 1
        && input.hold_ups.is_empty()
        && input.late.is_empty()
    {
        single(service, input, sink)
    } else {
        batched(service, server, input, sink)
    }
}

/// One instance, every request alone: the recursion of Lindley (1952) in
/// absolute times.
fn single(service: &ServiceTimes, input: Input<'_>, sink: &mut impl Sink) -> Tally {
    let mut tally = Tally::default();
    let draw = service.draw(1, 1);
    let mut free = f64::NEG_INFINITY;
    let mut coming = Coming::new(service.hold_ups(), input.seed, 0);
    let mut interfering = Interfering::new(service.interference(), input.seed, (0, 0));
    let mut idling = service.idling();
    for (request, (unit, code)) in input.unit_arrivals.iter().zip(input.codes).enumerate() {
        let arrival = unit * input.interval;
        let start = arrival.max(free) + service.dispatch();
        let gap = idling.after(start - free);
        let seconds = draw.seconds(*code, gap) * interfering.factor(start);
        let seconds = seconds + coming.during(seconds);
        free = start + seconds;
        sink.served(request, start - arrival, free - arrival);
        if request >= input.warm_up {
            tally.add(1, seconds);
        }
        if sink.settled() {
            break;
        }
    }
    tally.end = free;
    tally
}

/// Any number of instances that do not slow each other, batches made when an
/// instance is free.
fn batched(
    service: &ServiceTimes,
    server: Server,
    input: Input<'_>,
    sink: &mut impl Sink,
) -> Tally {
    let mut tally = Tally::default();
    let draws: Vec<Draw> = (1..=server.max_batch).map(|b| service.draw(b, 1)).collect();
    let mut free = vec![f64::NEG_INFINITY; server.instances];
    let (mut head, mut hold_up) = (0, 0);
    let mut coming = Coming::new(service.hold_ups(), input.seed, 0);
    let trace = service.interference();
    let mut interfering = Interfering::of_instances(trace, input.seed, (0, server.instances));
    let mut idling = vec![service.idling(); server.instances];
    while head < input.unit_arrivals.len() {
        let (slot, since) = earliest(&free);
        let start =
            departure(&server, &input, head, since) + late(&input, head) + service.dispatch();
        let items = boarding(&server, &input, head, start);
        let gap = idling[slot].after(start - since);
        let seconds =
            draws[items - 1].seconds(input.codes[head], gap) * interfering[slot].factor(start);
        let seconds =
            seconds + coming.during(seconds) + held_up(&input, &mut hold_up, head + items);
        let end = start + seconds;
        free[slot] = end;
        for request in head..head + items {
            let arrival = input.arrival(request);
            sink.served(request, start - arrival, end - arrival);
        }
        if head >= input.warm_up {
            tally.add(items, seconds);
        }
        tally.end = tally.end.max(end);
        if sink.settled() {
            break;
        }
        head += items;
    }
    tally
}

/// For how long the batch that ends before request `end` is held up; `next` is
/// the first hold-up that has not come yet.
#[inline]
pub(super) fn held_up(input: &Input<'_>, next: &mut usize, end: usize) -> f64 {
    let mut sum = 0.0;
    while let Some((request, seconds)) = input.hold_ups.get(*next)
        && *request < end
    {
        sum += seconds;
        *next += 1;
    }
    sum
}

/// By how much the batch that begins with request `head` leaves late.
#[inline]
pub(super) fn late(input: &Input<'_>, head: usize) -> f64 {
    if input.late.is_empty() {
        return 0.0;
    }
    let at = input.late.partition_point(|(request, _)| *request < head);
    match input.late.get(at) {
        Some((request, seconds)) if *request == head => *seconds,
        _ => 0.0,
    }
}

/// The place and value of the smallest time; the first among equals.
#[inline]
fn earliest(times: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, &time) in times.iter().enumerate() {
        if time < best.1 {
            best = (i, time);
        }
    }
    best
}

/// When the batch that begins with request `head` leaves, on an instance that
/// is free since `since`: when it is full or its window is over, but not before
/// the instance is free.
#[inline]
pub(super) fn departure(server: &Server, input: &Input<'_>, head: usize, since: f64) -> f64 {
    let arrival = input.arrival(head);
    let ready = arrival.max(since);
    if server.window <= 0.0 || server.max_batch == 1 {
        return ready;
    }
    let full = match input.unit_arrivals.get(head + server.max_batch - 1) {
        Some(unit) => unit * input.interval,
        None => f64::INFINITY,
    };
    ready.max(full.min(arrival + server.window))
}

/// How many requests from `head` on have arrived by `start`, up to a full batch.
#[inline]
pub(super) fn boarding(server: &Server, input: &Input<'_>, head: usize, start: f64) -> usize {
    let most = server.max_batch.min(input.unit_arrivals.len() - head);
    let mut items = 1;
    while items < most && input.arrival(head + items) <= start {
        items += 1;
    }
    items
}

/// The new end of a batch of `items` when the number of busy instances changes
/// at `now`; the very same end when its pace does not.
#[inline]
pub(super) fn stretched(
    service: &ServiceTimes,
    items: usize,
    (before, after): (usize, usize),
    (now, end): (f64, f64),
) -> f64 {
    match service.stretch(items, before, after) {
        None => end,
        Some(factor) => now + (end - now) * factor,
    }
}
