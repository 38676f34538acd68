//! NVIDIA GPUs through NVML, loaded at run time; the only user of `nvml_wrapper`.

use crate::measure::probe::choice::{CudaVariables, FoundGpu, choose};
use crate::measure::probe::driver::{DriverSigns, Nodes, Place};
use crate::profile::machine::{Gpu, Gpus, Reading};
use crate::units::Bytes;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::OsStr;

/// Where the library may be, in the order tried: many driver installs have no
/// unversioned name, WSL and NixOS keep it outside the loader's path.
#[cfg(not(windows))]
const LIBRARIES: [&str; 4] = [
    "libnvidia-ml.so.1",
    "libnvidia-ml.so",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
];
/// Newer drivers put it where Windows looks, older ones beside nvidia-smi.
#[cfg(windows)]
const LIBRARIES: [&str; 2] = [
    "nvml.dll",
    r"C:\Program Files\NVIDIA Corporation\NVSMI\nvml.dll",
];

/// Reads the GPUs and says what is doubtful about which of them CUDA shows.
#[must_use]
pub fn gpus(signs: &DriverSigns, variables: &CudaVariables) -> (Gpus, Vec<String>) {
    match open(&LIBRARIES) {
        Ok(nvml) => match devices(&nvml) {
            Ok(found) => choose(&found, variables),
            Err(e) => (failed(&e, signs), Vec::new()),
        },
        Err(Closed::NotFound) => (not_found(signs), Vec::new()),
        Err(Closed::Failed(e)) => (failed(&e, signs), Vec::new()),
    }
}

/// Why NVML did not open.
#[derive(Debug)]
enum Closed {
    /// No such library.
    NotFound,
    /// The library is there and refused.
    Failed(NvmlError),
}

fn open(libraries: &[&str]) -> Result<Nvml, Closed> {
    for name in libraries {
        match Nvml::builder().lib_path(OsStr::new(name)).init() {
            Ok(nvml) => return Ok(nvml),
            Err(e) if is_missing(&e, name) => {}
            Err(e) => return Err(Closed::Failed(e)),
        }
    }
    Err(Closed::NotFound)
}

