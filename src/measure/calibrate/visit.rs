//! What one instance does in one visit.

use super::{inputs::Turns, protocol::Timed};
use crate::{
    error::Result,
    measure::runtime::session::{PreparedInputs, Session},
    profile::{
        hold_ups::HoldUps,
        interference::{Inference, Interference},
    },
    stats::condensed,
    units::Time,
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

/// Inferences shorter than this are warmed up at the start of a visit. Seen on 2
/// threads of an AMD EPYC, mean by the time since the start of a load: a tree
/// ensemble takes 24 µs in the first millisecond, 18.3 in the next ones, 17.4
/// after 20 ms, 16.8 after 100; a small network 10.1, 9.5, 8.8, 8.6.
const SHORT: f64 = 0.005;

/// For so many seconds.
const LEAD_IN: f64 = 0.040;

/// Service times sent per visit: writing and reading thousands of numbers would
/// take time from the measurement. The mean is taken over all of them before.
const SAMPLES_SENT: usize = 128;

/// How long inferences that take so long are run before they count.
pub(super) fn lead_in(inference: Time) -> Time {
    if inference.get() < SHORT {
        Time::saturating(LEAD_IN)
    } else {
        Time::ZERO
    }
}

/// What a visit came to, from (end, service time) pairs.
pub(super) fn told(mut times: Vec<(Time, Time)>) -> Timed {
    times.sort_by_key(|(end, _)| *end);
    let mut service: Vec<Time> = times.into_iter().map(|(_, service)| service).collect();
    let total: Time = service.iter().copied().sum();
    let inferences = service.len();
    let hold_ups = HoldUps::taken_from(&mut service).condensed(SAMPLES_SENT);
    Timed {
        inferences: inferences as u32,
        mean: total.scaled(1.0 / inferences.max(1) as f64),
        hold_ups,
        service: condensed(&service, SAMPLES_SENT),
        interference: Interference::default(),
    }
}

/// The same of instances that ran batches of one size, with the interference that
/// each of them met.
pub(super) fn told_by_instances(batch_size: u32, instances: Vec<Vec<(Time, Time)>>) -> Timed {
    let mut interference = Interference::default();
    for times in &instances {
        let own: Vec<Inference> = times
            .iter()
            .map(|(end, service)| (batch_size, *end, *service))
            .collect();
        interference.add(&Interference::met(&own));
    }
    Timed {
        interference,
        ..told(instances.into_iter().flatten().collect())
    }
}

/// What one instance does in one request.
pub(super) struct Share<'i> {
    pub(super) inputs: &'i [PreparedInputs],
    pub(super) offset: usize,
    pub(super) duration: Time,
    pub(super) at_least: u32,
}

impl Share<'_> {
    /// Runs until this instance has its share and every other one too; returns
    /// (end, service time) pairs. Short inferences are warmed up first.
    pub(super) fn work(
        &self,
        session: &mut Session,
        unfinished: &AtomicU32,
    ) -> Result<Vec<(Time, Time)>> {
        let mut finished = false;
        let outcome = self.try_work(session, (unfinished, &mut finished));
        if !finished {
            // The others must not wait for an instance that gave up.
            unfinished.fetch_sub(1, Ordering::AcqRel);
        }
        outcome
    }

    fn try_work(
        &self,
        session: &mut Session,
        (unfinished, finished): (&AtomicU32, &mut bool),
    ) -> Result<Vec<(Time, Time)>> {
        let mut inputs = Turns::new(self.inputs, self.offset);
        let mut one = |session: &mut Session| timed(session, inputs.next()?);
        let origin = Instant::now();
        let mut times = Vec::new();
        let first = one(session)?;
        let lead_in = lead_in(first);
        if lead_in.is_zero() {
            times.push((Time::from(origin.elapsed()), first));
        } else {
            while Time::from(origin.elapsed()) < lead_in {
                one(session)?;
            }
        }
        let begin = if times.is_empty() {
            Instant::now()
        } else {
            origin
        };
        loop {
            if !*finished
                && times.len() >= self.at_least as usize
                && Time::from(begin.elapsed()) >= self.duration
            {
                *finished = true;
                unfinished.fetch_sub(1, Ordering::AcqRel);
            }
            if *finished && unfinished.load(Ordering::Acquire) == 0 {
                return Ok(times);
            }
            let service = one(session)?;
            if *finished && unfinished.load(Ordering::Acquire) == 0 {
                return Ok(times);
            }
            times.push((Time::from(origin.elapsed()), service));
        }
    }
}

pub(super) fn timed(session: &mut Session, input: &PreparedInputs) -> Result<Time> {
    let begin = Instant::now();
    session.run(input)?;
    Ok(Time::from(begin.elapsed()))
}
