//! Cores for sessions: each instance's threads are kept to cores of their own.
//!
//! Left to the scheduler, threads of one instance wander onto the core of
//! another and back, which no calibration can tell beforehand. Calibration and
//! serving keep them apart in the very same way, since a prediction holds only
//! where sessions run as they were measured.

use crate::profile::calibration::{Device, SessionLayout};

/// The cores of each instance, one per intra-op thread; empty where the threads
/// are left to the scheduler:
///
/// - on a GPU, whose host threads hardly work;
/// - where there are more threads than cores, which must share;
/// - under a CPU quota below the cores there are: then other containers run on
///   the same cores, and everybody would choose the same ones.
///
/// The last cores come first, since systems put their own work on the first.
#[must_use]
pub fn cores_of_instances(
    device: &Device,
    layout: SessionLayout,
    usable_threads: u32,
) -> Vec<Vec<u32>> {
    let allowed = allowed();
    let threads = layout.intra_op_threads.max(1);
    let needed = layout.instances.saturating_mul(threads) as usize;
    if *device != Device::Cpu || allowed.len() > usable_threads as usize || needed > allowed.len() {
        return Vec::new();
    }
    let last_first: Vec<u32> = allowed.into_iter().rev().take(needed).collect();
    last_first
        .chunks(threads as usize)
        .map(<[u32]>::to_vec)
        .collect()
}

/// The cores that this process may run on, ascending; none where the system
/// does not tell.
#[must_use]
pub fn allowed() -> Vec<u32> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity};
        sched_getaffinity(None).map_or_else(
            |_| Vec::new(),
            |set| {
                (0..CpuSet::MAX_CPU)
                    .filter(|core| set.is_set(*core))
                    .map(|core| core as u32)
                    .collect()
            },
        )
    }
    #[cfg(not(target_os = "linux"))]
    {
        Vec::new()
    }
}

/// Keeps the calling thread to the first of these cores, where its part of an
/// inference runs; does nothing when there are none. A refusal is not an error:
/// the thread then runs wherever the scheduler puts it.
pub fn keep_calling_thread(cores: &[u32]) {
    #[cfg(target_os = "linux")]
    if let Some(core) = cores.first() {
        let mut set = rustix::thread::CpuSet::new();
        set.set(*core as usize);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cores;
}

/// The session option `session.intra_op_thread_affinities`: one entry per
/// thread but the calling one, cores counted from one
/// (`onnxruntime_session_options_config_keys.h`). None where there is no such
/// thread or no core.
#[must_use]
pub(super) fn affinities(cores: &[u32]) -> Option<String> {
    let entries: Vec<String> = cores
        .iter()
        .skip(1)
        .map(|core| (core + 1).to_string())
        .collect();
    (!entries.is_empty()).then(|| entries.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(instances: u32, intra_op_threads: u32) -> SessionLayout {
        SessionLayout {
            instances,
            intra_op_threads,
            spinning: false,
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_two_instances_share_a_core() {
        let all = allowed().len() as u32;
        assert!(all >= 1);
        let cores = cores_of_instances(&Device::Cpu, layout(all, 1), all);
        let mut flat: Vec<u32> = cores.concat();
        flat.sort_unstable();
        assert_eq!(flat, allowed());
        assert!(cores.iter().all(|own| own.len() == 1));
    }

    #[test]
    fn too_many_threads_or_a_quota_leave_it_to_the_scheduler() {
        let all = allowed().len() as u32;
        assert!(cores_of_instances(&Device::Cpu, layout(all + 1, 1), all + 1).is_empty());
        assert!(all == 0 || cores_of_instances(&Device::Cpu, layout(1, 1), all - 1).is_empty());
        let gpu = Device::Cuda {
            index: 0,
            name: "L4".into(),
        };
        assert!(cores_of_instances(&gpu, layout(1, 1), all).is_empty());
    }

    #[test]
    fn the_option_counts_from_one_and_leaves_the_calling_thread_out() {
        assert_eq!(affinities(&[3, 2, 0]), Some("3;1".to_owned()));
        assert_eq!(affinities(&[3]), None);
        assert_eq!(affinities(&[]), None);
    }
}
