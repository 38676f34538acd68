//! The rules that others plan with, on the same calibration.
//!
//! All see a batch of the largest size as one step: requests queue for servers
//! that answer an item in the batch's time divided by its size, and the batch's
//! own time comes on top of the wait.

use advisor::{
    plan::{latency::LatencyCurve, queueing::analytic::Mmc},
    units::{Rate, Time},
    workload::{Percentile, ServingConfiguration},
};
use serde::Serialize;

/// The p95 by each rule; none where it says overload.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ClosedForms {
    /// Mean service time + 3 × the mean wait of M/M/c.
    #[serde(rename = "service_plus_3_waits_s")]
    pub three_waits: Option<Time>,
    /// The p95 of M/M/c.
    #[serde(rename = "mmc_s")]
    pub mmc: Option<Time>,
    /// The p95 of the bare service times, held to be good up to 80 % load.
    #[serde(rename = "headroom_s")]
    pub headroom: Option<Time>,
}

pub fn closed_forms(
    curve: &LatencyCurve,
    configuration: &ServingConfiguration,
    rate: Rate,
) -> ClosedForms {
    let batch = configuration.effective_max_batch();
    let Some(point) = curve.point(batch) else {
        return ClosedForms {
            three_waits: None,
            mmc: None,
            headroom: None,
        };
    };
    let service = point.busy.value;
    let each = service.scaled(1.0 / f64::from(batch));
    let queue = Mmc::new(rate, each, configuration.instances);
    let rank = (0.95 * point.relative.len() as f64).ceil() as usize;
    let slow = point.relative.get(rank.saturating_sub(1)).copied();
    ClosedForms {
        three_waits: queue.map(|queue| service + queue.mean_wait().scaled(3.0)),
        mmc: queue.map(|queue| {
            if batch == 1 {
                queue.latency(Percentile::P95)
            } else {
                service + queue.waiting(Percentile::P95)
            }
        }),
        headroom: slow.map(|slow| service.scaled(slow)),
    }
}
