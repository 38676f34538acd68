//! Clocks, temperatures and thermal slow-downs, where the machine shows them.

use crate::measure::probe::tree::Tree;
use crate::profile::machine::Reading;

const CPUS: &str = "/sys/devices/system/cpu";

/// Mean clock of the processors, in MHz.
pub(super) fn clock_mhz(tree: &Tree) -> Reading<f64> {
    // cpufreq counts in kHz.
    let scaled: Vec<f64> = each_cpu(tree, "cpufreq/scaling_cur_freq")
        .iter()
        .filter_map(|text| Some(text.parse::<f64>().ok()? / 1000.0))
        .collect();
    if let Some(mean) = mean(&scaled) {
        return Reading::Known(mean);
    }
    let Ok(text) = tree.read("/proc/cpuinfo") else {
        return Reading::unknown("neither cpufreq nor `/proc/cpuinfo` can be read");
    };
    clock_of_cpuinfo(&text)
}

/// The clocks of `/proc/cpuinfo` are measured only where the processor's own
/// counters can be read (flag `aperfmperf`); a virtual machine without them shows
/// one nominal number for ever.
fn clock_of_cpuinfo(text: &str) -> Reading<f64> {
    let values = |key: &'static str| {
        text.lines().filter_map(move |line| {
            let (k, v) = line.split_once(':')?;
            (k.trim() == key).then(|| v.trim())
        })
    };
    let clocks: Vec<f64> = values("cpu MHz").filter_map(|v| v.parse().ok()).collect();
    let Some(mean) = mean(&clocks) else {
        return Reading::unknown("this machine shows no clock");
    };
    let measured = values("flags")
        .next()
        .is_some_and(|flags| flags.split_whitespace().any(|f| f == "aperfmperf"));
    if measured {
        Reading::Known(mean)
    } else {
        Reading::unknown("this machine shows a nominal clock only")
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean.is_finite() && mean > 0.0).then_some(mean)
}

/// One file of every processor's folder.
fn each_cpu(tree: &Tree, file: &str) -> Vec<String> {
    tree.list(CPUS)
        .iter()
        .filter(|name| {
            name.strip_prefix("cpu")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
        .filter_map(|name| tree.read(&format!("{CPUS}/{name}/{file}")).ok())
        .collect()
}

/// Temperature of the hottest processor sensor, in degrees Celsius: of the
/// monitoring drivers `coretemp` (Intel), `k10temp`, `zenpower` (AMD), else of a
/// thermal zone that is named after the processor.
pub(super) fn temperature_celsius(tree: &Tree) -> Reading<f64> {
    let monitors = tree.list("/sys/class/hwmon").into_iter().flat_map(|name| {
        let folder = format!("/sys/class/hwmon/{name}");
        let is_cpu = tree
            .read(&format!("{folder}/name"))
            .is_ok_and(|n| ["coretemp", "k10temp", "zenpower"].contains(&n.as_str()));
        let files = if is_cpu { tree.list(&folder) } else { vec![] };
        files
            .into_iter()
            .filter(|f| f.starts_with("temp") && f.ends_with("_input"))
            .map(move |f| format!("{folder}/{f}"))
    });
    let zones = tree
        .list("/sys/class/thermal")
        .into_iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .filter_map(|name| {
            let folder = format!("/sys/class/thermal/{name}");
            let kind = tree.read(&format!("{folder}/type")).ok()?.to_lowercase();
            (kind.contains("cpu") || kind.contains("pkg_temp")).then(|| format!("{folder}/temp"))
        });
    monitors
        .chain(zones)
        // Both count in thousandths of a degree.
        .filter_map(|file| Some(tree.read(&file).ok()?.parse::<f64>().ok()? / 1000.0))
        .filter(|t| t.is_finite())
        .reduce(f64::max)
        .map_or_else(
            || Reading::unknown("this machine shows no processor temperature"),
            Reading::Known,
        )
}

/// How often heat slowed a core or a package down since the start of the machine
/// (Intel alone counts this).
pub(super) fn thermal_events(tree: &Tree) -> Reading<u64> {
    let counts: Vec<u64> = ["core_throttle_count", "package_throttle_count"]
        .iter()
        .flat_map(|file| each_cpu(tree, &format!("thermal_throttle/{file}")))
        .filter_map(|text| text.parse().ok())
        .collect();
    if counts.is_empty() {
        Reading::unknown("this machine does not count thermal slow-downs")
    } else {
        Reading::Known(counts.into_iter().fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let tree = Tree::at(dir.path());
        (dir, tree)
    }

    #[test]
    fn clocks_are_averaged_over_processors() {
        let (_dir, tree) = tree(&[
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                "3600000\n",
            ),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                "3200000\n",
            ),
            (
                "sys/devices/system/cpu/cpufreq/cpufreq/scaling_cur_freq",
                "1\n",
            ),
        ]);
        assert_eq!(clock_mhz(&tree), Reading::Known(3400.0));
    }

    #[test]
    fn a_nominal_clock_is_not_taken_for_a_measured_one() {
        let text =
            |flags: &str| format!("processor : 0\ncpu MHz : 2596.122\nflags : fpu {flags}\n");
        let nominal = clock_of_cpuinfo(&text("hypervisor"));
        assert!(nominal.to_string().contains("nominal"));
        assert_eq!(
            clock_of_cpuinfo(&text("aperfmperf")),
            Reading::Known(2596.122)
        );
        assert!(clock_of_cpuinfo("").known().is_none());
    }

    #[test]
    fn the_hottest_processor_sensor_counts_and_no_other() {
        let (_dir, tree) = tree(&[
            ("sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
            ("sys/class/hwmon/hwmon1/name", "k10temp\n"),
            ("sys/class/hwmon/hwmon1/temp1_input", "61500\n"),
            ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("sys/class/thermal/thermal_zone0/temp", "90000\n"),
            ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n"),
            ("sys/class/thermal/thermal_zone1/temp", "58000\n"),
        ]);
        assert_eq!(temperature_celsius(&tree), Reading::Known(61.5));
    }

    #[test]
    fn a_machine_without_sensors_gives_reasons() {
        let (_dir, tree) = tree(&[]);
        assert!(clock_mhz(&tree).known().is_none());
        assert!(temperature_celsius(&tree).known().is_none());
        assert!(thermal_events(&tree).known().is_none());
    }

    #[test]
    fn slow_downs_are_summed() {
        let base = "sys/devices/system/cpu/cpu0/thermal_throttle";
        let (_dir, tree) = tree(&[
            (&format!("{base}/core_throttle_count"), "3\n"),
            (&format!("{base}/package_throttle_count"), "4\n"),
        ]);
        assert_eq!(thermal_events(&tree), Reading::Known(7));
    }
}
