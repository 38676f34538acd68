//! One way to do the job: how many of which machine, how long, at what cost.

use super::{
    interruption::{Hazard, stretch},
    question::BatchQuestion,
};
use crate::{
    estimate::{Estimate, Source},
    plan::{
        advise::{
            footprint::{Fit, MemoryFit},
            machine::{Candidate, Machine},
            option::Verdict,
            sizing::Room,
        },
        latency::{BatchPoint, End, LatencyCurve, curve::at},
        pricing::{Billing, Offer, Term},
    },
    profile::calibration::SessionLayout,
    units::{Rate, Time, Usd, UsdPerHour, UsdPerMillion},
};
use serde::Serialize;

/// More numbers of machines than this are not compared for their rounding.
const MOST_GRANULES: u32 = 240;

/// A way to do the job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchOption {
    /// The machine.
    pub machine: Machine,
    /// How many of them, at the same time.
    pub machines: u32,
    /// Instances and threads on each.
    pub layout: SessionLayout,
    /// Items per inference.
    pub batch_size: u32,
    /// Items per second of one machine.
    #[serde(rename = "items_per_s")]
    pub throughput: Estimate<Rate>,
    /// From the start of the machines to the last result.
    #[serde(rename = "time_s")]
    pub time: Estimate<Time>,
    /// How much of that is starting up and loading the model.
    #[serde(rename = "start_s")]
    pub start: Time,
    /// What the job costs on all machines, as billed.
    #[serde(rename = "cost_usd")]
    pub cost: Estimate<Usd>,
    /// The same per million items.
    #[serde(rename = "cost_usd_per_million")]
    pub cost_per_million: UsdPerMillion,
    /// Whether it fits into memory.
    pub memory: MemoryFit,
    /// The judgement.
    pub verdict: Verdict,
    /// What the judgement rests on.
    pub why: String,
}

/// A candidate with its best setup and what bounds its time.
#[derive(Debug, Clone)]
pub(super) struct Worker<'c> {
    candidate: &'c Candidate,
    price: UsdPerHour,
    billing: Option<&'c Billing>,
    hazard: Hazard,
    curve: &'c LatencyCurve,
    point: &'c BatchPoint,
    memory: MemoryFit,
    start: Time,
}

