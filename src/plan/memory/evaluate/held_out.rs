//! The one constant that is fitted to measurements, on models it was not fitted to.
//!
//! How much more than the replay a real program keeps (the upper spread of
//! activations) is fitted on the published cases. Here it is fitted again with
//! each model left out in turn, and tried on that model.

use super::{Case, CaseKind, Set};
use serde::Serialize;
use std::collections::BTreeSet;

/// How the fitted spread does on models that it was not fitted to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOut {
    /// Cases of left-out models.
    pub cases: usize,
    /// Share of them whose measurement is not above the upper end.
    pub not_above: f64,
    /// The least and the greatest spread fitted, as a share of activations.
    pub spreads: (f64, f64),
}

/// Leaves out each model in turn. The spread is the one that 95 of 100 of the
/// other models' cases need.
#[must_use]
pub fn held_out(cases: &[Case]) -> HeldOut {
    let published: Vec<&Case> = cases
        .iter()
        .filter(|c| c.set == Set::PublishedInFull && is_training(c.kind))
        // Where activations are a small part, their spread is not what decides.
        .filter(|c| c.moving.get() * 10 >= c.estimate.value.get())
        .collect();
    let models: BTreeSet<&str> = published.iter().map(|c| c.model.as_str()).collect();
    let (mut tried, mut good) = (0_usize, 0_usize);
    let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
    for model in models {
        let mut needs: Vec<f64> = published
            .iter()
            .filter(|c| c.model != model)
            .map(|c| needed(c))
            .collect();
        needs.sort_by(f64::total_cmp);
        let index = (0.95 * needs.len() as f64).ceil() as usize;
        let spread = needs
            .get(index.saturating_sub(1))
            .copied()
            .unwrap_or(0.0)
            .max(0.0);
        least = least.min(spread);
        greatest = greatest.max(spread);
        for case in published.iter().filter(|c| c.model == model) {
            tried += 1;
            good += usize::from(needed(case) <= spread);
        }
    }
    HeldOut {
        cases: tried,
        not_above: good as f64 / tried.max(1) as f64,
        spreads: (least.min(greatest), greatest),
    }
}

const fn is_training(kind: CaseKind) -> bool {
    matches!(
        kind,
        CaseKind::TransformerTraining | CaseKind::Lora | CaseKind::Qlora
    )
}

/// The spread that this case would need, as a share of its activations, with
/// everything else as estimated.
fn needed(case: &Case) -> f64 {
    let moving = case.moving.get().max(1) as f64;
    (case.measured.get() as f64 - case.estimate.value.get() as f64) / moving
}
