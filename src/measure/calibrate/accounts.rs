//! What measuring costs: overheads per inference, copies, and the processor
//! time that was not inference.

use super::{
    child::MeasuringChild,
    empty::measure_empty,
    guard::Limits,
    measurement::Measurement,
    processor::processor_time,
    protocol::{Answer, Request},
};
use crate::{
    caveat::{Caveat, CaveatKind},
    profile::calibration::{Copies, Device},
    units::{Fraction, Time},
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Processor time of this process and its children while the rounds go on.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    begun: Option<Time>,
    total: Time,
    pub inference: Time,
}

impl Measurement<'_> {
    /// The harness, the empty session and the copies. They explain, they decide
    /// nothing: a failure leaves them unknown.
    pub fn measure_overheads(&mut self, stop: &AtomicBool) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match measure_empty(self.subject, self.launcher) {
            Ok((harness, empty)) => {
                self.overheads.harness = Some(harness);
                self.overheads.empty_session = Some(empty);
            }
            Err(error) => self.caveats.push(Caveat::new(
                CaveatKind::Incomplete,
                format!(
                    "the empty session could not be measured: {}",
                    error.message()
                ),
            )),
        }
    }

    /// Copies to and from a GPU, for a batch size that has just been warmed.
    pub fn measure_copies(&mut self, index: usize, batch_size: u32, patience: Time) {
        if *self.subject.device == Device::Cpu
            || self
                .overheads
                .copies
                .iter()
                .any(|known: &Copies| known.batch_size == batch_size)
        {
            return;
        }
        let limits = self.limits(index, patience);
        let Some(Some(child)) = self.children.get_mut(index) else {
            return;
        };
        match child.ask(&Request::Copies { batch_size }, limits) {
            Ok(Answer::Copied { copies }) => self.overheads.copies.push(copies),
            Ok(_) => {}
            Err(error) => self.caveats.push(Caveat::new(
                CaveatKind::Incomplete,
                format!(
                    "copies of batch {batch_size} could not be timed: {}",
                    error.message()
                ),
            )),
        }
    }

    /// Processor time of all children so far.
    fn children_time(&mut self) -> Time {
        self.children
            .iter_mut()
            .flatten()
            .filter_map(|child| {
                let limits = Limits {
                    time: Time::saturating(5.0),
                    memory: None,
                };
                match child.ask(&Request::ProcessorTime, limits) {
                    Ok(Answer::ProcessorTime { used }) => Some(used),
                    _ => None,
                }
            })
            .sum()
    }

    pub fn begin_accounts(&mut self) {
        self.accounts.begun = Some(self.children_time() + processor_time());
        self.accounts.inference = Time::ZERO;
    }

    /// Children that died meanwhile are missing at the end; the share is then
    /// not known.
    pub fn settle_accounts(&mut self) {
        let alive = self
            .children
            .iter_mut()
            .all(|child| child.as_mut().is_some_and(MeasuringChild::is_alive));
        let (Some(begun), true) = (self.accounts.begun, alive) else {
            return;
        };
        self.accounts.total = self.children_time() + processor_time() - begun;
        if !self.accounts.total.is_zero() {
            let outside = self.accounts.total - self.accounts.inference;
            self.overheads.outside_inference =
                Some(Fraction::saturating(outside.ratio(self.accounts.total)));
        }
    }
}
