//! Many times told by few.

use crate::units::Time;

/// As many means of equal shares of the sorted values as are to be kept, to the
/// nanosecond: a clock tells no more. The mean stays as it is, and a hold-up that
/// came once among thousands neither gets lost nor stands for a hundred others, as
/// when every n-th value is taken. Where there are few all stay, in their order.
#[must_use]
pub fn condensed(samples: &[Time], keep: usize) -> Vec<Time> {
    if samples.len() <= keep {
        return samples.iter().map(|sample| sample.to_nanos()).collect();
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    (0..keep)
        .filter_map(|i| sorted.get(i * sorted.len() / keep..(i + 1) * sorted.len() / keep))
        .map(|share| {
            let sum: Time = share.iter().copied().sum();
            sum.scaled(1.0 / share.len().max(1) as f64).to_nanos()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condensing_keeps_the_mean_and_the_rare() {
        let mut samples = vec![Time::from_millis(1.0); 9990];
        samples.extend(vec![Time::from_millis(101.0); 10]);
        samples.rotate_left(5000);
        let kept = condensed(&samples, 100);
        let mean = |of: &[Time]| of.iter().map(|t| t.as_millis()).sum::<f64>() / of.len() as f64;
        assert_eq!(kept.len(), 100);
        assert!((mean(&kept) - mean(&samples)).abs() < 1e-9);
        assert!((kept[99].as_millis() - 11.0).abs() < 1e-9, "{}", kept[99]);
        assert_eq!(kept[98], Time::from_millis(1.0));
        let few: Vec<Time> = [3.0, 1.0, 2.0].map(Time::from_millis).to_vec();
        assert_eq!(condensed(&few, 100), few);
    }
}
