//! Containers with a quota of one processor, or with little memory, made by hand.

use crate::advisor::{Bench, may};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A control group with a limit; removed at the end.
struct Group {
    folder: PathBuf,
}

impl Group {
    /// Allowed `percent` of one processor, under version 1 or 2.
    fn with_quota(percent: u32) -> Option<Self> {
        let quota = percent * 1000;
        Self::new(
            ("cpu", "cpu.cfs_quota_us", quota.to_string()),
            ("cpu.max", format!("{quota} 100000")),
        )
    }

    /// Allowed so many bytes of memory, under version 1 or 2.
    fn with_memory(bytes: u64) -> Option<Self> {
        Self::new(
            ("memory", "memory.limit_in_bytes", bytes.to_string()),
            ("memory.max", bytes.to_string()),
        )
    }

    fn new(
        (controller, old, old_text): (&str, &str, String),
        (new, new_text): (&str, String),
    ) -> Option<Self> {
        let name = format!("advisor-test-{controller}-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let (folder, file, text) = if root.join(controller).join(old).exists() {
            (root.join(controller).join(name), old, old_text)
        } else {
            (root.join(name), new, new_text)
        };
        std::fs::create_dir(&folder).ok()?;
        let group = Self { folder };
        std::fs::write(group.folder.join(file), text).ok()?;
        Some(group)
    }

    /// Calibrates within the group.
    fn calibrate(&self, bench: &Bench, arguments: &str) -> std::process::Output {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {} calibrate --model mlp --format json {arguments}",
            self.folder.display(),
            env!("CARGO_BIN_EXE_advisor"),
        );
        let mut command: Command = bench.command("sh", &["-c", &script]);
        command.output().expect("it runs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[test]
fn a_child_that_the_system_kills_for_memory_costs_only_its_own_rows() {
    let test = "a_child_that_the_system_kills_for_memory_costs_only_its_own_rows";
    // Three small layouts fit; batches of thousands do not, and our own guard is
    // told not to care.
    let group = Group::with_memory(80 << 20);
    if !may(
        "making a control group with a memory limit",
        group.is_some(),
        test,
    ) {
        return;
    }
    let bench = Bench::new();
    let arguments = "--time 3s --max-batch 4096 --memory-limit 100GiB";
    let output = group.unwrap().calibrate(&bench, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let calibration = &json[0];
    let caveats = calibration["caveats"].to_string();
    assert!(
        caveats.contains("SIGKILL; when memory runs out the system does this"),
        "{caveats}"
    );
    assert!(!calibration["rows"].as_array().unwrap().is_empty());
    for row in calibration["rows"].as_array().unwrap() {
        assert!(!row["rounds"].as_array().unwrap().is_empty(), "{row}");
    }
}

#[test]
fn inside_a_quota_of_one_processor_everything_follows_the_quota() {
    let test = "inside_a_quota_of_one_processor_everything_follows_the_quota";
    let quota = Group::with_quota(100);
    if !may("making a control group with a quota", quota.is_some(), test) {
        return;
    }
    let bench = Bench::new();
    let output = quota.unwrap().calibrate(&bench, "--time 3s");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let calibration = &json[0];
    assert_eq!(calibration["fingerprint"]["usable_threads"], 1);
    assert_eq!(calibration["fingerprint"]["cpu_quota_millicores"], 1000);
    for start in calibration["starts"].as_array().unwrap() {
        assert_eq!(start["layout"]["intra_op_threads"], 1, "{start}");
        assert_eq!(start["layout"]["instances"], 1, "{start}");
        assert_eq!(start["layout"]["spinning"], false, "{start}");
    }
    let cores = calibration["machine"]["cpu"]["logical_cores"]
        .as_u64()
        .unwrap();
    let caveats = calibration["caveats"].to_string();
    assert_eq!(
        cores > 1,
        caveats.contains("CPU quota of 1.00 cores"),
        "{caveats}"
    );
}
