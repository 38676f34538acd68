//! The processor: what it is, how many cores it has, what it can execute.

mod cpuinfo;
#[cfg(any(not(target_os = "linux"), test))]
mod native;

use crate::measure::probe::cpu_list;
use crate::measure::probe::tree::Tree;
use crate::profile::machine::{Cpu, Reading};
use std::collections::BTreeSet;

pub use cpuinfo::from_cpuinfo;

/// Reads the processor of the machine that `tree` shows.
///
/// On Linux from `/proc/cpuinfo` and `/sys`; elsewhere from the processor itself
/// and the operating system.
#[must_use]
pub fn read(tree: &Tree) -> Cpu {
    #[cfg(target_os = "linux")]
    return read_linux(tree, std::env::consts::ARCH);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = tree;
        native::read()
    }
}

#[cfg(any(target_os = "linux", test))]
fn read_linux(tree: &Tree, arch: &str) -> Cpu {
    let platform = tree.read("/sys/class/dmi/id/sys_vendor").ok();
    let text = tree.read("/proc/cpuinfo");
    let mut cpu = from_cpuinfo(text.as_deref().unwrap_or(""), arch, platform.as_deref());
    if let Err(e) = text {
        let why = format!("cannot read `/proc/cpuinfo`: {e}");
        cpu.model = Reading::unknown(&why);
        cpu.vendor = Reading::unknown(&why);
        cpu.signature = Reading::unknown(&why);
        cpu.physical_cores = Reading::unknown(why);
    }
    if let Some(cores) = physical_cores(tree) {
        cpu.physical_cores = Reading::Known(cores);
    }
    if cpu.logical_cores == 0 {
        cpu.logical_cores = online(tree).map_or_else(threads_offered, |set| set.len() as u32);
    }
    cpu
}

/// What the standard library says one may use: the last resort for a count that
/// must not be zero.
fn threads_offered() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// The processors that are switched on.
pub(super) fn online(tree: &Tree) -> Option<BTreeSet<u32>> {
    let text = tree.read("/sys/devices/system/cpu/online").ok()?;
    cpu_list::parse(&text).ok().filter(|set| !set.is_empty())
}

/// Cores, counted as distinct groups of hardware threads that share one.
///
/// `/proc/cpuinfo` has no such groups on Arm, `/sys` has them everywhere.
#[cfg(any(target_os = "linux", test))]
fn physical_cores(tree: &Tree) -> Option<u32> {
    let folder = "/sys/devices/system/cpu";
    let groups: BTreeSet<String> = tree
        .list(folder)
        .iter()
        .filter(|name| {
            name.strip_prefix("cpu")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
        .filter_map(|name| {
            tree.read(&format!("{folder}/{name}/topology/thread_siblings_list"))
                .ok()
        })
        .filter(|group| !group.is_empty())
        .collect();
    u32::try_from(groups.len()).ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(root: &std::path::Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn hyperthreads_share_a_core() {
        let dir = tempfile::tempdir().unwrap();
        let cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\n\nprocessor\t: 1\n\n";
        write(dir.path(), "proc/cpuinfo", &cpuinfo.repeat(2));
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")] {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            write(dir.path(), &path, siblings);
        }
        write(dir.path(), "sys/devices/system/cpu/cpufreq/boost", "1");
        let cpu = read_linux(&Tree::at(dir.path()), "x86_64");
        assert_eq!(cpu.physical_cores, Reading::Known(2));
        assert_eq!(cpu.logical_cores, 4);
    }

    #[test]
    fn the_platform_tells_whose_arm_core_it_is() {
        use crate::profile::microarchitecture::microarchitecture;
        let dir = tempfile::tempdir().unwrap();
        let text = "processor : 0\nCPU implementer : 0x41\nCPU variant : 0x3\nCPU part : 0xd0c\nCPU revision : 1\n";
        write(dir.path(), "proc/cpuinfo", text);
        write(dir.path(), "sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
        let cpu = read_linux(&Tree::at(dir.path()), "aarch64");
        assert_eq!(cpu.model, Reading::Known("Neoverse-N1 (Amazon EC2)".into()));
        assert_eq!(microarchitecture(&cpu), Some("AWS Graviton2 (Neoverse N1)"));
    }

    #[test]
    fn without_proc_there_is_a_reason_and_a_core() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = read_linux(&Tree::at(dir.path()), "x86_64");
        assert!(cpu.model.to_string().contains("/proc/cpuinfo"));
        assert!(cpu.logical_cores >= 1);
    }

    #[test]
    fn the_processor_under_this_test_is_read() {
        let cpu = read(&Tree::of_this_machine());
        assert!(cpu.logical_cores >= 1);
        assert!(!cpu.arch.is_empty());
        if let Some(physical) = cpu.physical_cores.known() {
            assert!((1..=cpu.logical_cores).contains(physical));
        }
    }

    /// Two independent ways to read the same processor agree.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn cpuid_and_proc_agree() {
        let from_proc = read(&Tree::of_this_machine());
        let from_cpuid = native::read();
        assert_eq!(from_proc.vendor, from_cpuid.vendor);
        assert_eq!(from_proc.signature, from_cpuid.signature);
        for set in &from_cpuid.instruction_sets {
            assert!(from_proc.instruction_sets.contains(set), "{set:?}");
        }
    }
}
