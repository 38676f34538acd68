//! A container with a quota of one processor, made by hand.

use crate::advisor::{Bench, may};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A control group with a CPU quota; removed at the end.
struct Quota {
    folder: PathBuf,
}

impl Quota {
    /// `percent` of one processor, under version 1 or 2.
    fn new(percent: u32) -> Option<Self> {
        let name = format!("advisor-test-{}", std::process::id());
        let quota = percent * 1000;
        let (folder, file, text) = if Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() {
            let folder = Path::new("/sys/fs/cgroup/cpu").join(name);
            (folder, "cpu.cfs_quota_us", quota.to_string())
        } else {
            let folder = Path::new("/sys/fs/cgroup").join(name);
            (folder, "cpu.max", format!("{quota} 100000"))
        };
        std::fs::create_dir(&folder).ok()?;
        let group = Self { folder };
        std::fs::write(group.folder.join(file), text).ok()?;
        Some(group)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

#[test]
fn inside_a_quota_of_one_processor_everything_follows_the_quota() {
    let test = "inside_a_quota_of_one_processor_everything_follows_the_quota";
    let quota = Quota::new(100);
    if !may("making a control group with a quota", quota.is_some(), test) {
        return;
    }
    let quota = quota.unwrap();
    let bench = Bench::new();
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} calibrate --model mlp --time 3s --format json",
        quota.folder.display(),
        env!("CARGO_BIN_EXE_advisor"),
    );
    let output: std::process::Output = {
        let mut command: Command = bench.command("sh", &["-c", &script]);
        command.output().expect("it runs")
    };
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
