//! How many requests prove a percentile: the binomial rule of `MLPerf` `LoadGen`'s
//! early stopping (`MLCommons`, *Inference Rules*, appendix "Early Stopping
//! Criterion", tolerance 0).

use super::interval::at_most;
use crate::units::Fraction;

/// Beyond this many misses the search for a count stops: no test runs that long.
const MOST_MISSES: u64 = 1 << 32;

/// How many requests in all, `misses` of them over the limit, show with
/// `confidence` that at least the share `p` of all requests holds it.
///
/// It is the smallest n for which so few misses among n would have a
/// probability of at most 1 − `confidence` if a share 1 − `p` missed. None when
/// `p` or `confidence` is 0 or 1, or `misses` is absurdly large.
#[must_use]
pub fn requests_needed(p: Fraction, misses: u64, confidence: Fraction) -> Option<u64> {
    let doubt = 1.0 - confidence.get();
    let miss = 1.0 - p.get();
    if miss <= 0.0 || miss >= 1.0 || doubt <= 0.0 || doubt >= 1.0 || misses > MOST_MISSES {
        return None;
    }
    let proves = |n: u64| at_most(misses as usize, n as usize, miss) <= doubt;
    let mut high = misses + 1;
    while !proves(high) {
        high = high.checked_mul(2)?;
    }
    let mut low = misses;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if proves(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// How many misses among `requests` still show with `confidence` that at least
/// the share `p` holds the limit; none when even no miss at all would not.
#[must_use]
pub fn misses_allowed(p: Fraction, requests: u64, confidence: Fraction) -> Option<u64> {
    let enough = |misses| requests_needed(p, misses, confidence).is_some_and(|n| n <= requests);
    if !enough(0) {
        return None;
    }
    let (mut low, mut high) = (0, requests);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if enough(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(value: f64) -> Fraction {
        Fraction::new(value).unwrap()
    }

    #[test]
    fn the_counts_are_those_of_loadgen() {
        for (p, none, one) in [(0.90, 44, 64), (0.95, 90, 130), (0.99, 459, 662)] {
            assert_eq!(requests_needed(share(p), 0, share(0.99)), Some(none));
            assert_eq!(requests_needed(share(p), 1, share(0.99)), Some(one));
            assert_eq!(misses_allowed(share(p), none - 1, share(0.99)), None);
            assert_eq!(misses_allowed(share(p), none, share(0.99)), Some(0));
            assert_eq!(misses_allowed(share(p), one - 1, share(0.99)), Some(0));
            assert_eq!(misses_allowed(share(p), one, share(0.99)), Some(1));
        }
    }

    #[test]
    fn a_certainty_cannot_be_proved() {
        assert_eq!(requests_needed(share(1.0), 0, share(0.99)), None);
        assert_eq!(requests_needed(share(0.9), 0, share(1.0)), None);
    }

    #[test]
    fn more_misses_need_more_requests() {
        let needed: Vec<u64> = (0..50)
            .map(|m| requests_needed(share(0.95), m, share(0.99)).unwrap())
            .collect();
        assert!(needed.windows(2).all(|w| w[0] < w[1]));
    }
}
