//! Processor time: of the machine from `/proc/stat`, of this process and its
//! children from `/proc/<pid>/stat`.
//!
//! Both count in the same ticks, so their length never matters: a tick is a
//! share of all ticks that passed.

use crate::measure::probe::tree::Tree;
use crate::profile::machine::Reading;
use crate::units::Fraction;
use std::collections::{BTreeMap, BTreeSet};

/// Ticks of all processors together, since the start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessorTime {
    /// Ticks spent on work of this machine.
    pub busy: u64,
    /// Ticks that the hypervisor gave to others.
    pub steal: u64,
    /// Ticks that passed.
    pub total: u64,
    /// Processors counted.
    pub processors: u32,
}

impl ProcessorTime {
    /// What passed since `earlier`; none if nothing did.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let total = self.total.checked_sub(earlier.total).filter(|t| *t > 0)?;
        Some(Self {
            busy: self.busy.saturating_sub(earlier.busy),
            // Some hypervisors let steal run backwards after a migration.
            steal: self.steal.saturating_sub(earlier.steal),
            total,
            processors: self.processors,
        })
    }

    /// The share of the time that was stolen.
    pub fn steal_share(&self) -> Fraction {
        Fraction::saturating(self.steal as f64 / self.total as f64)
    }

    /// How many processors `ticks` would have kept busy all the time.
    pub fn cores(&self, ticks: u64) -> f64 {
        ticks as f64 * f64::from(self.processors) / self.total as f64
    }
}

/// Reads `/proc/stat`: its line `cpu` has user, nice, system, idle, iowait, irq,
/// softirq, steal, and guest times that user and nice hold already
/// (Linux Documentation/filesystems/proc.rst, 1.7).
pub(super) fn parse(text: &str) -> Option<ProcessorTime> {
    let mut sum = None;
    let mut processors = 0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            continue;
        };
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            processors += 1;
        } else if rest.starts_with(' ') {
            sum = rest
                .split_whitespace()
                .map(|n| n.parse::<u64>().ok())
                .collect::<Option<Vec<u64>>>();
        }
    }
    let sum = sum?;
    let at = |i: usize| sum.get(i).copied().unwrap_or(0);
    let [user, nice, system, idle, iowait, irq, softirq, steal] = [0, 1, 2, 3, 4, 5, 6, 7].map(at);
    let busy = [user, nice, system, irq, softirq]
        .into_iter()
        .fold(0, u64::saturating_add);
    let total = [idle, iowait, steal]
        .into_iter()
        .fold(busy, u64::saturating_add);
    (sum.len() >= 4 && processors > 0).then_some(ProcessorTime {
        busy,
        steal,
        total,
        processors,
    })
}

/// Ticks that this process and its descendants have used, ended children included.
pub(super) fn own_ticks(tree: &Tree) -> Reading<u64> {
    let own = match tree.read("/proc/self/stat") {
        Ok(text) => process(&text),
        Err(e) => return Reading::unknown(format!("cannot read `/proc/self/stat`: {e}")),
    };
    let Some(own) = own else {
        return Reading::unknown("`/proc/self/stat` is not understood");
    };
    // A process may end between the listing and the reading: it is then left out,
    // and its parent has its ticks.
    let mut all: BTreeMap<u32, Process> = tree
        .list("/proc")
        .iter()
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|name| process(&tree.read(&format!("/proc/{name}/stat")).ok()?))
        .map(|p| (p.id, p))
        .collect();
    all.insert(own.id, own);
    Reading::Known(family_ticks(&all, own.id))
}

/// One process: its parent and what it and its ended children have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
}

/// Reads `/proc/<pid>/stat`: id, name in brackets, state, parent, and, as fields
/// 14 to 17, the ticks in user and kernel mode, its own and those of children
/// that it has waited for (`proc_pid_stat(5)`).
fn process(text: &str) -> Option<Process> {
    let (id, _) = text.split_once(' ')?;
    // The name may hold blanks and brackets itself.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|n| n.parse::<u64>().ok())
        .try_fold(0_u64, |sum, n| Some(sum.saturating_add(n?)))?;
    Some(Process {
        id: id.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks,
    })
}

fn family_ticks(all: &BTreeMap<u32, Process>, head: u32) -> u64 {
    let mut family = BTreeSet::from([head]);
    // Parents may have higher numbers than their children once numbers wrap, so
    // one pass is not enough; each pass but the last adds a generation.
    loop {
        let children: Vec<u32> = all
            .values()
            .filter(|p| family.contains(&p.parent) && !family.contains(&p.id))
            .map(|p| p.id)
            .collect();
        if children.is_empty() {
            break;
        }
        family.extend(children);
    }
    family
        .iter()
        .filter_map(|id| all.get(id))
        .fold(0, |sum, p| sum.saturating_add(p.ticks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &str = "cpu  43056 10 7413 169212 523 5 46 64 0 0\n\
        cpu0 20739 5 2850 86348 118 2 8 29 0 0\n\
        cpu1 22316 5 4563 82863 404 3 37 34 0 0\n\
        intr 1 2 3\nctxt 100\nbtime 1700000000\n";

    #[test]
    fn proc_stat_sums_what_it_says() {
        let time = parse(STAT).unwrap();
        assert_eq!(time.busy, 43_056 + 10 + 7413 + 5 + 46);
        assert_eq!(time.total, time.busy + 169_212 + 523 + 64);
        assert_eq!((time.steal, time.processors), (64, 2));
    }

    #[test]
    fn an_old_kernel_without_steal_is_read() {
        let time = parse("cpu  10 0 5 85\ncpu0 10 0 5 85\n").unwrap();
        assert_eq!((time.busy, time.steal, time.total), (15, 0, 100));
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let text =
            "4242 (odd) name (x) S 17 4242 1 0 -1 4194304 96 0 0 0 120 30 7 3 20 0 1 0 167014";
        let p = process(text).unwrap();
        assert_eq!((p.id, p.parent, p.ticks), (4242, 17, 160));
        assert_eq!(process("4242 (cut) S 17"), None);
    }

    #[test]
    fn a_family_is_the_process_and_all_its_descendants() {
        let table = [
            (10, 1, 5),
            (30, 10, 7),
            (20, 30, 11),
            (40, 1, 1000),
            (1, 0, 99),
        ];
        let all = table
            .into_iter()
            .map(|(id, parent, ticks)| (id, Process { id, parent, ticks }))
            .collect();
        assert_eq!(family_ticks(&all, 10), 5 + 7 + 11);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(cpu[0-9]? |[0-9 ]|\n|\\)|\\PC)*") {
            if let Some(time) = parse(&text) {
                prop_assert!(time.busy <= time.total);
            }
            let _ = process(&text);
        }
    }
}
