//! Which devices of this machine are measured.

use super::args::Kind;
use crate::profile::{calibration::Device, machine::Machine};

/// The CPU and every visible GPU, or only those of one kind.
pub(super) fn devices(machine: &Machine, only: Option<Kind>) -> Vec<Device> {
    let cpu = (only != Some(Kind::Gpu)).then_some(Device::Cpu);
    let gpus = machine
        .gpus
        .devices()
        .iter()
        .filter(|_| only != Some(Kind::Cpu))
        .map(|gpu| Device::Cuda {
            index: gpu.cuda_index,
            name: gpu
                .name
                .known()
                .cloned()
                .unwrap_or_else(|| "NVIDIA GPU".to_owned()),
        });
    cpu.into_iter().chain(gpus).collect()
}
