//! The rounds: all points take turns until each is precise or time is up.

use super::{
    gaps::in_one_visit,
    journal::{Entry, IdleVisit, SAMPLES_PER_VISIT},
    measurement::{Measurement, Progress},
    point::{LEAST_ROUNDS, drop_hopeless},
    protocol::{Answer, Request, Timed},
    starting::patience,
    sweep::visiting_order,
    visit::lead_in,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::Error,
    profile::calibration::{IdleGap, Round, SessionLayout},
    stats::{Sample, condensed},
    units::Time,
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// Rounds that the time budget is laid out for.
const ROUNDS_AIMED_AT: f64 = 12.0;

/// Even the longest batches are visited in every fourth round.
const LONGEST_PERIOD: f64 = 4.0;

/// One visit lasts at least this long where a batch is shorter: long enough to
/// drown the clock and the switch between children, short enough to go round often.
const VISIT: f64 = 0.040;

/// Rounds of single items before the first look.
const ROUNDS_BEFORE_FIRST_LOOK: usize = 2;

/// Rounds that every row of a run gets, whatever the budget.
const ROUNDS_AT_LEAST: usize = 2;

/// Share of the time that idle gaps may take beyond their first three visits.
const IDLE_SHARE: f64 = 0.2;

/// Visits with idle gaps, at least where there is time and at most.
const IDLE_VISITS: (usize, usize) = (3, 6);

impl Measurement<'_> {
    /// Visits single items until there is something to look at.
    pub(super) fn look_first(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Progress)) {
        for _ in 1..ROUNDS_BEFORE_FIRST_LOOK {
            for index in 0..self.points.len() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                self.visit(index);
            }
        }
        self.show_first(observe);
    }

    pub(super) fn show_first(&mut self, observe: &mut dyn FnMut(Progress)) {
        if !self.first_look_shown && self.points.iter().any(|p| !p.row.rounds.is_empty()) {
            self.first_look_shown = true;
            observe(Progress::FirstLook(Box::new(self.result())));
        }
    }

    pub(super) fn go_round(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Progress)) {
        self.rounds_begun = Some(Instant::now());
        self.warm_larger(stop);
        let mut idle_time = Time::ZERO;
        for round in 0.. {
            for index in visiting_order(self.points.len(), round) {
                let spent = self.spent();
                // The first rounds are finished whatever the budget: a row
                // without rounds would be no row.
                let over = spent >= self.options.time && round >= ROUNDS_AT_LEAST;
                if over || stop.load(Ordering::Relaxed) {
                    return;
                }
                if !self.due(index, round) || self.is_done(index) {
                    continue;
                }
                self.visit(index);
                for remark in self.remarks.drain(..) {
                    observe(Progress::Remark(remark));
                }
                observe(Progress::Measuring {
                    spent,
                    budget: self.options.time,
                    rounds: round,
                });
            }
            drop_hopeless(&mut self.points);
            let spent = self.spent();
            if round % 2 == 1 && spent < self.options.time {
                let before = Instant::now();
                self.visit_idle(idle_time.ratio(self.options.time), stop);
                idle_time = idle_time + Time::from(before.elapsed());
            }
            let done = (0..self.points.len()).all(|index| self.is_done(index));
            if done && (round + 1 >= LEAST_ROUNDS || self.points.iter().all(|p| p.failed)) {
                return;
            }
        }
    }

    /// Whether a point is visited in this round. Points whose batches take long
    /// are visited in every second, third or fourth round only, so that they do
    /// not eat the time of all the others; all are in the first.
    fn due(&self, index: usize, round: usize) -> bool {
        let share = self.options.time.get() / self.points.len().max(1) as f64;
        let visit = self.points.get(index).map_or(VISIT, |point| {
            point.expected.get().max(VISIT) + lead_in(point.expected).get()
        });
        let period = (ROUNDS_AIMED_AT * visit / share)
            .round()
            .clamp(1.0, LONGEST_PERIOD);
        round.is_multiple_of(period as usize)
    }

    fn is_done(&self, index: usize) -> bool {
        self.points.get(index).is_none_or(|point| {
            let seen_now = point.visits >= ROUNDS_AT_LEAST || point.failed;
            seen_now && point.is_done(self.options.precision)
        })
    }

    pub(super) fn visit(&mut self, index: usize) {
        let at = self.now();
        let Some((child, expected)) = self
            .points
            .get(index)
            .filter(|point| !point.failed)
            .map(|point| (point.child, point.expected))
        else {
            return;
        };
        let limits = self.limits(child, patience(expected));
        let spent = self.spent();
        let (Some(Some(process)), Some(point)) =
            (self.children.get_mut(child), self.points.get_mut(index))
        else {
            return;
        };
        let request = Request::Run {
            batch_size: point.row.batch_size,
            duration: Time::saturating(VISIT),
            at_least: 1,
        };
        let before = self.watch.begin();
        let answer = process.ask(&request, limits);
        point.drawn.add(self.watch.end(before.as_ref()));
        match answer {
            Ok(Answer::Ran {
                timed,
                inference_cpu,
            }) if timed.inferences > 0 => {
                let Timed {
                    inferences,
                    mean,
                    service,
                    hold_ups,
                    interference,
                } = timed;
                let round = Round {
                    inferences,
                    mean,
                    at,
                };
                point.row.rounds.push(round);
                point.visits += 1;
                let entry = Entry::Visited {
                    layout: point.row.layout,
                    batch_size: point.row.batch_size,
                    round,
                    samples: condensed(&service, SAMPLES_PER_VISIT),
                    hold_ups: hold_ups.clone(),
                    interference: interference.clone(),
                    peak_memory_bytes: point.row.peak_memory_bytes,
                    spent,
                };
                point.row.samples.extend(service);
                point.row.hold_ups.add(&hold_ups);
                point.row.interference.add(&interference);
                self.accounts.inference = self.accounts.inference + inference_cpu;
                self.note(&entry);
            }
            Ok(_) => point.failed = true,
            Err(error) => {
                let (layout, size) = (point.row.layout, point.row.batch_size);
                self.bury(child, &format!("{layout}, batch {size}"), &error);
            }
        }
    }

    /// A dead child takes its other points with it; what they have measured stands.
    fn bury(&mut self, child: usize, what: &str, error: &Error) {
        for point in self.points.iter_mut().filter(|p| p.child == child) {
            point.failed = true;
        }
        if let Some(slot) = self.children.get_mut(child) {
            *slot = None;
        }
        let caveat = Caveat::new(
            CaveatKind::Incomplete,
            format!(
                "{what}: {}; its rows hold what was measured before",
                error.message()
            ),
        );
        self.doubt(caveat);
    }

    /// Visits the layouts of one instance with idle gaps; `share` of the time
    /// has gone into that so far.
    fn visit_idle(&mut self, share: f64, stop: &AtomicBool) {
        let smallest = self.smallest_batch();
        let alone: Vec<(usize, SessionLayout, Time)> = self
            .points
            .iter()
            .filter(|p| p.row.layout.instances == 1 && p.row.batch_size == smallest)
            .filter(|p| !p.failed && p.row.dropped_for.is_none())
            .map(|p| (p.child, p.row.layout, p.expected))
            .collect();
        for (child, layout, expected) in alone {
            let visits = self.idle.get(&layout).map_or(0, Vec::len);
            let enough = visits >= IDLE_VISITS.1 || (visits >= IDLE_VISITS.0 && share > IDLE_SHARE);
            if enough || stop.load(Ordering::Relaxed) || self.options.gaps.is_empty() {
                continue;
            }
            let gaps = in_one_visit(&self.options.gaps, expected);
            let waiting: f64 = gaps.iter().map(|(g, n)| g.get() * f64::from(*n)).sum();
            let limits = self.limits(
                child,
                patience(expected.scaled(20.0)) + Time::saturating(waiting),
            );
            let Some(Some(process)) = self.children.get_mut(child) else {
                continue;
            };
            let idle = Request::Idle {
                batch_size: smallest,
                gaps,
            };
            match process.ask(&idle, limits) {
                Ok(Answer::Idled {
                    back_to_back,
                    after,
                    inference_cpu,
                }) => {
                    self.accounts.inference = self.accounts.inference + inference_cpu;
                    let visit = IdleVisit {
                        back_to_back,
                        after,
                    };
                    self.note(&Entry::Idled {
                        layout,
                        visit: visit.clone(),
                    });
                    self.idle.entry(layout).or_default().push(visit);
                }
                Ok(_) => {}
                Err(error) => self.bury(child, &format!("{layout}, idle gaps"), &error),
            }
        }
    }

    /// For each layout and gap: the median over the visits of the mean after
    /// the gap over the mean back to back.
    pub(super) fn idle_gaps(&self) -> Vec<IdleGap> {
        let mut found = Vec::new();
        for (&layout, visits) in &self.idle {
            let gaps: BTreeSet<Time> = visits
                .iter()
                .flat_map(|visit| visit.after.iter().map(|(gap, ..)| *gap))
                .collect();
            found.extend(
                gaps.into_iter()
                    .filter_map(|gap| idle_gap(layout, visits, gap)),
            );
        }
        found
    }
}

