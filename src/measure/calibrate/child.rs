//! The calibrating process's hold on one measuring child: a crash, a hang or an
//! out-of-memory kill in there costs one answer, not the calibration.

use super::{
    guard::{LOOK_EVERY, Limits, resident_set},
    protocol::{Answer, Request, WORKER_COMMAND},
};
use crate::{
    error::{Error, Result},
    measure::runtime::GIVE_FREED_BACK,
    units::{Bytes, Time},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
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
            .env(GIVE_FREED_BACK.0, GIVE_FREED_BACK.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = library_path(&launcher.library_folders) {
            command.env("LD_LIBRARY_PATH", path);
        }
        // Ctrl-C in a terminal goes to a whole group; the child must outlive it
        // until what it is measuring has been taken in.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
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

    /// Sends a request and waits for its answer within `limits`.
    ///
    /// # Errors
    /// The child died (says of what), did not answer in time or took too much
    /// memory (it is then killed), or reported a failure.
    pub fn ask(&mut self, request: &Request, limits: Limits) -> Result<Answer> {
        self.ask_unless(request, limits, &AtomicBool::new(false))
    }

    /// The same; when `stop` is set meanwhile the child is asked to end with
    /// what there is, and its answer is still waited for.
    ///
    /// # Errors
    /// As [`MeasuringChild::ask`].
    pub fn ask_unless(
        &mut self,
        request: &Request,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Result<Answer> {
        if !self.send(request)? {
            return Err(self.post_mortem());
        }
        match self.wait_for_answer(limits, stop)? {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Answer::Failed { message }) => Err(Error::machine(message)),
                Ok(answer) => Ok(answer),
                Err(_) => Err(Error::machine(format!(
                    "the measuring process answered nonsense: {}",
                    line.chars().take(200).collect::<String>()
                ))),
            },
            Err(_) => Err(self.post_mortem()),
        }
    }

    /// Whether the request could be handed over.
    fn send(&mut self, request: &Request) -> Result<bool> {
        let mut line = serde_json::to_string(request)
            .map_err(|error| Error::machine(format!("cannot write a request: {error}")))?;
        line.push('\n');
        Ok(self
            .requests
            .as_mut()
            .is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok() && pipe.flush().is_ok()))
    }

    /// Waits in short stretches, between which the child's memory is looked at.
    fn wait_for_answer(
        &mut self,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Result<std::io::Result<String>> {
        let begin = Instant::now();
        let mut stopping = false;
        loop {
            match self
                .answers
                .recv_timeout(Duration::from_secs_f64(LOOK_EVERY))
            {
                Ok(answer) => {
                    self.check_memory(limits)?;
                    return Ok(answer);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.post_mortem()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.check_memory(limits)?;
            if stop.load(Ordering::Relaxed) && !stopping {
                stopping = true;
                self.send(&Request::Stop)?;
            }
            if Time::from(begin.elapsed()) > limits.time {
                self.kill();
                return Err(Error::machine(format!(
                    "no answer within {}, so it was stopped",
                    limits.time
                )));
            }
        }
    }

    /// Stops a child that has taken more than it may.
    fn check_memory(&mut self, limits: Limits) -> Result<()> {
        let Some((taken, most)) = self.memory().zip(limits.memory) else {
            return Ok(());
        };
        if taken <= most {
            return Ok(());
        }
        self.kill();
        Err(Error::machine(format!(
            "it took {taken} of memory, more than the {most} that were left for it, so it was stopped"
        )))
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// What it takes of memory now.
    pub fn memory(&self) -> Option<Bytes> {
        resident_set(self.process.id())
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
        self.kill();
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            let meaning = match signal {
                libc::SIGKILL => "was killed (SIGKILL; when memory runs out the system does this)",
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
