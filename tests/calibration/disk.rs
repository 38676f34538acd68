//! A disk that is full in the middle of a calibration.

use crate::advisor::{Bench, may};
use std::{path::PathBuf, process::Command};

/// A file system of so few bytes that a calibration does not fit.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(kibibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={kibibytes}k"))
            .arg("tmpfs")
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

#[test]
fn a_full_disk_costs_the_file_but_not_the_result() {
    let test = "a_full_disk_costs_the_file_but_not_the_result";
    let disk = SmallDisk::mount(24);
    if !may("mounting a small file system", disk.is_some(), test) {
        return;
    }
    let disk = disk.unwrap();
    // The model lies elsewhere: only what is measured goes to the small disk.
    let elsewhere = Bench::new();
    let models = elsewhere.folder.join("models");
    let written = elsewhere
        .advisor(&["models", "--write", models.to_str().unwrap(), "mlp"])
        .finish();
    assert_eq!(written.code, 0, "{}", written.stderr);
    let model: PathBuf = std::fs::read_dir(&models)
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "onnx"))
        .expect("a model");
    let bench = Bench::on(disk.folder.path());
    let arguments = [
        "--model",
        model.to_str().unwrap(),
        "--time",
        "4s",
        "--format",
        "json",
    ];
    let output = bench.run(&arguments);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(
        output.stderr.contains("cannot write to the journal"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("cannot save the calibration"),
        "{}",
        output.stderr
    );
    assert!(!output.json()[0]["rows"].as_array().unwrap().is_empty());

    // What was written before the disk was full is not lost to the next run.
    let remounted = Command::new("mount")
        .args(["-o", "remount,size=4m"])
        .arg(disk.folder.path())
        .status()
        .is_ok_and(|status| status.success());
    assert!(remounted);
    let again = bench.run(&["--model", model.to_str().unwrap(), "--time", "1s"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("going on from"), "{}", again.stderr);
}