/// Whether the library itself is absent, as opposed to broken or refusing.
fn is_missing(error: &NvmlError, name: &str) -> bool {
    match error {
        NvmlError::LibraryNotFound => true,
        // The loader gives no code, but names the file that it did not find: a
        // library that this one needs would be named instead.
        NvmlError::LibloadingError(e) => {
            cfg!(not(target_os = "linux"))
                || with_sources(e).contains(&format!("{name}: cannot open shared object file"))
        }
        _ => false,
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn not_found(signs: &DriverSigns) -> Gpus {
    if let Some(version) = &signs.kernel_module {
        let advice = if signs.container == Place::Container {
            signs.container_advice()
        } else {
            "install the driver's user-space libraries of the same version"
        };
        return Gpus::DriverFailed {
            why: format!(
                "the kernel module {version} is loaded, but its library {} is not to be found here: {advice}",
                LIBRARIES[0]
            ),
        };
    }
    let mut tried = format!("no library {}", LIBRARIES.join(", "));
    if cfg!(target_os = "linux") {
        tried.push_str(" and no /proc/driver/nvidia");
    }
    if !signs.on_the_bus.is_empty() {
        tried = format!(
            "{tried}; but an NVIDIA GPU is on the PCI bus (10de:{}): install its driver to use it",
            signs.on_the_bus.join(", 10de:")
        );
    }
    Gpus::NoDriver { tried }
}

fn failed(error: &NvmlError, signs: &DriverSigns) -> Gpus {
    let module = signs.kernel_module.as_deref();
    let nodes_missing = module.is_some() && signs.device_nodes == Nodes::Absent;
    let meaning = match error {
        NvmlError::LibRmVersionMismatch => format!(
            "the library and the kernel module ({}) are of different versions, as after an update: restart the machine, or make the container's and the host's driver the same",
            module.unwrap_or("version unknown")
        ),
        _ if nodes_missing && signs.container == Place::Container => format!(
            "the kernel module is loaded, but this container has no /dev/nvidiactl: {}",
            signs.container_advice()
        ),
        NvmlError::NoPermission => {
            "this user may not open the driver: check the rights of /dev/nvidia* (groups `video`, `render`) or the container's device rules".to_owned()
        }
        NvmlError::OperatingSystem => {
            "the operating system blocks the device: check the container's device rules".to_owned()
        }
        NvmlError::DriverNotLoaded if module.is_none() => {
            "the library is installed, but the kernel module is not loaded: run `sudo modprobe nvidia` and look at `dmesg` if that fails; on a machine without an NVIDIA GPU this is as it should be".to_owned()
        }
        NvmlError::DriverNotLoaded => {
            "the kernel module is loaded, but the library cannot reach it: check /dev/nvidiactl (`nvidia-modprobe -c 0`)".to_owned()
        }
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "the library lacks a function that every driver of use has: it is too old, or a stub".to_owned()
        }
        NvmlError::LibloadingError(e) => format!(
            "the file is there, but is not a library that can be loaded: {}",
            with_sources(e)
        ),
        NvmlError::GpuLost => {
            "a GPU has fallen off the bus: restart the machine; if it happens again, check power and cooling".to_owned()
        }
        NvmlError::ResetRequired => {
            "a GPU must be reset before it can be used: run `nvidia-smi --gpu-reset` or restart".to_owned()
        }
        _ => "run `nvidia-smi` to see whether it fails alike, and `dmesg | grep NVRM` for the reason".to_owned(),
    };
    Gpus::DriverFailed {
        why: format!("NVML says: {error}; {meaning}"),
    }
}

fn devices(nvml: &Nvml) -> Result<Vec<FoundGpu>, NvmlError> {
    let count = nvml.device_count()?;
    let driver = reading(nvml.sys_driver_version());
    let cuda = reading(nvml.sys_cuda_driver_version()).map(|v| cuda_version(*v));
    Ok((0..count)
        .map(|index| match nvml.device_by_index(index) {
            Ok(device) => found(&device, index, (&driver, &cuda)),
            // It stays in the list: to leave it out would shift the indices of
            // those after it.
            Err(e) => FoundGpu {
                gpu: unreadable(index, (&driver, &cuda), &e),
                instances: None,
            },
        })
        .collect())
}

fn cuda_version(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn reading<T>(result: Result<T, NvmlError>) -> Reading<T> {
    result.map_or_else(|e| Reading::unknown(reason(&e)), Reading::Known)
}

fn reason(error: &NvmlError) -> String {
    match error {
        NvmlError::NotSupported => "this device does not report it".to_owned(),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "this driver is too old to report it".to_owned()
        }
        other => other.to_string(),
    }
}

fn found(
    device: &Device<'_>,
    index: u32,
    versions: (&Reading<String>, &Reading<String>),
) -> FoundGpu {
    let mode = device.mig_mode();
    let on = mode.as_ref().is_ok_and(|m| m.current == 1);
    let mig = match &mode {
        Ok(m) if m.current == 1 => Reading::Known("on".to_owned()),
        Ok(_) => Reading::Known("off".to_owned()),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => {
            Reading::Known("not supported".to_owned())
        }
        Err(e) => Reading::unknown(reason(e)),
    };
    let gpu = read(device, index, versions, mig);
    // A slot without an instance answers "not found": the count is of slots.
    let instances = on.then(|| {
        (0..device.mig_device_count().unwrap_or(0))
            .filter_map(|slot| device.mig_device_by_index(slot).ok())
            .map(|instance| instance_of(&gpu, &instance))
            .collect()
    });
    FoundGpu { gpu, instances }
}

fn read(
    device: &Device<'_>,
    index: u32,
    (driver, cuda): (&Reading<String>, &Reading<String>),
    mig: Reading<String>,
) -> Gpu {
    let memory = reading(device.memory_info());
    Gpu {
        cuda_index: 0,
        nvml_index: index,
        name: reading(device.name()),
        uuid: reading(device.uuid()),
        memory_bytes: memory.map(|m| Bytes::new(m.total)),
        memory_used_bytes: memory.map(|m| Bytes::new(m.used)),
        driver: driver.clone(),
        cuda: cuda.clone(),
        compute_capability: reading(device.cuda_compute_capability())
            .map(|c| format!("{}.{}", c.major, c.minor)),
        max_sm_clock_mhz: reading(device.max_clock_info(Clock::SM)),
        max_memory_clock_mhz: reading(device.max_clock_info(Clock::Memory)),
        // NVML counts milliwatts.
        power_limit_watts: reading(device.enforced_power_limit()).map(|mw| f64::from(*mw) / 1000.0),
        temperature_celsius: reading(device.temperature(TemperatureSensor::Gpu)),
        mig,
    }
}

/// An instance has its own name, identity and memory; clocks, power and
/// temperature are those of the GPU it is a part of.
fn instance_of(gpu: &Gpu, instance: &Device<'_>) -> Gpu {
    let memory = reading(instance.memory_info());
    Gpu {
        name: reading(instance.name()),
        uuid: reading(instance.uuid()),
        memory_bytes: memory.map(|m| Bytes::new(m.total)),
        memory_used_bytes: memory.map(|m| Bytes::new(m.used)),
        ..gpu.clone()
    }
}

fn unreadable(
    index: u32,
    (driver, cuda): (&Reading<String>, &Reading<String>),
    error: &NvmlError,
) -> Gpu {
    let why = format!("the device does not answer: {error}");
    Gpu {
        cuda_index: 0,
        nvml_index: index,
        name: Reading::unknown(&why),
        uuid: Reading::unknown(&why),
        memory_bytes: Reading::unknown(&why),
        memory_used_bytes: Reading::unknown(&why),
        driver: driver.clone(),
        cuda: cuda.clone(),
        compute_capability: Reading::unknown(&why),
        max_sm_clock_mhz: Reading::unknown(&why),
        max_memory_clock_mhz: Reading::unknown(&why),
        power_limit_watts: Reading::unknown(&why),
        temperature_celsius: Reading::unknown(&why),
        mig: Reading::unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(gpus: &Gpus) -> String {
        match gpus {
            Gpus::NoDriver { tried: text }
            | Gpus::DriverFailed { why: text }
            | Gpus::NoDevice { why: text } => text.clone(),
            Gpus::Found { .. } => panic!("devices found"),
        }
    }

    #[test]
    fn a_missing_library_is_told_from_a_broken_one() {
        assert!(matches!(
            open(&[
                "libnvidia-ml-that-is-not-there.so.1",
                "/nowhere/libnvidia-ml.so"
            ]),
            Err(Closed::NotFound)
        ));
        let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
        std::fs::write(file.path(), "not a library").unwrap();
        let path = file.path().to_str().unwrap();
        if cfg!(target_os = "linux") {
            let Err(Closed::Failed(e)) = open(&[path]) else {
                panic!("a text file opened as a library");
            };
            let text = why(&failed(&e, &DriverSigns::default()));
            assert!(text.contains("not a library that can be loaded"), "{text}");
        }
    }

    #[test]
    fn no_driver_broken_driver_and_hidden_driver_are_three_things() {
        let nothing = DriverSigns::default();
        assert!(matches!(not_found(&nothing), Gpus::NoDriver { .. }));
        let hardware = DriverSigns {
            on_the_bus: vec!["27b8".into()],
            ..nothing.clone()
        };
        let text = why(&not_found(&hardware));
        assert!(text.contains("10de:27b8"), "{text}");
        let container = DriverSigns {
            kernel_module: Some("535.129.03".into()),
            container: Place::Container,
            ..nothing
        };
        let gpus = not_found(&container);
        assert!(matches!(gpus, Gpus::DriverFailed { .. }));
        assert!(why(&gpus).contains("535.129.03") && why(&gpus).contains("--gpus all"));
    }

    #[test]
    fn each_failure_says_what_it_means() {
        let loaded = DriverSigns {
            kernel_module: Some("535.129.03".into()),
            device_nodes: Nodes::Present,
            ..DriverSigns::default()
        };
        let unreachable = DriverSigns {
            device_nodes: Nodes::Absent,
            container: Place::Container,
            ..loaded.clone()
        };
        let bare = DriverSigns::default();
        for (error, signs, expected) in [
            (
                NvmlError::LibRmVersionMismatch,
                &loaded,
                "different versions",
            ),
            (NvmlError::LibRmVersionMismatch, &loaded, "535.129.03"),
            (NvmlError::NoPermission, &loaded, "may not open"),
            (NvmlError::DriverNotLoaded, &bare, "modprobe nvidia"),
            (NvmlError::DriverNotLoaded, &loaded, "cannot reach it"),
            (NvmlError::Unknown, &unreachable, "no /dev/nvidiactl"),
            (NvmlError::GpuLost, &loaded, "fallen off the bus"),
            (NvmlError::Unknown, &loaded, "nvidia-smi"),
        ] {
            let text = why(&failed(&error, signs));
            assert!(text.contains(expected), "{error}: {text}");
        }
    }

    #[test]
    fn versions_and_missing_values_read_well() {
        assert_eq!(cuda_version(12_040), "12.4");
        assert_eq!(cuda_version(13_000), "13.0");
        let missing: Reading<u32> = reading(Err(NvmlError::NotSupported));
        assert_eq!(
            missing.to_string(),
            "unknown (this device does not report it)"
        );
    }

    /// Whatever this machine has, the answer is one of the four, with a reason
    /// where there is no device.
    #[test]
    fn this_machine_has_gpus_or_a_reason() {
        let signs = DriverSigns::read(&crate::measure::probe::tree::Tree::of_this_machine());
        let (gpus, _) = gpus(&signs, &CudaVariables::default());
        if gpus.devices().is_empty() {
            assert!(!why(&gpus).is_empty());
        }
    }
}
