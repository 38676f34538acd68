//! What this machine is: its processor, memory, limits and GPUs.
//!
//! Each part turns recorded text into values; only [`probe`] and the parts'
//! `read` touch the machine.

pub mod cgroup;
pub mod choice;
pub mod cpu;
mod cpu_list;
pub mod driver;
pub mod load;
pub mod nvml;
pub mod nvml_watch;
pub mod power;
pub mod tree;
pub mod visible;

use crate::caveat::{Caveat, CaveatKind};
use crate::profile::machine::{Limits, Machine, Reading};
use crate::units::Bytes;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tree::Tree;

/// Reads this machine.
///
/// It never fails: what cannot be read carries its reason.
#[must_use]
pub fn probe() -> Machine {
    probe_with_caveats().0
}

/// Reads this machine, and says what about it a reader of results must know:
/// limits of the container, doubts about which GPUs CUDA shows.
#[must_use]
pub fn probe_with_caveats() -> (Machine, Vec<Caveat>) {
    let tree = Tree::of_this_machine();
    let signs = driver::DriverSigns::read(&tree);
    let variables = choice::CudaVariables::of_this_process();
    let (gpus, notes) = nvml::gpus(&signs, &variables);
    let machine = Machine {
        os: operating_system(),
        cpu: cpu::read(&tree),
        memory_bytes: memory(),
        limits: limits(&tree),
        gpus,
    };
    let mut caveats = limit_caveats(&machine);
    caveats.extend(
        notes
            .into_iter()
            .map(|note| Caveat::new(CaveatKind::Limit, note)),
    );
    (machine, caveats)
}

fn limits(tree: &Tree) -> Limits {
    if cfg!(target_os = "linux") {
        return cgroup::limits(tree);
    }
    Limits {
        cgroup: Reading::unknown(format!("{} has no control groups", std::env::consts::OS)),
        ..Limits::default()
    }
}

fn operating_system() -> Reading<String> {
    let kernel = System::kernel_version().ok();
    match (System::long_os_version(), kernel) {
        (Ok(name), Some(kernel)) => Reading::Known(format!("{name}, kernel {kernel}")),
        (Ok(name), None) => Reading::Known(name),
        (Err(_), Some(kernel)) => {
            Reading::Known(format!("{}, kernel {kernel}", std::env::consts::OS))
        }
        (Err(e), None) => Reading::unknown(e.to_string()),
    }
}

fn memory() -> Reading<Bytes> {
    let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    match System::new_with_specifics(wanted) {
        Ok(system) if system.total_memory() > 0 => {
            Reading::Known(Bytes::new(system.total_memory()))
        }
        Ok(_) => Reading::unknown("the operating system does not tell its memory"),
        Err(e) => Reading::unknown(e.to_string()),
    }
}

/// Limits that shape what is measured here.
fn limit_caveats(machine: &Machine) -> Vec<Caveat> {
    let mut caveats = Vec::new();
    let all = machine.cpu.logical_cores;
    let usable = machine.usable_threads();
    if usable < all {
        caveats.push(Caveat::new(
            CaveatKind::Limit,
            format!("{usable} of {all} processors may be used here"),
        ));
    }
    if let Some(quota) = machine.limits.cpu_quota_cores
        && quota < f64::from(usable)
    {
        caveats.push(
            Caveat::new(
                CaveatKind::Limit,
                format!("the CPU quota is {quota:.2} cores, less than one thread can use"),
            )
            .hint("raise the quota to at least one core: a thread that is stopped in every period has a long tail of latency"),
        );
    }
    if let (Some(limit), Some(host)) = (machine.limits.memory_bytes, machine.memory_bytes.known())
        && limit < *host
    {
        caveats.push(Caveat::new(
            CaveatKind::Limit,
            format!("{limit} of {host} of memory may be used here"),
        ));
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::machine::Gpus;

    #[test]
    fn this_machine_is_read() {
        let machine = probe();
        assert!(machine.cpu.logical_cores >= 1);
        assert!(machine.usable_threads() >= 1);
        let memory = machine.memory_bytes.known().expect("memory is known");
        assert!(*memory > Bytes::from_mib(64), "{memory}");
        assert!(machine.os.known().is_some());
        match &machine.gpus {
            Gpus::NoDriver { tried: why } | Gpus::DriverFailed { why } | Gpus::NoDevice { why } => {
                assert!(!why.is_empty());
            }
            Gpus::Found { devices } => {
                for (gpu, index) in devices.iter().zip(0..) {
                    assert_eq!(gpu.cuda_index, index);
                }
            }
        }
    }

    #[test]
    fn a_machine_survives_json() {
        let machine = probe();
        let text = serde_json::to_string(&machine).unwrap();
        let back: Machine = serde_json::from_str(&text).unwrap();
        assert_eq!(machine, back);
    }

    #[test]
    fn limits_that_shape_a_measurement_are_told() {
        let mut machine = probe();
        machine.cpu.logical_cores = 16;
        machine.memory_bytes = Reading::Known(Bytes::from_gib(64.0));
        machine.limits = Limits::default();
        assert!(limit_caveats(&machine).is_empty());
        machine.limits.cpu_quota_cores = Some(2.5);
        machine.limits.memory_bytes = Some(Bytes::from_gib(8.0));
        let told: Vec<String> = limit_caveats(&machine)
            .into_iter()
            .map(|c| c.message)
            .collect();
        assert_eq!(
            told,
            [
                "2 of 16 processors may be used here",
                "8.00 GiB of 64.0 GiB of memory may be used here"
            ]
        );
        machine.limits.cpu_quota_cores = Some(0.5);
        assert_eq!(limit_caveats(&machine).len(), 3);
    }
}
