//! One replica, event by event: every batcher, queue limits, timeouts, contention.

use super::batcher::{Forming, OneAtATime};
use super::hold_ups::Coming;
use super::idle::Idling;
use super::interference::Interfering;
use super::kernel::{Input, Server, Tally, stretched};
use super::service::ServiceTimes;
use super::sink::Sink;
use super::triton::{Payload, Step, Triton, Waiting};
use crate::workload::{Batcher, QueuePolicy, ServingConfiguration};
use std::collections::VecDeque;

/// Sees what happens in a replica; the invariant tests listen here.
pub(super) trait Watch {
    /// Whether anybody looks; what would be worked out only to be shown is not
    /// worked out otherwise.
    const WATCHES: bool = true;
    /// A request arrived (before it is known whether it is accepted).
    #[inline]
    fn arrived(&mut self, _request: usize, _now: f64) {}
    /// A request was rejected.
    #[inline]
    fn rejected(&mut self, _request: usize, _now: f64) {}
    /// A request gave up waiting.
    #[inline]
    fn timed_out(&mut self, _request: usize, _now: f64) {}
    /// A batch began on an instance.
    #[inline]
    fn started(&mut self, _instance: usize, _requests: &[u32], _now: f64) {}
    /// A batch ended on an instance.
    #[inline]
    fn ended(&mut self, _instance: usize, _requests: &[u32], _now: f64) {}
    /// All decisions of this instant are taken: how many instances are free and
    /// how many requests wait.
    #[inline]
    fn decided(&mut self, _free: usize, _waiting: usize, _now: f64) {}
}

/// Nobody watches.
pub(super) struct Unwatched;
impl Watch for Unwatched {
    const WATCHES: bool = false;
}

/// One instance.
#[derive(Debug, Clone)]
struct Slot {
    /// When its batch ends; infinite while idle.
    end: f64,
    /// When its batch began, or since when it is idle.
    since: f64,
    requests: Vec<u32>,
    /// The idle gap that counts for the batch, while its end is still to be worked
    /// out.
    gap: Option<f64>,
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }
}

/// The rule by which batches are made, with its state.
#[derive(Debug, Clone)]
enum Rule {
    WhenFree,
    Triton(Triton, VecDeque<Payload>),
    MlServer(Forming, Vec<VecDeque<Vec<u32>>>),
    OneAtATime(OneAtATime),
}

/// A replica at one moment.
pub(super) struct Replica<'a> {
    service: &'a ServiceTimes,
    input: Input<'a>,
    server: Server,
    limit: usize,
    timeout: f64,
    queue: VecDeque<u32>,
    slots: Vec<Slot>,
    busy: usize,
    next_end: f64,
    timer: f64,
    rule: Rule,
    coming: Coming<'a>,
    /// By instance.
    interfering: Vec<Interfering<'a>>,
    idling: Vec<Idling>,
    /// Lists of requests to be used again.
    spare: Vec<Vec<u32>>,
    pub(super) tally: Tally,
}

