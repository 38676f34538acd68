//! The program under test, with a data folder of its own and an ONNX Runtime
//! that is fetched once.

use advisor::profile::{calibration::Calibration, store};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_advisor");

/// The library: `ORT_DYLIB_PATH` where it is set, else fetched into the target
/// folder, where later runs find it.
pub fn library() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if let Ok(path) = std::env::var("ORT_DYLIB_PATH") {
            return path;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calibration-runtime");
        let ask = |fetch: &[&str]| {
            Command::new(PROGRAM)
                .args(["runtime", "--format", "json", "--data-dir"])
                .arg(&folder)
                .args(fetch)
                .output()
                .expect("advisor runs")
        };
        let found = |output: &std::process::Output| -> Option<String> {
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            Some(json["found"]["path"].as_str()?.to_owned())
        };
        found(&ask(&[])).unwrap_or_else(|| {
            let output = ask(&["--fetch"]);
            found(&output).unwrap_or_else(|| {
                panic!(
                    "no ONNX Runtime can be had: {}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })
        })
    })
}

/// A data folder for one test.
pub struct Bench {
    pub folder: PathBuf,
    _owned: Option<tempfile::TempDir>,
}

impl Bench {
    pub fn new() -> Self {
        let owned = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Self {
            folder: owned.path().to_owned(),
            _owned: Some(owned),
        }
    }

    /// A bench on a folder that is there already.
    pub fn on(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            _owned: None,
        }
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("ADVISOR_DATA_DIR", &self.folder)
            .env("ORT_DYLIB_PATH", library())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn advisor(&self, arguments: &[&str]) -> Run {
        Run(self.command(PROGRAM, arguments).spawn().expect("it starts"))
    }

    pub fn start(&self, arguments: &[&str]) -> Run {
        self.advisor(&[&["calibrate"], arguments].concat())
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.start(arguments).finish()
    }

    fn kept(&self, extension: &str) -> Option<PathBuf> {
        std::fs::read_dir(self.folder.join("calibrations"))
            .ok()?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == extension))
    }

    pub fn journal_lines(&self) -> Vec<String> {
        let text = self
            .kept("journal")
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn saved(&self) -> Option<Calibration> {
        store::load(&self.kept("json")?).ok()
    }

    pub fn wait_for_lines(&self, lines: usize) {
        let there = within(Duration::from_mins(1), || {
            self.journal_lines().len() >= lines
        });
        assert!(
            there,
            "the journal has {} lines",
            self.journal_lines().len()
        );
    }

    /// Spoils a line in the middle and cuts the last one short.
    pub fn damage_journal(&self) {
        let path = self.kept("journal").expect("a journal");
        let mut bytes = std::fs::read(&path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        let end = bytes.len() - 20;
        bytes.truncate(end);
        std::fs::write(&path, bytes).expect("writable");
    }
}

/// A run in progress.
pub struct Run(pub Child);

/// What a run printed, and its exit code.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

impl Run {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The measuring children, by the parent that `/proc` names.
    pub fn children(&self) -> Vec<u32> {
        let own = self.id().to_string();
        let mut found: Vec<u32> = std::fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .ok()
                    .and_then(|stat| {
                        let rest = stat.rsplit_once(')')?.1.to_owned();
                        Some(rest.split_whitespace().nth(1)? == own)
                    })
                    .unwrap_or(false)
            })
            .collect();
        found.sort_unstable();
        found
    }

    pub fn kill(mut self) {
        self.0.kill().expect("it can be killed");
        let _ = self.0.wait();
    }

    pub fn finish(self) -> Output {
        let output = self.0.wait_with_output().expect("it ends");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Rounds of each row.
pub fn rounds(calibration: &serde_json::Value) -> Vec<usize> {
    calibration["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["rounds"].as_array().expect("rounds").len())
        .collect()
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether `true` comes within the time.
pub fn within(time: Duration, mut check: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if check() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Whether this user may mount and make groups of processes. A test that needs
/// it and cannot have it says so; with `ADVISOR_TEST_AS_ROOT` set it fails.
pub fn may(what: &str, allowed: bool, test: &str) -> bool {
    if !allowed {
        assert!(
            std::env::var_os("ADVISOR_TEST_AS_ROOT").is_none(),
            "{test}: {what} is not possible here"
        );
        eprintln!("SKIPPED {test}: {what} is not possible here");
    }
    allowed
}
