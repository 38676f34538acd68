//! Traces that an NVIDIA driver leaves on a machine, whether or not it works:
//! they tell a missing driver from one that a container cannot reach.

use crate::measure::probe::tree::Tree;

/// What lies about of an NVIDIA driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverSigns {
    /// Version of the loaded kernel module; `some version` where it does not say.
    pub kernel_module: Option<String>,
    /// Whether `/dev/nvidiactl` (or, under WSL, `/dev/dxg`) is there.
    pub device_nodes: Nodes,
    /// NVIDIA display or 3D controllers on the PCI bus, by device number.
    pub on_the_bus: Vec<String>,
    /// Whether this looks like the inside of a container.
    pub container: Place,
}

/// Whether the device files through which a driver is reached are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nodes {
    /// They are not.
    #[default]
    Absent,
    /// They are.
    Present,
}

/// Where the program runs, for advice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// No sign of a container.
    #[default]
    Host,
    /// Docker, Podman or Kubernetes left its marks.
    Container,
}

impl DriverSigns {
    /// Looks for traces under `/proc`, `/dev` and `/sys`.
    #[must_use]
    pub fn read(tree: &Tree) -> Self {
        let container = tree.has("/.dockerenv")
            || tree.has("/run/.containerenv")
            || tree.has("/var/run/secrets/kubernetes.io");
        let nodes = tree.has("/dev/nvidiactl") || tree.has("/dev/dxg");
        Self {
            kernel_module: kernel_module(tree),
            device_nodes: if nodes { Nodes::Present } else { Nodes::Absent },
            on_the_bus: on_the_bus(tree),
            container: if container {
                Place::Container
            } else {
                Place::Host
            },
        }
    }

    /// What to do where devices or libraries are missing from a container.
    #[must_use]
    pub fn container_advice(&self) -> &'static str {
        "start the container with its GPUs: `docker run --gpus all …` (NVIDIA Container Toolkit) or an `nvidia.com/gpu` limit in Kubernetes"
    }
}

fn kernel_module(tree: &Tree) -> Option<String> {
    if let Ok(text) = tree.read("/proc/driver/nvidia/version") {
        return Some(version_in(&text).unwrap_or("some version").to_owned());
    }
    tree.read("/sys/module/nvidia/version").ok()
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 …`, or
/// `… Open Kernel Module for x86_64  580.82.07  Release Build …`.
fn version_in(text: &str) -> Option<&str> {
    text.lines()
        .find(|line| line.contains("NVRM"))?
        .split_whitespace()
        .find(|word| {
            let mut parts = word.split('.');
            let numbers = parts.clone().count() >= 2;
            numbers && parts.all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
        })
}

fn on_the_bus(tree: &Tree) -> Vec<String> {
    let folder = "/sys/bus/pci/devices";
    tree.list(folder)
        .iter()
        .filter_map(|slot| {
            let read = |file: &str| tree.read(&format!("{folder}/{slot}/{file}")).ok();
            // PCI class 03 is a display controller, 0302 one without a display.
            let is_gpu = read("vendor")? == "0x10de" && read("class")?.starts_with("0x03");
            let device = read("device")?;
            is_gpu.then(|| device.trim_start_matches("0x").to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_kinds_of_kernel_module_give_their_version() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version:  gcc version 11.4.0";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (root@host)";
        assert_eq!(version_in(closed), Some("535.129.03"));
        assert_eq!(version_in(open), Some("580.82.07"));
        assert_eq!(version_in("GCC version: gcc 11.4.0"), None);
    }

    #[test]
    fn a_gpu_without_a_driver_shows_on_the_bus() {
        let dir = tempfile::tempdir().unwrap();
        for (slot, vendor, class, device) in [
            ("0000:00:1e.0", "0x10de", "0x030200", "0x27b8"),
            ("0000:00:1e.1", "0x10de", "0x040300", "0x22bc"),
            ("0000:00:02.0", "0x8086", "0x030000", "0x9bc8"),
        ] {
            let folder = dir.path().join("sys/bus/pci/devices").join(slot);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("vendor"), format!("{vendor}\n")).unwrap();
            fs::write(folder.join("class"), format!("{class}\n")).unwrap();
            fs::write(folder.join("device"), format!("{device}\n")).unwrap();
        }
        let signs = DriverSigns::read(&Tree::at(dir.path()));
        assert_eq!(signs.on_the_bus, ["27b8"]);
        assert_eq!(signs.kernel_module, None);
        assert_eq!(signs.device_nodes, Nodes::Absent);
    }
}
