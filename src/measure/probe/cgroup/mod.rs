//! What the container leaves of processors and memory: control groups, version 1
//! and 2, walked from the process's own group up, for a limit on any group above
//! binds as well.

mod hierarchy;
#[cfg(test)]
mod tests;

use crate::measure::probe::cpu::online;
use crate::measure::probe::cpu_list;
use crate::measure::probe::tree::Tree;
use crate::profile::machine::{Limits, Reading};
use crate::units::Bytes;
use std::collections::BTreeSet;

pub use hierarchy::{Hierarchies, Path, Version};

/// A v1 memory limit that nobody set reads as the largest signed number rounded
/// down to a page; no machine has an exbibyte, so anything beyond is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The kernel's default period of CPU bandwidth control, in microseconds
/// (Linux Documentation/scheduler/sched-bwc.rst).
const DEFAULT_PERIOD_US: f64 = 100_000.0;

/// Reads the limits of the process that `tree` shows.
///
/// What cannot be understood is left out, and `cgroup` says what it was. The
/// affinity mask counts even where there are no control groups.
#[must_use]
pub fn limits(tree: &Tree) -> Limits {
    let mut faults = Vec::new();
    let mut limits = Limits::default();
    let mut cpuset = None;
    let kind = match Hierarchies::read(tree) {
        Ok(hierarchies) => {
            limits.cpu_quota_cores = least(tree, &hierarchies, "cpu", quota, &mut faults);
            limits.memory_bytes = least(tree, &hierarchies, "memory", memory, &mut faults)
                .map(|bytes: f64| Bytes::new(bytes as u64));
            cpuset = noted(cpuset_of(tree, &hierarchies), &mut faults);
            hierarchies.kind()
        }
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    let affinity = noted(affinity(tree), &mut faults);
    limits.cpuset_cores = cores_left(cpuset, affinity, online(tree));
    limits.cgroup = match (faults.is_empty(), kind) {
        (true, Some(kind)) => Reading::Known(kind.to_owned()),
        (true, None) => Reading::unknown("no control groups are mounted"),
        (false, _) => Reading::unknown(faults.join("; ")),
    };
    limits
}

fn noted<T>(result: Result<Option<T>, String>, faults: &mut Vec<String>) -> Option<T> {
    result.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    })
}

/// The least limit along the path of a controller.
fn least(
    tree: &Tree,
    hierarchies: &Hierarchies,
    controller: &str,
    limit: fn(&Tree, Version, &str) -> Result<Option<f64>, String>,
    faults: &mut Vec<String>,
) -> Option<f64> {
    let path = hierarchies.path(tree, controller)?;
    path.folders
        .iter()
        .filter_map(|folder| noted(limit(tree, path.version, folder), faults))
        .reduce(f64::min)
}

/// CPU bandwidth of one group, in cores.
fn quota(tree: &Tree, version: Version, folder: &str) -> Result<Option<f64>, String> {
    match version {
        Version::V2 => {
            let file = format!("{folder}/cpu.max");
            let Some(text) = tree.read_if_present(&file)? else {
                return Ok(None);
            };
            let mut words = text.split_whitespace();
            let quota = words.next().unwrap_or("");
            if quota == "max" {
                return Ok(None);
            }
            let period = words.next().map_or(Some(DEFAULT_PERIOD_US), positive);
            cores(positive(quota), period)
                .map(Some)
                .ok_or_else(|| fault(&file, &text, "a quota and a period"))
        }
        Version::V1 => {
            let file = format!("{folder}/cpu.cfs_quota_us");
            let Some(text) = tree.read_if_present(&file)? else {
                return Ok(None);
            };
            if text == "-1" {
                return Ok(None);
            }
            let period_file = format!("{folder}/cpu.cfs_period_us");
            let period = tree.read_if_present(&period_file)?;
            let period = period.as_deref().map_or(Some(DEFAULT_PERIOD_US), positive);
            if period.is_none() {
                return Err(fault(&period_file, "", "a period"));
            }
            cores(positive(&text), period)
                .map(Some)
                .ok_or_else(|| fault(&file, &text, "a quota"))
        }
    }
}

