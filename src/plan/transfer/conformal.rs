//! Intervals that hold as often as they say: quantiles of errors on cases that
//! the prediction had not seen (Vovk, Gammerman and Shafer 2005; normalised by
//! a measure of difficulty as in Papadopoulos, Gammerman and Vovk 2008).

/// The error of a prediction for a case that was held out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeldOut {
    /// Cases that were held out together: a device, a network, a family.
    pub group: String,
    /// Predicted less measured log time.
    pub error: f64,
    /// How hard the case looked beforehand; above zero.
    pub difficulty: f64,
}

/// Share of cases that an interval is meant to hold.
pub(super) const LEVEL: f64 = 0.9;

/// The factor on difficulty that holds [`LEVEL`] of `n` further cases: the
/// `⌈(n + 1) · level⌉`-th smallest score. None with fewer than nine cases, of
/// which no such order statistic exists.
pub(super) fn factor<'h>(cases: impl Iterator<Item = &'h HeldOut>) -> Option<f64> {
    let mut scores: Vec<f64> = cases
        .map(|case| case.error.abs() / case.difficulty)
        .collect();
    scores.sort_by(f64::total_cmp);
    rank(scores.len()).and_then(|rank| scores.get(rank).copied())
}

fn rank(cases: usize) -> Option<usize> {
    let at = ((cases as f64 + 1.0) * LEVEL).ceil() as usize;
    at.checked_sub(1).filter(|at| *at < cases)
}

/// Whether intervals hold, tested on groups that had no part in their width.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// Share of cases inside their interval.
    pub share: f64,
    /// Half the width of the middle interval, as a factor less one: 0.3 is from
    /// ÷1.3 to ×1.3.
    pub median_half_width: f64,
}

/// Leaves each group out, calibrates on the others, and looks whether the
/// left-out cases lie inside.
pub(super) fn coverage(cases: &[HeldOut]) -> Option<Coverage> {
    let mut order: Vec<&HeldOut> = cases.iter().collect();
    order.sort_by(|a, b| (a.error.abs() / a.difficulty).total_cmp(&(b.error.abs() / b.difficulty)));
    let mut groups: Vec<&str> = cases.iter().map(|case| case.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let (mut inside, mut judged, mut widths) = (0_usize, 0_usize, Vec::new());
    for group in groups {
        let others = order.iter().filter(|case| case.group != group);
        let Some(rank) = rank(others.clone().count()) else {
            continue;
        };
        let Some(factor) = others
            .clone()
            .nth(rank)
            .map(|case| case.error.abs() / case.difficulty)
        else {
            continue;
        };
        for case in cases.iter().filter(|case| case.group == group) {
            let half = factor * case.difficulty;
            judged += 1;
            inside += usize::from(case.error.abs() <= half);
            widths.push(half.exp() - 1.0);
        }
    }
    (judged > 0).then(|| Coverage {
        share: inside as f64 / judged as f64,
        median_half_width: super::linear::median(&widths),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(group: usize, error: f64) -> HeldOut {
        HeldOut {
            group: format!("{group}"),
            error,
            difficulty: 1.0,
        }
    }

    #[test]
    fn the_order_statistic_is_that_of_split_conformal_prediction() {
        let cases: Vec<HeldOut> = (1..=9).map(|i| case(i, i as f64)).collect();
        // ⌈10 · 0.9⌉ = 9: the largest of nine.
        assert_eq!(factor(cases.iter()), Some(9.0));
        assert_eq!(factor(cases[..8].iter()), None);
    }

    #[test]
    fn nine_of_ten_fresh_cases_lie_inside() {
        // A fixed low-discrepancy sequence in place of random draws.
        let cases: Vec<HeldOut> = (0..1000)
            .map(|i| case(i % 50, (i as f64 * 0.618_034).fract() - 0.5))
            .collect();
        let found = coverage(&cases).unwrap();
        assert!((0.88..0.92).contains(&found.share), "{found:?}");
        assert!((found.median_half_width - (0.45_f64.exp() - 1.0)).abs() < 0.02);
    }
}
