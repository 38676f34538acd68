//! Which of the GPUs that the driver shows a program may use.

use crate::measure::probe::visible::{Candidate, DeviceOrder, visible};
use crate::profile::machine::{Gpu, Gpus};

/// The environment variables that decide what CUDA shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CudaVariables {
    /// `CUDA_VISIBLE_DEVICES`.
    pub visible_devices: Option<String>,
    /// `CUDA_DEVICE_ORDER`.
    pub device_order: Option<String>,
}

impl CudaVariables {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let text = |name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
        Self {
            visible_devices: text("CUDA_VISIBLE_DEVICES"),
            device_order: text("CUDA_DEVICE_ORDER"),
        }
    }
}

/// A GPU as the driver shows it, with its MIG instances where MIG is on.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundGpu {
    /// The whole GPU.
    pub gpu: Gpu,
    /// Its instances; none with MIG off.
    pub instances: Option<Vec<Gpu>>,
}

/// Keeps what CUDA shows, in its order.
#[must_use]
pub fn choose(found: &[FoundGpu], variables: &CudaVariables) -> (Gpus, Vec<String>) {
    if found.is_empty() {
        let why = "the driver works and finds no GPU".to_owned();
        return (Gpus::NoDevice { why }, Vec::new());
    }
    let candidates: Vec<Candidate> = found.iter().map(candidate).collect();
    let order = DeviceOrder::from_variable(variables.device_order.as_deref());
    let seen = visible(variables.visible_devices.as_deref(), order, &candidates);
    let devices: Vec<Gpu> = seen
        .shown
        .iter()
        .filter_map(|shown| {
            let whole = found.get(shown.device)?;
            match shown.instance {
                None => Some(&whole.gpu),
                Some(i) => whole.instances.as_ref()?.get(i),
            }
        })
        .zip(0..)
        .map(|(gpu, cuda_index)| Gpu {
            cuda_index,
            ..gpu.clone()
        })
        .collect();
    if !devices.is_empty() {
        return (Gpus::Found { devices }, seen.notes);
    }
    let mut why = match &variables.visible_devices {
        Some(value) => format!("hidden by CUDA_VISIBLE_DEVICES={value}"),
        None => "CUDA can use none of the GPUs".to_owned(),
    };
    for note in &seen.notes {
        why = format!("{why}; {note}");
    }
    (Gpus::NoDevice { why }, Vec::new())
}

fn candidate(found: &FoundGpu) -> Candidate {
    Candidate {
        name: found.gpu.name.known().cloned(),
        uuid: found.gpu.uuid.known().cloned(),
        instances: found
            .instances
            .as_ref()
            .map(|all| all.iter().map(|gpu| gpu.uuid.known().cloned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::machine::Reading;

    fn gpu(index: u32, name: &str) -> Gpu {
        let why = "not part of this test";
        Gpu {
            cuda_index: 0,
            nvml_index: index,
            name: Reading::Known(name.into()),
            uuid: Reading::Known(format!("GPU-{index}abc")),
            memory_bytes: Reading::unknown(why),
            memory_used_bytes: Reading::unknown(why),
            driver: Reading::unknown(why),
            cuda: Reading::unknown(why),
            compute_capability: Reading::unknown(why),
            max_sm_clock_mhz: Reading::unknown(why),
            max_memory_clock_mhz: Reading::unknown(why),
            power_limit_watts: Reading::unknown(why),
            temperature_celsius: Reading::unknown(why),
            mig: Reading::unknown(why),
        }
    }

    fn two() -> Vec<FoundGpu> {
        (0..2)
            .map(|i| FoundGpu {
                gpu: gpu(i, "NVIDIA L4"),
                instances: None,
            })
            .collect()
    }

    fn with(value: Option<&str>) -> CudaVariables {
        CudaVariables {
            visible_devices: value.map(str::to_owned),
            device_order: None,
        }
    }

    fn why(gpus: &Gpus) -> &str {
        match gpus {
            Gpus::NoDevice { why } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hidden_devices_name_the_variable_that_hides_them() {
        for (value, end) in [
            ("", "CUDA_VISIBLE_DEVICES="),
            ("-1", "CUDA_VISIBLE_DEVICES=-1"),
        ] {
            let (gpus, _) = choose(&two(), &with(Some(value)));
            assert!(matches!(gpus, Gpus::NoDevice { .. }));
            assert_eq!(why(&gpus), format!("hidden by {end}"));
        }
        let (gpus, _) = choose(&two(), &with(Some("7")));
        assert!(why(&gpus).contains("=7; `7` in CUDA_VISIBLE_DEVICES names no GPU"));
    }

    #[test]
    fn shown_devices_are_numbered_as_cuda_does() {
        let (gpus, notes) = choose(&two(), &with(Some("1,0")));
        let numbers: Vec<_> = gpus
            .devices()
            .iter()
            .map(|g| (g.cuda_index, g.nvml_index))
            .collect();
        assert_eq!(numbers, [(0, 1), (1, 0)]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_mig_instance_stands_for_its_gpu() {
        let mut found = two();
        found[1].instances = Some(vec![gpu(1, "NVIDIA L4 MIG 1g.5gb")]);
        let (gpus, notes) = choose(&found, &CudaVariables::default());
        let names: Vec<_> = gpus.devices().iter().map(|g| g.name.to_string()).collect();
        assert_eq!(names, ["NVIDIA L4 MIG 1g.5gb"]);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn an_empty_machine_with_a_driver_has_no_device() {
        assert!(why(&choose(&[], &CudaVariables::default()).0).contains("finds no GPU"));
    }
}
