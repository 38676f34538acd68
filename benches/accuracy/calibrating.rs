//! Calibration between the loads: short rounds, of which the latest count.

use advisor::{
    error::Result,
    measure::{
        calibrate::gaps::{GAPS_MS, in_one_visit},
        replica::Rule,
        serve::process::{Gaps, ReplicaProcess, Visit},
    },
    plan::queueing::ServiceTimes,
    profile::{
        calibration::{
            Calibration, Device, Fingerprint, IdleGap, ModelClass, ModelSummary, Overheads, Round,
            Row, SCHEMA, SessionLayout,
        },
        history::between_runs,
        hold_ups::{HoldUpRate, HoldUps},
        interference::{Interference, InterferenceTrace},
        machine::Machine,
    },
    stats::Sample,
    units::{Bytes, Count, Flops, Rate, Time},
    verify::{Schedule, dispatch_delay, dispatch_load},
    workload::Arrivals,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// The largest batch of all cells.
pub const LARGEST: u32 = 8;

/// Rounds that a prediction rests on: the latest, and of those the older ones
/// only where there are few.
const ROUNDS: usize = 16;
const FEW_ROUNDS: usize = 4;

/// Seconds after which a round is old: the machine has drifted since.
const OLD: f64 = 10.0;

/// Seconds after which hold-ups and interference are forgotten: what is rare comes a
/// few times a minute. Not more, or the first visits would count in every stretch.
const DISTURBANCES_OLD: f64 = 30.0;

/// Seconds of a visit to a layout with all its batch sizes, warming up not counted.
pub const VISIT: f64 = 0.080;

/// The same for the layout that comes under load next. Whatever else wants a
/// processor waits for an idle moment as long as it can: in visits that are much
/// shorter than a stretch of load it would not be met as often.
pub const LONG_VISIT: f64 = 0.4;

/// Inferences shorter than this many seconds are fast.
pub const FAST: f64 = 0.001;

/// Mean gaps of fast ones under load, in milliseconds; shorter than those that a
/// thread sleeps through.
const UNDER_LOAD_MS: [f64; 2] = [0.01, 0.05];
const SLEPT_THROUGH_MS: f64 = 0.12;

/// A replica is loaded with them until the second of these moments, in seconds, and
/// counted from the first: what is back to back becomes faster for a tenth of a
/// second, what is loaded to a third of its time never as fast.
const LIGHTLY: (f64, f64) = (0.1, 0.25);

/// No batching.
const SINGLY: Rule = Rule {
    max_batch: 1,
    window: Time::ZERO,
};

/// A visit of one batch size.
struct Kept {
    visit: Visit,
    /// How many times as long as usual its inferences took because of interference.
    slowdown: f64,
}

impl Kept {
    /// Mean service time without hold-ups and without interference.
    fn undisturbed(&self) -> f64 {
        let Visit {
            round, hold_ups, ..
        } = &self.visit;
        let lost = hold_ups.total().get() / f64::from(round.inferences.max(1));
        (round.mean.get() - lost) / self.slowdown
    }
}

/// What was measured of the layouts of one model, the latest last.
pub struct Rolling {
    begun: Instant,
    rows: BTreeMap<(SessionLayout, u32), VecDeque<Kept>>,
    idle: BTreeMap<SessionLayout, VecDeque<Gaps>>,
    dispatch: BTreeMap<SessionLayout, VecDeque<f64>>,
    /// Visits for which hold-ups are remembered: when, the time of service without
    /// them, and they.
    hold_ups: BTreeMap<SessionLayout, VecDeque<(Time, Time, HoldUps)>>,
    /// Visits of which interference is remembered, and when.
    interference: BTreeMap<SessionLayout, VecDeque<(Time, Interference)>>,
}

impl Rolling {
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            rows: BTreeMap::new(),
            idle: BTreeMap::new(),
            dispatch: BTreeMap::new(),
            hold_ups: BTreeMap::new(),
            interference: BTreeMap::new(),
        }
    }

    /// Forgets service times: those of another configuration, whose batches come in
    /// another mix.
    pub fn begin(&mut self) {
        self.rows.clear();
    }

    /// Visits every batch size of a layout up to the largest, for so many seconds.
    pub fn round(
        &mut self,
        replica: &mut ReplicaProcess,
        largest: u32,
        seconds: f64,
    ) -> Result<()> {
        let layout = replica.layout;
        let at = Time::from(self.begun.elapsed());
        let saturated = replica.saturate(largest, Time::saturating(seconds))?;
        let met = self.interference.entry(layout).or_default();
        let slowdown = saturated.interference.slowdown();
        met.push_back((at, saturated.interference));
        forget(met, at, |(at, _)| *at);
        for (batch, visit) in saturated.by_size {
            let service = visit.round.mean.scaled(f64::from(visit.round.inferences));
            let met = self.hold_ups.entry(layout).or_default();
            met.push_back((at, service - visit.hold_ups.total(), visit.hold_ups.clone()));
            forget(met, at, |(at, ..)| *at);
            let kept = self.rows.entry((layout, batch)).or_default();
            kept.push_back(Kept {
                visit: Visit {
                    round: Round { at, ..visit.round },
                    ..visit
                },
                slowdown,
            });
            while kept.len() > ROUNDS
                || kept.len() > FEW_ROUNDS
                    && kept
                        .front()
                        .is_some_and(|first| (at - first.visit.round.at).get() > OLD)
            {
                kept.pop_front();
            }
        }
        Ok(())
    }

    /// Visits a layout of one instance with idle gaps.
    pub fn idle(&mut self, replica: &mut ReplicaProcess) -> Result<()> {
        let layout = replica.layout;
        let latest = self.rows.get(&(layout, 1)).and_then(|kept| kept.back());
        let one = latest.map_or(1e-3, Kept::undisturbed);
        // As long as usual, as what is laid beside it: others interfere with both.
        let one = Time::saturating(one * self.interference_met(layout).slowdown());
        let under_load = |gap: &Time| one.get() < FAST && gap.as_millis() < SLEPT_THROUGH_MS;
        let mut long = GAPS_MS.map(Time::from_millis).to_vec();
        long.retain(|gap| !under_load(gap));
        let mut gaps = replica.after_gaps(1, in_one_visit(&long, one))?;
        let short = UNDER_LOAD_MS.map(Time::from_millis);
        for (gap, seed) in short.into_iter().filter(under_load).zip(1..) {
            let (after, times) = served_lightly(replica, one, (gap, seed))?;
            let after = gaps.back_to_back.scaled(after.ratio(one));
            gaps.after.push((gap, after, times));
        }
        let kept = self.idle.entry(layout).or_default();
        kept.push_back(gaps);
        if kept.len() > ROUNDS {
            kept.pop_front();
        }
        Ok(())
    }

    /// Shows a layout how long a batch that is due waits.
    pub fn dispatch(&mut self, replica: &mut ReplicaProcess, service: &ServiceTimes) -> Result<()> {
        let layout = replica.layout;
        let Some(schedule) = dispatch_load(service, layout.instances)? else {
            return Ok(());
        };
        let load = replica.drive(schedule.arrivals(), SINGLY, &AtomicBool::new(false))?;
        let kept = self.dispatch.entry(layout).or_default();
        kept.push_back(dispatch_delay(&load.batches).get());
        if kept.len() > ROUNDS {
            kept.pop_front();
        }
        Ok(())
    }

    /// How long a batch that is due waits; zero where it was not looked at.
    pub fn dispatch_delay(&self, layout: SessionLayout) -> Time {
        let seen = self.dispatch.get(&layout).into_iter().flatten().copied();
        Sample::new(seen.collect()).map_or(Time::ZERO, |s| Time::saturating(s.median()))
    }

    /// How much longer the batches of the latest round took than those of all
    /// rounds kept, over these layouts and all their batch sizes: the pace of the
    /// machine changes within a second.
    pub fn pace(&self, layouts: &[SessionLayout]) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        let rows = self.rows.iter();
        for (_, kept) in rows.filter(|((layout, _), _)| layouts.contains(layout)) {
            let means: f64 = kept.iter().map(Kept::undisturbed).sum();
            if let Some(latest) = kept.back() {
                sum += (latest.undisturbed() * kept.len() as f64 / means).ln();
                count += 1.0;
            }
        }
        if count > 0.0 {
            f64::exp(sum / count)
        } else {
            1.0
        }
    }

    /// How a layout was held up of late.
    pub fn hold_ups(&self, layout: SessionLayout) -> Option<HoldUpRate> {
        let (mut all, mut service) = (HoldUps::default(), Time::ZERO);
        for (_, seconds, met) in self.hold_ups.get(&layout)? {
            service = service + *seconds;
            all.add(met);
        }
        HoldUpRate::new(&all, service)
    }

    /// How the pace of a layout changed of late.
    pub fn interference(&self, layout: SessionLayout) -> Option<InterferenceTrace> {
        InterferenceTrace::new(&self.interference_met(layout))
    }

    fn interference_met(&self, layout: SessionLayout) -> Interference {
        let mut all = Interference::default();
        for (_, met) in self.interference.get(&layout).into_iter().flatten() {
            all.add(met);
        }
        all
    }

    /// What there is now, as a calibration. Which visits met interference is chance:
    /// each counts as if it had met what is usual.
    pub fn calibration(&self, name: &str, machine: &Machine, runtime: &str) -> Calibration {
        let rows = self
            .rows
            .iter()
            .map(|(&(layout, batch), kept)| {
                let mut row = Row::new(layout, batch);
                let usual = self.interference_met(layout).slowdown();
                for Kept { visit, slowdown } in kept {
                    let mean = visit.round.mean.scaled(usual / slowdown);
                    row.rounds.push(Round {
                        mean,
                        ..visit.round
                    });
                    row.samples.extend(&visit.samples);
                    row.hold_ups.add(&visit.hold_ups);
                }
                row
            })
            .collect();
        Calibration {
            schema: SCHEMA,
            machine_type: None,
            taken_at: jiff::Timestamp::now().to_string(),
            fingerprint: Fingerprint::of(machine, &Device::Cpu, runtime, name),
            machine: machine.clone(),
            model: unread(name),
            device: Device::Cpu,
            rows,
            starts: Vec::new(),
            left_out: Vec::new(),
            idle_gaps: self.idle_gaps(),
            overheads: Overheads::default(),
            steadiness: None,
            between_runs: Some(between_runs(&[])),
            caveats: Vec::new(),
        }
    }

    /// The median over the visits of each one's own ratio, as in `advisor calibrate`.
    fn idle_gaps(&self) -> Vec<IdleGap> {
        let mut found = Vec::new();
        for (&layout, visits) in &self.idle {
            let mut gaps = [UNDER_LOAD_MS.to_vec(), GAPS_MS.to_vec()].concat();
            gaps.sort_by(f64::total_cmp);
            gaps.dedup();
            for gap in gaps.into_iter().map(Time::from_millis) {
                let seen: Vec<(f64, u32)> = visits
                    .iter()
                    .filter_map(|visit| {
                        let (_, after, times) =
                            visit.after.iter().find(|(other, ..)| *other == gap)?;
                        Some((after.ratio(visit.back_to_back), *times))
                    })
                    .collect();
                let Ok(ratios) = Sample::new(seen.iter().map(|(ratio, _)| *ratio).collect()) else {
                    continue;
                };
                found.push(IdleGap {
                    layout,
                    gap,
                    slowdown: ratios.median(),
                    visits: seen.len() as u32,
                    inferences: seen.iter().map(|(_, times)| *times).sum(),
                });
            }
        }
        found
    }
}

