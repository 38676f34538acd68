//! The calibrating process's hold on one measuring child: a crash, a hang or an
//! out-of-memory kill in there costs one answer, not the calibration.

use super::protocol::{Answer, Request, WORKER_COMMAND};
use crate::{
    error::{Error, Result},
    units::Time,
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

/// How a child is started: the program itself, and folders that its loader needs.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// This very program.
    pub program: PathBuf,
    /// Folders put in front of the child's library path (CUDA, cuDNN).
    pub library_folders: Vec<PathBuf>,
}

/// A running child. Dropping it ends the process.
#[derive(Debug)]
pub struct MeasuringChild {
    process: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<std::io::Result<String>>,
    complaints: Option<std::thread::JoinHandle<String>>,
}

impl MeasuringChild {
    /// Starts a child.
    ///
    /// # Errors
    /// A machine error when the process cannot be started.
    pub fn start(launcher: &Launcher) -> Result<Self> {
        let cannot = |error: &dyn std::fmt::Display| {
            Error::machine(format!(
                "cannot start a measuring process from `{}`: {error}",
                launcher.program.display()
            ))
        };
        let mut command = Command::new(&launcher.program);
        command
            .args(WORKER_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = library_path(&launcher.library_folders) {
            command.env("LD_LIBRARY_PATH", path);
        }
        let mut process = command.spawn().map_err(|error| cannot(&error))?;
        let requests = process.stdin.take();
        let stdout = process.stdout.take().ok_or_else(|| cannot(&"no pipe"))?;
        let mut stderr = process.stderr.take().ok_or_else(|| cannot(&"no pipe"))?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // A library may write anything; a megabyte of it says enough.
            let _ = (&mut stderr).take(1 << 20).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self {
            process,
            requests,
            answers,
            complaints: Some(complaints),
        })
    }

    /// Sends a request and waits for its answer, at most `limit`.
    ///
    /// # Errors
    /// The child died (says of what), did not answer in time (it is then
    /// killed), or reported a failure.
    pub fn ask(&mut self, request: &Request, limit: Time) -> Result<Answer> {
        let mut line = serde_json::to_string(request)
            .map_err(|error| Error::machine(format!("cannot write a request: {error}")))?;
        line.push('\n');
        let sent = self
            .requests
            .as_mut()
            .is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok() && pipe.flush().is_ok());
        if !sent {
            return Err(self.post_mortem());
        }
        match self.answers.recv_timeout(limit.to_std()) {
            Ok(Ok(line)) => match serde_json::from_str(&line) {
                Ok(Answer::Failed { message }) => Err(Error::machine(message)),
                Ok(answer) => Ok(answer),
                Err(_) => Err(Error::machine(format!(
                    "the measuring process answered nonsense: {}",
                    line.chars().take(200).collect::<String>()
                ))),
            },
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(self.post_mortem()),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.process.kill();
                let _ = self.process.wait();
                Err(Error::machine(format!(
                    "no answer within {limit}, so it was stopped"
                )))
            }
        }
    }

    /// What the child died of.
    fn post_mortem(&mut self) -> Error {
        self.requests = None;
        let status = self.wait_briefly();
        let complaints = self
            .complaints
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        let last = complaints
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .map(|line| format!(": {}", line.trim()))
            .unwrap_or_default();
        let how = status.map_or_else(|| "stopped answering".to_owned(), describe);
        Error::machine(format!("the measuring process {how}{last}"))
    }

    fn wait_briefly(&mut self) -> Option<ExitStatus> {
        for _ in 0..100 {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        self.process.wait().ok()
    }
}

impl Drop for MeasuringChild {
    fn drop(&mut self) {
        // End of input asks the child to leave; a session can take long to free,
        // and there is nothing in it to lose.
        self.requests = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            let meaning = match signal {
                libc::SIGKILL => "killed (SIGKILL; when memory runs out the system does this)",
                libc::SIGSEGV => "crashed (SIGSEGV)",
                libc::SIGBUS => "crashed (SIGBUS: a damaged library or model file)",
                libc::SIGABRT => "aborted (SIGABRT)",
                libc::SIGILL => "met an instruction that this processor lacks (SIGILL)",
                libc::SIGFPE => "crashed (SIGFPE)",
                libc::SIGTERM | libc::SIGINT => "was interrupted",
                _ => return format!("was ended by signal {signal}"),
            };
            return meaning.to_owned();
        }
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

/// The library path of the child: ours in front of what is set.
fn library_path(folders: &[PathBuf]) -> Option<std::ffi::OsString> {
    if folders.is_empty() {
        return None;
    }
    let set = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let all = folders
        .iter()
        .map(PathBuf::as_path)
        .map(Path::to_path_buf)
        .chain(std::env::split_paths(&set).filter(|path| !path.as_os_str().is_empty()));
    std::env::join_paths(all).ok()
}
