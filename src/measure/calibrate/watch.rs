//! What the device itself says while it is measured: energy, and on a GPU memory
//! and what holds its clock back.

use crate::{
    caveat::{Caveat, CaveatKind},
    measure::probe::{
        nvml_watch::GpuWatch,
        power::{Drawn, EnergyMeter, EnergyReading},
        tree::Tree,
    },
    profile::{calibration::Device, machine::Machine},
    units::Bytes,
};
use std::collections::BTreeMap;

/// Looks at one device.
#[derive(Debug)]
pub(super) struct DeviceWatch {
    meter: Option<EnergyMeter>,
    gpu: Option<GpuWatch>,
    /// Visits after which the GPU was looked at.
    visits: u32,
    /// After how many of them something held it back, by what.
    held_back: BTreeMap<&'static str, u32>,
    /// The lowest clock after a visit as a share of the highest there is.
    lowest_clock: f64,
}

impl DeviceWatch {
    /// The watch of a device; one that sees nothing where there is nothing to see.
    pub fn of(device: &Device, machine: &Machine) -> Self {
        let uuid = match device {
            Device::Cpu => None,
            Device::Cuda { index, .. } => machine
                .gpus
                .devices()
                .iter()
                .find(|gpu| gpu.cuda_index == *index)
                .and_then(|gpu| gpu.uuid.known().cloned()),
        };
        let meter = match (device, &uuid) {
            (Device::Cpu, _) => EnergyMeter::of_processor(&Tree::of_this_machine()),
            (Device::Cuda { .. }, Some(uuid)) => {
                GpuWatch::open(uuid).map(Box::new).map(EnergyMeter::Gpu)
            }
            (Device::Cuda { .. }, None) => None,
        };
        Self {
            meter,
            gpu: uuid.and_then(|uuid| GpuWatch::open(&uuid)),
            visits: 0,
            held_back: BTreeMap::new(),
            lowest_clock: 1.0,
        }
    }

    /// Device memory in use; none on a processor.
    pub fn used(&self) -> Option<Bytes> {
        self.gpu.as_ref()?.state().used
    }

    /// Before a visit.
    pub fn begin(&self) -> Option<EnergyReading> {
        self.meter.as_ref()?.read()
    }

    /// After a visit: what it drew, and the state that the GPU was in.
    pub fn end(&mut self, before: Option<&EnergyReading>) -> Drawn {
        if let Some(gpu) = &self.gpu {
            let state = gpu.state();
            self.visits += 1;
            for reason in state.held_back {
                *self.held_back.entry(reason).or_default() += 1;
            }
            if let Some((now, most)) = state.clock_mhz {
                let share = f64::from(now) / f64::from(most.max(1));
                self.lowest_clock = self.lowest_clock.min(share);
            }
        }
        let now = self.begin();
        match (&self.meter, before, now) {
            (Some(meter), Some(before), Some(now)) => meter.between(before, &now),
            _ => Drawn::default(),
        }
    }

    /// What held the GPU back, where anything did.
    pub fn caveats(&self) -> Vec<Caveat> {
        self.held_back
            .iter()
            .map(|(reason, visits)| {
                Caveat::new(
                    CaveatKind::Noise,
                    format!(
                        "the GPU was held back by {reason} after {visits} of {} visits; its clock went down to {:.0} % of the highest",
                        self.visits,
                        self.lowest_clock * 100.0
                    ),
                )
                .hint("a server under steady load meets the same; cool it or raise its limit to measure more")
            })
            .collect()
    }
}
