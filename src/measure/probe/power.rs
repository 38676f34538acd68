//! What the machine draws while it measures, from its own energy counters.

use super::{nvml_watch::GpuWatch, tree::Tree};
use crate::units::{Power, Time};
use std::time::Instant;

/// Where Linux shows the counters of processor packages (RAPL; kernel documentation,
/// *Power Capping Framework*). Only root may read them on current kernels.
const POWERCAP: &str = "/sys/class/powercap";

/// The energy counters of what a model runs on.
#[derive(Debug)]
pub enum EnergyMeter {
    /// One counter per processor package, memory not included.
    Packages(Packages),
    /// A GPU's own counter, board included.
    Gpu(Box<GpuWatch>),
}

/// A reading of counters, to be compared with a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyReading {
    /// Microjoules by counter.
    counters: Vec<u64>,
    at: Instant,
}

/// Energy and the time in which it was drawn, summed over visits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drawn {
    microjoules: f64,
    seconds: f64,
}

impl Drawn {
    /// Adds what was drawn between two readings.
    pub fn add(&mut self, other: Self) {
        self.microjoules += other.microjoules;
        self.seconds += other.seconds;
    }

    /// The mean power; none without a reading, or where the counter never moved.
    #[must_use]
    pub fn power(&self) -> Option<Power> {
        (self.seconds > 0.0 && self.microjoules > 0.0)
            .then(|| Power::saturating(self.microjoules / 1e6 / self.seconds))
    }

    /// How long was looked.
    #[must_use]
    pub fn time(&self) -> Time {
        Time::saturating(self.seconds)
    }
}

impl EnergyMeter {
    /// The meter of the processor packages; none where there are no counters or
    /// they may not be read.
    #[must_use]
    pub fn of_processor(tree: &Tree) -> Option<Self> {
        Packages::find(tree.clone()).map(Self::Packages)
    }

    /// Reads all counters.
    #[must_use]
    pub fn read(&self) -> Option<EnergyReading> {
        let counters = match self {
            Self::Packages(packages) => packages.read()?,
            Self::Gpu(watch) => vec![watch.energy_microjoules()?],
        };
        Some(EnergyReading {
            counters,
            at: Instant::now(),
        })
    }

    /// What was drawn from one reading to a later one.
    #[must_use]
    pub fn between(&self, before: &EnergyReading, after: &EnergyReading) -> Drawn {
        let microjoules = before
            .counters
            .iter()
            .zip(&after.counters)
            .enumerate()
            .map(|(i, (from, to))| match self {
                Self::Packages(packages) => packages.difference(i, *from, *to),
                Self::Gpu(_) => to.saturating_sub(*from) as f64,
            })
            .sum();
        Drawn {
            microjoules,
            seconds: after.at.duration_since(before.at).as_secs_f64(),
        }
    }
}

/// The counters of the processor packages.
#[derive(Debug, Clone)]
pub struct Packages {
    tree: Tree,
    /// Folder and the value after which the counter starts again.
    domains: Vec<(String, u64)>,
}

impl Packages {
    fn find(tree: Tree) -> Option<Self> {
        let domains: Vec<(String, u64)> = tree
            .list(POWERCAP)
            .into_iter()
            // `intel-rapl:0` is a package (also on AMD), `intel-rapl:0:0` a part of it.
            .filter(|name| name.starts_with("intel-rapl:") && name.matches(':').count() == 1)
            .filter_map(|name| {
                let folder = format!("{POWERCAP}/{name}");
                let package = tree.read(&format!("{folder}/name")).ok()?;
                if !package.starts_with("package") {
                    return None;
                }
                let most = tree
                    .read(&format!("{folder}/max_energy_range_uj"))
                    .ok()?
                    .parse()
                    .ok()?;
                Some((folder, most))
            })
            .collect();
        let found = Self { tree, domains };
        (!found.domains.is_empty() && found.read().is_some()).then_some(found)
    }

    fn read(&self) -> Option<Vec<u64>> {
        self.domains
            .iter()
            .map(|(folder, _)| {
                self.tree
                    .read(&format!("{folder}/energy_uj"))
                    .ok()?
                    .parse()
                    .ok()
            })
            .collect()
    }

    /// Microjoules from one value to a later one of a counter that starts again.
    fn difference(&self, counter: usize, from: u64, to: u64) -> f64 {
        if to >= from {
            return (to - from) as f64;
        }
        let most = self.domains.get(counter).map_or(0, |(_, most)| *most);
        most.saturating_sub(from).saturating_add(to) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::Duration};

    fn write(root: &std::path::Path, path: &str, text: &str) {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn packages_are_counted_over_their_turn_and_their_parts_left_out() {
        let root = tempfile::tempdir().unwrap();
        let package = format!("{POWERCAP}/intel-rapl:0");
        write(root.path(), &format!("{package}/name"), "package-0\n");
        write(
            root.path(),
            &format!("{package}/max_energy_range_uj"),
            "262143328850\n",
        );
        write(
            root.path(),
            &format!("{package}/energy_uj"),
            "262143328000\n",
        );
        write(
            root.path(),
            &format!("{POWERCAP}/intel-rapl:0:0/name"),
            "core\n",
        );
        write(
            root.path(),
            &format!("{POWERCAP}/intel-rapl:1/name"),
            "psys\n",
        );
        let meter = EnergyMeter::of_processor(&Tree::at(root.path())).unwrap();
        let before = meter.read().unwrap();
        write(root.path(), &format!("{package}/energy_uj"), "9999150\n");
        let mut after = meter.read().unwrap();
        after.at = before.at + Duration::from_secs(2);
        // 850 µJ up to the turn and 9,999,150 after it: 10 J in 2 s.
        let drawn = meter.between(&before, &after);
        assert!((drawn.power().unwrap().get() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn no_counters_are_no_meter() {
        let root = tempfile::tempdir().unwrap();
        assert!(EnergyMeter::of_processor(&Tree::at(root.path())).is_none());
        write(
            root.path(),
            &format!("{POWERCAP}/intel-rapl:0/name"),
            "package-0",
        );
        // A counter that cannot be read: as without root.
        assert!(EnergyMeter::of_processor(&Tree::at(root.path())).is_none());
        assert!(Drawn::default().power().is_none());
    }
}
