//! A GPU while it is measured: energy, memory, clocks, and what holds it back.

use crate::units::Bytes;
use nvml_wrapper::{Nvml, bitmasks::device::ThrottleReasons, enum_wrappers::device::Clock};
use std::fmt;

/// One GPU, looked at through NVML.
pub struct GpuWatch {
    nvml: Nvml,
    uuid: String,
}

impl fmt::Debug for GpuWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuWatch")
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

/// The state of a GPU at one moment; none where the driver does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuState {
    /// Device memory in use, by all processes.
    pub used: Option<Bytes>,
    /// Clock of the multiprocessors, and the highest that there is, in MHz.
    pub clock_mhz: Option<(u32, u32)>,
    /// What keeps the clock down, in words; idling is not among it.
    pub held_back: Vec<&'static str>,
}

impl GpuWatch {
    /// Opens NVML for a GPU; none where there is no driver or no such GPU.
    #[must_use]
    pub fn open(uuid: &str) -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        nvml.device_by_uuid(uuid).ok()?;
        Some(Self {
            nvml,
            uuid: uuid.to_owned(),
        })
    }

    /// The energy drawn since the driver was loaded, in microjoules (Volta and newer).
    #[must_use]
    pub fn energy_microjoules(&self) -> Option<u64> {
        let device = self.nvml.device_by_uuid(self.uuid.as_str()).ok()?;
        device
            .total_energy_consumption()
            .ok()
            .map(|millijoules| millijoules.saturating_mul(1000))
    }

    /// Looks at the GPU now.
    #[must_use]
    pub fn state(&self) -> GpuState {
        let Ok(device) = self.nvml.device_by_uuid(self.uuid.as_str()) else {
            return GpuState::default();
        };
        GpuState {
            used: device
                .memory_info()
                .ok()
                .map(|memory| Bytes::new(memory.used)),
            clock_mhz: device
                .clock_info(Clock::SM)
                .ok()
                .zip(device.max_clock_info(Clock::SM).ok()),
            held_back: device
                .current_throttle_reasons()
                .map(reasons)
                .unwrap_or_default(),
        }
    }
}

/// What slows a GPU down while it works.
fn reasons(of: ThrottleReasons) -> Vec<&'static str> {
    [
        (ThrottleReasons::SW_POWER_CAP, "its power limit"),
        (ThrottleReasons::HW_SLOWDOWN, "a hardware slowdown"),
        (
            ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            "the power brake of the machine",
        ),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, "heat (driver)"),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, "heat (hardware)"),
        (ThrottleReasons::SYNC_BOOST, "synchronised clocks"),
        (
            ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
            "application clocks that somebody set",
        ),
    ]
    .into_iter()
    .filter(|(reason, _)| of.contains(*reason))
    .map(|(_, word)| word)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idling_is_no_reason_and_heat_is() {
        assert!(reasons(ThrottleReasons::GPU_IDLE).is_empty());
        let hot = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::SW_POWER_CAP;
        assert_eq!(reasons(hot), ["its power limit", "heat (driver)"]);
    }

    #[test]
    fn an_unknown_gpu_is_not_watched() {
        assert!(GpuWatch::open("GPU-00000000-0000-0000-0000-000000000000").is_none());
    }
}
