//! Running the built program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The program with folders of its own, so that nothing of the user's is seen.
pub struct Advisor {
    command: Command,
    home: tempfile::TempDir,
}

/// What a run came to.
pub struct Run {
    shown: String,
    pub output: Output,
}

/// `advisor` with these arguments, empty folders and no terminal.
pub fn advisor(args: &[&str]) -> Advisor {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_advisor"));
    command.args(args);
    for name in [
        "ORT_DYLIB_PATH",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "CUDA_VISIBLE_DEVICES",
    ] {
        command.env_remove(name);
    }
    command
        .env("HOME", home.path())
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("XDG_CACHE_HOME", home.path().join("cache"))
        .env_remove("ADVISOR_DATA_DIR");
    Advisor { command, home }
}

impl Advisor {
    /// The configuration folder that the program will look into.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("config/advisor")
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the program, whatever its exit code.
    pub fn any_exit(mut self) -> Run {
        let output = self.command.output().expect("the program starts");
        Run {
            shown: format!("{:?}", self.command),
            output,
        }
    }

    /// Runs the program and expects this exit code.
    pub fn exits(self, code: i32) -> Run {
        let run = self.any_exit();
        assert_eq!(run.output.status.code(), Some(code), "{}", run.report());
        run
    }
}

impl Run {
    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).expect("UTF-8")
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.report()))
    }

    /// Expects all of these in stderr.
    pub fn complains(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(
                self.stderr().contains(part),
                "no `{part}` in stderr\n{}",
                self.report()
            );
        }
        assert!(
            self.stdout().is_empty(),
            "a failure prints no result\n{}",
            self.report()
        );
        self
    }

    pub fn report(&self) -> String {
        format!(
            "command: {}\nstatus: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.output.status,
            String::from_utf8_lossy(&self.output.stdout),
            String::from_utf8_lossy(&self.output.stderr)
        )
    }
}

/// A calibration that was made on a real machine and ships with the program.
pub fn calibration(model: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!(
            "profiles/measured/amd-epyc-turin-2-threads-{model}.json"
        ))
        .to_string_lossy()
        .into_owned()
}