impl<'a> Replica<'a> {
    pub(super) fn new(
        service: &'a ServiceTimes,
        configuration: &ServingConfiguration,
        policy: QueuePolicy,
        (input, number): (Input<'a>, usize),
    ) -> Self {
        let server = Server {
            instances: configuration.instances as usize,
            max_batch: configuration.effective_max_batch() as usize,
            window: configuration.batch_window.get(),
        };
        let rule = match &configuration.batcher {
            Batcher::None | Batcher::WhenFree => Rule::WhenFree,
            Batcher::Triton {
                preferred_batch_sizes,
            } => {
                let prefetch = policy == QueuePolicy::default();
                let t = Triton::new(
                    preferred_batch_sizes,
                    server.max_batch,
                    server.window,
                    prefetch,
                );
                Rule::Triton(t, VecDeque::new())
            }
            Batcher::MlServer => {
                Rule::MlServer(Forming::default(), vec![VecDeque::new(); server.instances])
            }
            Batcher::KServe => {
                Rule::OneAtATime(OneAtATime::kserve(server.max_batch, server.window))
            }
            Batcher::MlServerInProcess => {
                Rule::OneAtATime(OneAtATime::in_process(server.max_batch, server.window))
            }
        };
        let idle = Slot {
            end: f64::INFINITY,
            since: f64::NEG_INFINITY,
            requests: Vec::new(),
            gap: None,
        };
        Self {
            service,
            input,
            server,
            limit: policy.limit.map_or(usize::MAX, |l| l as usize),
            timeout: policy
                .timeout
                .map_or(f64::INFINITY, crate::units::Time::get),
            queue: VecDeque::new(),
            slots: vec![idle; server.instances],
            busy: 0,
            next_end: f64::INFINITY,
            timer: f64::INFINITY,
            rule,
            coming: Coming::new(service.hold_ups(), input.seed, number),
            interfering: Interfering::of_instances(
                service.interference(),
                input.seed,
                (number, server.instances),
            ),
            idling: vec![service.idling(); server.instances],
            spare: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// When something happens next without a further arrival.
    pub(super) fn next_event(&self) -> f64 {
        self.next_end.min(self.timer)
    }

    /// Requests waiting or running, as a balancer counts them.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting() + self.slots.iter().map(|s| s.requests.len()).sum::<usize>()
    }

    /// Requests that wait, in a batch or not.
    pub(super) fn waiting(&self) -> usize {
        let lists = |lists: &VecDeque<Vec<u32>>| lists.iter().map(Vec::len).sum::<usize>();
        self.queue.len()
            + match &self.rule {
                Rule::WhenFree => 0,
                Rule::Triton(_, ready) => ready.iter().map(|p| p.requests.len()).sum(),
                Rule::MlServer(forming, lanes) => {
                    forming.len() + lanes.iter().map(lists).sum::<usize>()
                }
                Rule::OneAtATime(one) => one.forming.len(),
            }
    }

    fn arrival(&self, request: u32) -> f64 {
        self.input.arrival(request as usize)
    }

    /// Ends the batches that are due.
    pub(super) fn end_batches(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        if self.next_end > now {
            return;
        }
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if slot.end > now {
                continue;
            }
            watch.ended(i, &slot.requests, now);
            let mut late = 0;
            for &request in &slot.requests {
                let arrival = self.input.arrival(request as usize);
                let wait = slot.since - arrival;
                if wait > self.timeout {
                    late += 1;
                } else {
                    sink.served(request as usize, wait, slot.end - arrival);
                }
            }
            let first = slot.requests.first().copied().unwrap_or_default();
            if first as usize >= self.input.warm_up {
                self.tally
                    .add(slot.requests.len() - late, slot.end - slot.since);
            }
            self.tally.end = self.tally.end.max(now);
            (slot.since, slot.end) = (slot.end, f64::INFINITY);
            slot.requests.clear();
            self.busy -= 1;
        }
    }

    /// A request arrives.
    pub(super) fn offer(
        &mut self,
        request: u32,
        now: f64,
        sink: &mut impl Sink,
        watch: &mut impl Watch,
    ) {
        watch.arrived(request as usize, now);
        self.drop_expired(now, sink, watch);
        // A request that an idle instance could take at once does not queue.
        let full = self.limit < usize::MAX && self.waiting() >= self.limit.max(1);
        if full || (self.limit == 0 && self.busy == self.slots.len()) {
            watch.rejected(request as usize, now);
            sink.rejected(request as usize);
            return;
        }
        match &mut self.rule {
            Rule::WhenFree | Rule::OneAtATime(_) => self.queue.push_back(request),
            Rule::Triton(triton, ready) => {
                self.queue.push_back(request);
                let idle = self.slots.len() - self.busy;
                triton.arrived(self.queue.len(), ready.len(), (idle, self.slots.len()));
            }
            Rule::MlServer(forming, lanes) => {
                let spare = self.spare.pop().unwrap_or_default();
                if let Some(batch) = forming.add(request, now, &self.server, spare) {
                    forming.next_lane(lanes).push_back(batch);
                }
            }
        }
    }

    /// Drops what waited too long in the queue: a prefix, since all may wait
    /// equally long. Requests that are in a batch already stay there; they are
    /// counted when it ends.
    fn drop_expired(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        if self.timeout.is_infinite() {
            return;
        }
        while let Some(&request) = self.queue.front() {
            if now - self.arrival(request) <= self.timeout {
                break;
            }
            self.queue.pop_front();
            watch.timed_out(request as usize, now);
            sink.timed_out(request as usize);
        }
    }

    /// Makes and starts every batch that is due at this instant, and works out
    /// when the running ones end. `before` is how many were busy when the
    /// instant began, batches that ended in it included.
    pub(super) fn decide<W: Watch>(
        &mut self,
        now: f64,
        before: usize,
        sink: &mut impl Sink,
        watch: &mut W,
    ) {
        self.drop_expired(now, sink, watch);
        match self.rule {
            Rule::WhenFree => self.when_free(now, sink, watch),
            Rule::Triton(..) => self.triton(now, sink, watch),
            Rule::MlServer(..) => self.ml_server(now, sink, watch),
            Rule::OneAtATime(_) => self.one_at_a_time(now, sink, watch),
        }
        let fresh = self.slots.iter().any(|s| s.gap.is_some());
        if fresh || before != self.busy {
            let slots = self.slots.iter_mut().zip(&mut self.interfering);
            for (slot, interfering) in slots.filter(|(slot, _)| !slot.is_idle()) {
                let items = slot.requests.len();
                if let Some(gap) = slot.gap.take() {
                    let first = slot.requests.first().copied().unwrap_or_default();
                    let code = self.input.codes[first as usize];
                    let seconds =
                        self.service.seconds(items, self.busy, code, gap) * interfering.factor(now);
                    // A hold-up counts at the pace of an instance that runs alone.
                    let [alone, here] =
                        [1, self.busy].map(|busy| self.service.mean_seconds(items, busy));
                    let extra = self.coming.during(seconds * (alone / here));
                    let seconds = seconds + self.service.dispatch();
                    slot.end = now + (seconds + extra * (here / alone));
                } else {
                    slot.end = stretched(self.service, items, (before, self.busy), (now, slot.end));
                }
            }
        }
        self.next_end = self.slots.iter().fold(f64::INFINITY, |t, s| t.min(s.end));
        if W::WATCHES {
            watch.decided(self.slots.len() - self.busy, self.waiting(), now);
        }
    }

    /// How many instances are busy now.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// The instance that is idle longest, the lowest numbered among equals.
    fn longest_idle(&self) -> Option<usize> {
        let mut best = None;
        let mut since = f64::INFINITY;
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.is_idle() && slot.since < since {
                since = slot.since;
                best = Some(i);
            }
        }
        best
    }

