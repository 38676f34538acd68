//! How the cases of a kind came out together.

use super::{Case, CaseKind, Set};
use serde::Serialize;

/// Errors of one kind of case in one set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The set.
    pub set: Set,
    /// The kind; `None` for all together.
    pub kind: Option<CaseKind>,
    /// Number of cases.
    pub cases: usize,
    /// Median of the absolute relative error.
    pub median: f64,
    /// 95th percentile of it.
    pub p95: f64,
    /// Share of cases within a tenth.
    pub within_tenth: f64,
    /// Share of cases whose interval holds the measurement.
    pub covered: f64,
    /// Cases that would be called `fits` on a card that the measurement exceeds.
    pub false_fits: usize,
    /// The rules of thumb on the same cases: name, cases, median error.
    pub rules: Vec<(&'static str, usize, f64)>,
}

/// Summaries by set and kind, then by set; kinds without cases are left out.
#[must_use]
pub fn summaries(cases: &[Case]) -> Vec<Summary> {
    let mut list = Vec::new();
    for set in Set::ALL {
        let kinds = CaseKind::ALL.map(Some).into_iter().chain([None]);
        for kind in kinds {
            let chosen: Vec<&Case> = cases
                .iter()
                .filter(|c| c.set == set && kind.is_none_or(|k| c.kind == k))
                .collect();
            if !chosen.is_empty() {
                list.push(summary(set, kind, &chosen));
            }
        }
    }
    list
}

fn summary(set: Set, kind: Option<CaseKind>, cases: &[&Case]) -> Summary {
    let mut errors: Vec<f64> = cases.iter().map(|c| c.error().abs()).collect();
    errors.sort_by(f64::total_cmp);
    let share = |count: usize| count as f64 / cases.len() as f64;
    Summary {
        set,
        kind,
        cases: cases.len(),
        median: rank(&errors, 0.5),
        p95: rank(&errors, 0.95),
        within_tenth: share(errors.iter().filter(|e| **e <= 0.1).count()),
        covered: share(cases.iter().filter(|c| c.is_covered()).count()),
        false_fits: cases.iter().filter(|c| c.is_false_fit()).count(),
        rules: rules(cases),
    }
}

fn rules(cases: &[&Case]) -> Vec<(&'static str, usize, f64)> {
    let mut list = Vec::new();
    for which in 0..3 {
        let mut name = "";
        let mut errors: Vec<f64> = Vec::new();
        for case in cases {
            if let Some((rule, Some(bytes))) = case.rules.named().get(which).copied() {
                name = rule;
                errors.push((bytes.get() as f64 / case.measured.get().max(1) as f64 - 1.0).abs());
            }
        }
        errors.sort_by(f64::total_cmp);
        if !errors.is_empty() {
            list.push((name, errors.len(), rank(&errors, 0.5)));
        }
    }
    list
}

/// The smallest value that at least the share `q` of the sorted values do not
/// exceed (nearest rank).
fn rank(sorted: &[f64], q: f64) -> f64 {
    let index = (q * sorted.len() as f64).ceil() as usize;
    sorted
        .get(index.saturating_sub(1))
        .or(sorted.last())
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_are_nearest_ranks() {
        // The textbook example of the nearest-rank method.
        let sorted = [15.0, 20.0, 35.0, 40.0, 50.0];
        for (q, value) in [
            (0.05, 15.0),
            (0.3, 20.0),
            (0.4, 20.0),
            (0.5, 35.0),
            (1.0, 50.0),
        ] {
            assert!((rank(&sorted, q) - value).abs() < 1e-12, "{q}");
        }
    }
}