fn cores(quota_us: Option<f64>, period_us: Option<f64>) -> Option<f64> {
    Some(quota_us? / period_us?)
}

fn positive(text: &str) -> Option<f64> {
    text.parse::<u64>()
        .ok()
        .filter(|n| *n > 0)
        .map(|n| n as f64)
}

fn fault(file: &str, text: &str, expected: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    if shown.is_empty() {
        format!("`{file}` does not hold {expected}")
    } else {
        format!("`{file}` reads `{shown}`, which is not {expected}")
    }
}

/// Memory limit of one group, in bytes.
fn memory(tree: &Tree, version: Version, folder: &str) -> Result<Option<f64>, String> {
    let found = match version {
        Version::V2 => {
            // Beyond `memory.high` the kernel stalls a group until it shrinks:
            // not an end, but no memory to plan with either.
            let max = bytes_in(tree, &format!("{folder}/memory.max"))?;
            let high = bytes_in(tree, &format!("{folder}/memory.high"))?;
            max.into_iter().chain(high).min()
        }
        Version::V1 => {
            let own = bytes_in(tree, &format!("{folder}/memory.limit_in_bytes"))?;
            // The kernel's own walk up the path, which also counts groups that
            // the mount hides.
            let file = format!("{folder}/memory.stat");
            let above = tree.read_if_present(&file)?.and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("hierarchical_memory_limit "))
                    .and_then(|n| n.trim().parse::<u64>().ok())
                    .filter(|n| *n < NO_LIMIT)
            });
            own.into_iter().chain(above).min()
        }
    };
    Ok(found.map(|bytes| bytes as f64))
}

fn bytes_in(tree: &Tree, file: &str) -> Result<Option<u64>, String> {
    match tree.read_if_present(file)?.as_deref() {
        None | Some("max" | "-1") => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(bytes) if bytes >= NO_LIMIT => Ok(None),
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(fault(file, text, "a number of bytes")),
        },
    }
}

/// The processors of the nearest group that names any: the kernel keeps a
/// group's effective set within its parent's.
fn cpuset_of(tree: &Tree, hierarchies: &Hierarchies) -> Result<Option<BTreeSet<u32>>, String> {
    let Some(path) = hierarchies.path(tree, "cpuset") else {
        return Ok(None);
    };
    let names = match path.version {
        Version::V1 => ["cpuset.effective_cpus", "cpuset.cpus"],
        Version::V2 => ["cpuset.cpus.effective", "cpuset.cpus"],
    };
    for folder in &path.folders {
        for name in names {
            let file = format!("{folder}/{name}");
            let Some(text) = tree.read_if_present(&file)? else {
                continue;
            };
            let set = cpu_list::parse(&text).map_err(|e| format!("`{file}`: {e}"))?;
            if !set.is_empty() {
                return Ok(Some(set));
            }
        }
    }
    Ok(None)
}

/// The processors this process may be put on, as `taskset` and the cpuset leave them.
fn affinity(tree: &Tree) -> Result<Option<BTreeSet<u32>>, String> {
    let file = "/proc/self/status";
    let Some(text) = tree.read_if_present(file)? else {
        return Ok(None);
    };
    text.lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(|list| cpu_list::parse(list).map_err(|e| format!("`{file}`: {e}")))
        .transpose()
}

/// How many processors the sets leave; none where they leave all.
fn cores_left(
    cpuset: Option<BTreeSet<u32>>,
    affinity: Option<BTreeSet<u32>>,
    online: Option<BTreeSet<u32>>,
) -> Option<u32> {
    let within = |a: BTreeSet<u32>, b: &BTreeSet<u32>| {
        // Sets of different origin that share nothing (a container that numbers
        // its processors anew) cannot be compared: the first stands.
        let both = &a & b;
        if both.is_empty() { a } else { both }
    };
    let left = match (affinity, cpuset) {
        (Some(affinity), Some(cpuset)) => within(affinity, &cpuset),
        (one, other) => one.or(other)?,
    };
    let left = match &online {
        Some(online) => within(left, online),
        None => left,
    };
    if left.is_empty() || online.is_some_and(|online| online == left) {
        return None;
    }
    u32::try_from(left.len()).ok()
}