    /// Starts a batch; its end is worked out when the instant is decided.
    fn start(
        &mut self,
        at: usize,
        requests: Vec<u32>,
        now: f64,
        sink: &mut impl Sink,
        watch: &mut impl Watch,
    ) {
        for &request in &requests {
            if now - self.arrival(request) > self.timeout {
                watch.timed_out(request as usize, now);
                sink.timed_out(request as usize);
            }
        }
        watch.started(at, &requests, now);
        let slot = &mut self.slots[at];
        slot.gap = Some(self.idling[at].after(now - slot.since));
        slot.since = now;
        slot.end = f64::INFINITY;
        let old = std::mem::replace(&mut slot.requests, requests);
        self.spare.push(old);
        self.busy += 1;
    }

    /// Takes the first `count` requests off the queue.
    fn board(&mut self, count: usize) -> Vec<u32> {
        let mut requests = self.spare.pop().unwrap_or_default();
        requests.clear();
        requests.extend(self.queue.drain(..count));
        requests
    }

    fn when_free(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        self.timer = f64::INFINITY;
        while let (Some(at), Some(&head)) = (self.longest_idle(), self.queue.front()) {
            let count = self.queue.len().min(self.server.max_batch);
            let over = self.arrival(head) + self.server.window;
            let waits = self.server.max_batch > 1 && self.server.window > 0.0;
            if waits && count < self.server.max_batch && now < over {
                self.timer = over;
                break;
            }
            let requests = self.board(count);
            self.start(at, requests, now, sink, watch);
        }
    }

    fn triton(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        let mut looked = false;
        loop {
            let idle = self.longest_idle();
            let Rule::Triton(triton, ready) = &mut self.rule else {
                return;
            };
            if let Some(at) = idle
                && let Some(payload) = triton.dequeue(ready, now)
            {
                self.start(at, payload.requests, now, sink, watch);
                continue;
            }
            if looked || (!triton.is_notified() && now < self.timer) {
                return;
            }
            let waiting = Waiting {
                count: self.queue.len(),
                oldest: self
                    .queue
                    .front()
                    .map_or(now, |&r| self.input.arrival(r as usize)),
            };
            let last = ready.back().map_or(0, |p| p.requests.len());
            let instances = (self.slots.len() - self.busy, self.slots.len());
            match triton.turn(now, waiting, (ready.len(), last), instances) {
                Step::Sleep(until) => {
                    self.timer = until;
                    looked = true;
                }
                Step::Move { count, fresh } => {
                    if fresh {
                        let mut requests = self.spare.pop().unwrap_or_default();
                        requests.clear();
                        ready.push_back(Payload {
                            requests,
                            oldest: waiting.oldest,
                        });
                    }
                    if let Some(payload) = ready.back_mut() {
                        payload.requests.extend(self.queue.drain(..count));
                    }
                    // The thread goes on at once.
                    self.timer = now;
                }
            }
        }
    }

    fn ml_server(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        let Rule::MlServer(forming, lanes) = &mut self.rule else {
            return;
        };
        if let Some(batch) = forming.overdue(now) {
            forming.next_lane(lanes).push_back(batch);
        }
        self.timer = forming.deadline();
        for at in 0..self.slots.len() {
            let Rule::MlServer(_, lanes) = &mut self.rule else {
                return;
            };
            if self.slots[at].is_idle()
                && let Some(batch) = lanes[at].pop_front()
            {
                self.start(at, batch, now, sink, watch);
            }
        }
    }

    fn one_at_a_time(&mut self, now: f64, sink: &mut impl Sink, watch: &mut impl Watch) {
        let Rule::OneAtATime(one) = &mut self.rule else {
            return;
        };
        self.timer = f64::INFINITY;
        if self.busy > 0 {
            return;
        }
        if let Some(batch) = one.collect(&mut self.queue, now) {
            if let Some(at) = self.longest_idle() {
                self.start(at, batch, now, sink, watch);
            }
        } else {
            self.timer = one.next_look();
        }
    }
}