impl<'c> Worker<'c> {
    /// The layout and batch size with the most items per second that fits; none
    /// where nothing fits or the machine has no price.
    pub fn new(
        candidate: &'c Candidate,
        offer: Option<&'c Offer>,
        room: &Room<'_>,
        (question, load): (&BatchQuestion, Time),
    ) -> Option<Self> {
        let (curve, point, memory) = candidate
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(move |point| (curve, point)))
            .map(|(curve, point)| {
                (
                    curve,
                    point,
                    room.fit(candidate, curve.layout, point.batch_size),
                )
            })
            .filter(|(_, _, memory)| memory.fit != Fit::DoesNotFit)
            .max_by(|a, b| {
                let rate = |(curve, point, _): &(&LatencyCurve, &BatchPoint, MemoryFit)| {
                    throughput(curve, point, End::Middle)
                };
                // Of equal rates the smaller batch.
                rate(a)
                    .cmp(&rate(b))
                    .then(b.1.batch_size.cmp(&a.1.batch_size))
            })?;
        let spot = offer
            .filter(|_| question.term == Term::Spot)
            .and_then(|offer| offer.price(Term::Spot));
        Some(Self {
            candidate,
            price: candidate.machine.price?,
            billing: offer.and_then(|offer| offer.billing.as_ref()),
            hazard: spot.map_or(Hazard::NONE, |price| Hazard::of(price.interruption)),
            curve,
            point,
            memory,
            start: question.start_up + load,
        })
    }

    /// Items per second of one machine at one end.
    pub fn rate(&self, end: End) -> Rate {
        throughput(self.curve, self.point, end)
    }

    /// From the start of `machines` to the last result.
    pub fn time(&self, machines: u32, question: &BatchQuestion, end: End) -> Time {
        let rate = self.rate(end).scaled(f64::from(machines));
        let work = Time::saturating(question.items.get() as f64 / rate.get());
        let hazard = match end {
            End::Optimistic => self.hazard.low,
            End::Middle => self.hazard.middle,
            End::Pessimistic => self.hazard.high,
        };
        let segment = question.checkpoint.min(work);
        let worked = work.scaled(stretch(hazard, segment, self.start));
        // The mean says little of the last machine: one more loss at the worst time.
        let once_more = if hazard > 0.0 && end == End::Pessimistic {
            segment + self.start
        } else {
            Time::ZERO
        };
        self.start + worked + once_more
    }

    fn cost(&self, machines: u32, time: Time) -> Usd {
        let billed = self.billing.map_or(time, |billing| billing.billed(time));
        self.price.scaled(f64::from(machines)).over(billed)
    }

    /// The fewest machines that are done within `limit`.
    fn fewest(&self, limit: Time, question: &BatchQuestion, end: End) -> Option<u32> {
        let most = question.most_machines;
        if self.time(most, question, end) > limit {
            return None;
        }
        let (mut short, mut enough) = (0, most);
        while enough - short > 1 {
            let middle = u32::midpoint(short, enough);
            if self.time(middle, question, end) > limit {
                short = middle;
            } else {
                enough = middle;
            }
        }
        Some(enough)
    }

    /// The cheapest number of machines that is done in time at one end: the fewest,
    /// or as many as make the started hours full.
    pub fn machines(&self, question: &BatchQuestion, end: End) -> Option<u32> {
        let fewest = self.fewest(question.deadline, question, end)?;
        let granule = self
            .billing
            .map_or(Time::ZERO, |billing| billing.granularity);
        let mut tried = vec![fewest];
        // Rounding to minutes or less moves no decision.
        if granule >= Time::saturating(600.0) {
            let granules = question.deadline.ratio(granule).floor() as u32;
            let limits = (1..=granules.min(MOST_GRANULES)).map(|n| granule.scaled(f64::from(n)));
            tried.extend(limits.filter_map(|limit| self.fewest(limit, question, end)));
        }
        tried.into_iter().min_by_key(|machines| {
            (
                self.cost(*machines, self.time(*machines, question, end)),
                *machines,
            )
        })
    }

    /// The option with that many machines.
    pub fn option(&self, machines: u32, question: &BatchQuestion) -> BatchOption {
        let [low, middle, high] = [End::Optimistic, End::Middle, End::Pessimistic]
            .map(|end| self.time(machines, question, end));
        let level = self.point.busy.level;
        let source = &self.curve.source;
        let cost = |time| self.cost(machines, time);
        let verdict = if high <= question.deadline {
            Verdict::Meets
        } else if middle <= question.deadline {
            Verdict::Unproven
        } else {
            Verdict::Misses
        };
        let rate = |end| self.rate(end);
        let mut option = BatchOption {
            machine: self.candidate.machine.clone(),
            machines,
            layout: self.curve.layout,
            batch_size: self.point.batch_size,
            throughput: Estimate::new(
                rate(End::Middle),
                (rate(End::Pessimistic), rate(End::Optimistic)),
                level,
                source.clone(),
            ),
            time: Estimate::new(middle, (low, high), level, source.clone()),
            start: self.start,
            cost: Estimate::new(cost(middle), (cost(low), cost(high)), level, source.clone()),
            cost_per_million: UsdPerMillion::saturating(
                cost(middle).get() / question.items.get() as f64 * 1e6,
            ),
            memory: self.memory,
            verdict,
            why: String::new(),
        };
        judge(&mut option, question);
        option
    }

    /// Where its speed comes from.
    pub fn source(&self) -> &Source {
        &self.curve.source
    }

    /// Whether interruptions were assumed, since the provider states none.
    pub fn interruption_assumed(&self, offer: Option<&Offer>) -> bool {
        self.hazard != Hazard::NONE
            && offer
                .and_then(|offer| offer.price(Term::Spot))
                .is_some_and(|price| price.interruption.is_none())
    }
}

/// The words of the verdict; above the budget an option misses.
fn judge(option: &mut BatchOption, question: &BatchQuestion) {
    let deadline = question.deadline;
    option.why = match option.verdict {
        Verdict::Meets => format!("done within {} of {deadline} allowed", option.time.high),
        Verdict::Unproven => format!(
            "done in {} if the estimate holds, but it may take {}",
            option.time.value, option.time.high
        ),
        Verdict::Misses => format!(
            "{} of them need {}, longer than {deadline}",
            option.machines, option.time.value
        ),
    };
    if let Some(budget) = question.budget {
        if option.cost.value > budget {
            option.why = format!("{} is above the budget of {budget}", option.cost.value);
            option.verdict = Verdict::Misses;
        } else if option.cost.high > budget && option.verdict == Verdict::Meets {
            option.why = format!(
                "it may cost {}, above the budget of {budget}",
                option.cost.high
            );
            option.verdict = Verdict::Unproven;
        }
    }
}

fn throughput(curve: &LatencyCurve, point: &BatchPoint, end: End) -> Rate {
    let per_instance = f64::from(point.batch_size) / at(&point.busy, end).get();
    Rate::saturating(per_instance * f64::from(curve.layout.instances))
}