fn idle_gap(layout: SessionLayout, visits: &[IdleVisit], gap: Time) -> Option<IdleGap> {
    let seen: Vec<(f64, u32)> = visits
        .iter()
        .filter(|visit| !visit.back_to_back.is_zero())
        .filter_map(|visit| {
            let (_, after, times) = visit.after.iter().find(|(other, ..)| *other == gap)?;
            Some((after.ratio(visit.back_to_back), *times))
        })
        .collect();
    let ratios = Sample::new(seen.iter().map(|(ratio, _)| *ratio).collect()).ok()?;
    Some(IdleGap {
        layout,
        gap,
        slowdown: ratios.median(),
        visits: seen.len() as u32,
        inferences: seen.iter().map(|(_, times)| *times).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slowdown_is_the_median_over_visits_of_each_ones_own_ratio() {
        let ms = Time::from_millis;
        let layout = SessionLayout {
            instances: 1,
            intra_op_threads: 1,
            spinning: false,
        };
        // The second visit fell into a slow phase, the third had an outlier.
        let visits: Vec<IdleVisit> = [(2.0, 3.0), (4.0, 6.0), (2.0, 30.0)]
            .into_iter()
            .map(|(base, after)| IdleVisit {
                back_to_back: ms(base),
                after: vec![(ms(5.0), ms(after), 2)],
            })
            .collect();
        let gap = idle_gap(layout, &visits, ms(5.0)).unwrap();
        assert!((gap.slowdown - 1.5).abs() < 1e-12);
        assert_eq!((gap.visits, gap.inferences), (3, 6));
        assert!((gap.gap.as_millis() - 5.0).abs() < 1e-9);
        assert_eq!(idle_gap(layout, &visits, ms(1.0)), None);
    }
}