/// The mean service time of single items that come at random, so that the instance
/// is idle so long between them in the mean, hold-ups not counted, and of how many.
fn served_lightly(
    replica: &mut ReplicaProcess,
    one: Time,
    (gap, seed): (Time, u64),
) -> Result<(Time, u32)> {
    let schedule = Schedule::new(
        &Arrivals::Poisson,
        Rate::saturating(1.0 / (one + gap).get()),
        (Time::saturating(LIGHTLY.1), u32::MAX),
        seed,
    )?;
    let load = replica.drive(schedule.arrivals(), SINGLY, &AtomicBool::new(false))?;
    let mut free = Time::ZERO;
    let mut service = Vec::new();
    for batch in &load.batches {
        let counts = batch.end.get() > LIGHTLY.0;
        if counts && (batch.due - free).as_millis() < SLEPT_THROUGH_MS {
            service.push(batch.service());
        }
        free = batch.end;
    }
    let _ = HoldUps::taken_from(&mut service);
    let total: Time = service.iter().copied().sum();
    let count = service.len().max(1) as u32;
    Ok((total.scaled(1.0 / f64::from(count)), count))
}

/// Drops what was met too long before `now`.
fn forget<T>(met: &mut VecDeque<T>, now: Time, at: impl Fn(&T) -> Time) {
    while met
        .front()
        .is_some_and(|first| (now - at(first)).get() > DISTURBANCES_OLD)
    {
        met.pop_front();
    }
}

/// A summary of which only the name is used: latency curves need no more.
fn unread(name: &str) -> ModelSummary {
    ModelSummary {
        name: name.to_owned(),
        hash: name.to_owned(),
        parameters: Count::new(0),
        weight_bytes: Bytes::ZERO,
        flops_per_item: Flops::saturating(0.0),
        activation_bytes_per_item: Bytes::ZERO,
        io_bytes_per_item: Bytes::ZERO,
        operators: 0,
        class: ModelClass::Other,
        max_batch: None,
        memory: None,
    }
}
