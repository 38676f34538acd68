//! When batches began, against when a server that is never held up would have.

use crate::{measure::replica::ServedBatch, units::Time, workload::ServingConfiguration};

/// Moments are kept in whole nanoseconds: what differs by this many is the same.
const ROUNDING: f64 = 2e-9;

/// The start of a batch, told for the instance that a simulation gives it to: the
/// one that was free longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// When it began.
    pub begin: Time,
    /// For how many seconds that instance had been idle, endless before its first
    /// batch.
    pub gap: f64,
    /// By how much it began later than it could have. Others came aboard meanwhile,
    /// or went to an instance that was held up itself.
    pub late: Time,
}

/// The start of each batch of these arrivals, in the order of their first requests.
///
/// An instance that was held up while it was idle shows in the batches of the
/// others alone: they had to take what it should have taken. So what could have
/// begun when is told from all instances, whichever it was that took the batch.
pub(super) fn starts(
    batches: &[ServedBatch],
    arrivals: &[Time],
    configuration: &ServingConfiguration,
) -> Vec<Start> {
    let at = |request: usize| arrivals.get(request).map_or(f64::INFINITY, |t| t.get());
    let most = configuration.effective_max_batch() as usize;
    let window = configuration.batch_window.get();
    let instances = configuration.instances.max(1) as usize;
    let mut free = vec![f64::NEG_INFINITY; instances];
    batches
        .iter()
        .map(|batch| {
            let first = batch.first as usize;
            let arrival = at(first);
            let mut ready = arrival;
            if window > 0.0 && most > 1 {
                ready = ready.max(at(first + most - 1).min(arrival + window));
            }
            let (slot, since) = free
                .iter()
                .copied()
                .enumerate()
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap_or((0, f64::NEG_INFINITY));
            let due = ready.max(since);
            let late = batch.late();
            // What held an only instance up for longer than the batch took is in its
            // service times and pauses: whatever batches a replay makes, it stood still.
            let stood = instances == 1 && late > batch.end - batch.start;
            let begin = if stood { batch.due } else { batch.due + late };
            let late = begin.get() - due;
            if let Some(free) = free.get_mut(slot) {
                *free = batch.end.get();
            }
            Start {
                begin,
                gap: (begin.get() - since).max(0.0),
                late: if late > ROUNDING {
                    Time::saturating(late)
                } else {
                    Time::ZERO
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two instances, of which the second sleeps: the first takes three requests
    /// that came together one after the other.
    #[test]
    fn an_idle_instance_that_was_held_up_shows_in_the_batches_of_the_other() {
        let ms = Time::from_millis;
        let batch = |first: u32, due: f64, end: f64| ServedBatch {
            first,
            items: 1,
            instance: 0,
            due: ms(due),
            start: ms(due),
            end: ms(end),
            failed: false,
        };
        let batches = [batch(0, 1.0, 3.0), batch(1, 3.0, 5.0), batch(2, 5.0, 7.0)];
        let arrivals = [ms(1.0), ms(1.0), ms(1.0)];
        let told = starts(&batches, &arrivals, &ServingConfiguration::unbatched(2));
        let late: Vec<f64> = told.iter().map(|start| start.late.as_millis()).collect();
        // The third could have begun when the first ended, on its instance.
        assert!((late[0], late[2]) == (0.0, 2.0) && (late[1] - 2.0).abs() < 1e-9);
        assert!(told[1].gap.is_infinite() && told[2].gap > 0.0019);
        let alone = starts(&batches, &arrivals, &ServingConfiguration::unbatched(1));
        assert!(alone.iter().all(|start| start.late.is_zero()));
    }
}
