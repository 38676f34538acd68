//! How often the CPU quota stopped this container: `cpu.stat` of every group
//! along the path.

use crate::measure::probe::cgroup::{Hierarchies, Version};
use crate::measure::probe::tree::Tree;
use crate::profile::machine::Reading;
use crate::units::{Fraction, Time};

/// Counters of one group since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Throttle {
    folder: String,
    /// Bandwidth periods in which the group had something to run.
    periods: u64,
    /// Those in which it used up its quota and was stopped.
    throttled: u64,
    /// Nanoseconds it was stopped, summed over processors.
    nanoseconds: u64,
}

/// Reads the groups along the path of the `cpu` controller that count periods.
pub(super) fn read(tree: &Tree, hierarchies: &Hierarchies) -> Reading<Vec<Throttle>> {
    let Some(path) = hierarchies.path(tree, "cpu") else {
        return Reading::unknown("no control group of processors is mounted");
    };
    let groups: Vec<Throttle> = path
        .folders
        .iter()
        .filter_map(|folder| {
            let text = tree.read(&format!("{folder}/cpu.stat")).ok()?;
            parse(folder, &text, path.version)
        })
        .collect();
    if groups.is_empty() {
        Reading::unknown("no group on the path counts its throttling, so none has a CPU quota")
    } else {
        Reading::Known(groups)
    }
}

/// Reads `cpu.stat`: v1 counts `throttled_time` in nanoseconds, v2
/// `throttled_usec` in microseconds (Linux Documentation/scheduler/sched-bwc.rst,
/// Documentation/admin-guide/cgroup-v2.rst).
fn parse(folder: &str, text: &str, version: Version) -> Option<Throttle> {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (k, v) = line.split_once(' ')?;
            (k == key).then(|| v.trim().parse::<u64>().ok())?
        })
    };
    Some(Throttle {
        folder: folder.to_owned(),
        periods: value("nr_periods")?,
        throttled: value("nr_throttled")?,
        nanoseconds: match version {
            Version::V1 => value("throttled_time")?,
            Version::V2 => value("throttled_usec")?.saturating_mul(1000),
        },
    })
}

/// Share of periods and time stopped, of the group that was stopped most.
///
/// A group without a quota counts no periods: it was stopped in none.
pub(super) fn worst_between(
    before: &[Throttle],
    after: &[Throttle],
) -> Result<(Fraction, Time), &'static str> {
    after
        .iter()
        .filter_map(|a| {
            let b = before.iter().find(|b| b.folder == a.folder)?;
            let periods = a.periods.saturating_sub(b.periods);
            let throttled = a.throttled.saturating_sub(b.throttled);
            let nanoseconds = a.nanoseconds.saturating_sub(b.nanoseconds);
            let share = if periods == 0 {
                Fraction::saturating(0.0)
            } else {
                Fraction::saturating(throttled as f64 / periods as f64)
            };
            Some((share, Time::saturating(nanoseconds as f64 * 1e-9)))
        })
        .max_by(|a, b| a.0.get().total_cmp(&b.0.get()))
        .ok_or("the process changed its control group between the snapshots")
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str =
        "nr_periods 4000\nnr_throttled 100\nthrottled_time 2500000000\nnr_bursts 0\nburst_time 0\n";
    const V2: &str = "usage_usec 9000000\nuser_usec 8000000\nsystem_usec 1000000\nnice_usec 0\nnr_periods 4100\nnr_throttled 150\nthrottled_usec 3000000\nnr_bursts 0\nburst_usec 0\n";

    #[test]
    fn both_versions_count_alike() {
        let v1 = parse("a", V1, Version::V1).unwrap();
        let v2 = parse("a", V2, Version::V2).unwrap();
        let (share, time) = worst_between(&[v1], &[v2]).unwrap();
        assert!((share.get() - 0.5).abs() < 1e-12);
        assert_eq!(time, Time::from_millis(500.0));
    }

    #[test]
    fn a_root_group_that_counts_no_periods_is_left_out() {
        assert_eq!(parse("/", "usage_usec 9\nuser_usec 8\n", Version::V2), None);
    }

    #[test]
    fn the_group_that_was_stopped_most_counts() {
        let group = |folder: &str, periods, throttled, nanoseconds| Throttle {
            folder: folder.into(),
            periods,
            throttled,
            nanoseconds,
        };
        let before = [group("pod", 0, 0, 0), group("slice", 0, 0, 0)];
        let after = [group("pod", 0, 0, 0), group("slice", 10, 9, 1_000_000_000)];
        let (share, time) = worst_between(&before, &after).unwrap();
        assert!((share.get() - 0.9).abs() < 1e-12);
        assert_eq!(time, Time::from_millis(1000.0));
        assert!(worst_between(&before, &[group("elsewhere", 1, 1, 1)]).is_err());
    }
}
