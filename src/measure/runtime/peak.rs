//! Memory of one model in a process of its own: a fresh child loads it into one
//! session, runs one batch twice and tells its resident sets.
//!
//! Fresh, because the highest resident set of a process is never forgotten: a
//! process that has run a larger batch before tells the larger batch's memory.

use super::{
    GIVE_FREED_BACK,
    session::{Session, SessionOptions, environment},
};
use crate::{
    error::{Error, Result},
    model::InputSpec,
    profile::calibration::Device,
    units::Bytes,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The arguments that make this program measure its own memory.
pub const PEAK_COMMAND: [&str; 2] = ["worker", "peak-memory"];

/// Seed of the inputs: their values do not change the memory.
const SEED: u64 = 1;

/// What to load and run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeakRequest {
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// The model file.
    pub model: PathBuf,
    /// Threads inside the session.
    pub intra_op_threads: u32,
    /// The inputs of the batch.
    pub inputs: Vec<InputSpec>,
}

/// Resident sets of a process that does nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakMemory {
    /// With the library and an environment, before the model.
    #[serde(rename = "process_bytes")]
    pub process: Bytes,
    /// With the session loaded, before any run.
    #[serde(rename = "loaded_bytes")]
    pub loaded: Bytes,
    /// The highest while loading.
    #[serde(rename = "load_peak_bytes")]
    pub load_peak: Bytes,
    /// After two runs.
    #[serde(rename = "after_bytes")]
    pub after: Bytes,
    /// The highest of the process's life.
    #[serde(rename = "peak_bytes")]
    pub peak: Bytes,
}

/// Starts `program` as a measuring child and waits for what it measured.
///
/// # Errors
/// The child cannot be started, dies (a killed one needed more memory than there
/// is), or ONNX Runtime refuses the model.
pub fn measure_peak(program: &Path, request: &PeakRequest) -> Result<PeakMemory> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::machine(format!("cannot measure in a process of its own: {error}"))
    };
    let text = serde_json::to_string(request).map_err(|error| broken(&error))?;
    let mut child = Command::new(program)
        .args(PEAK_COMMAND)
        .env(GIVE_FREED_BACK.0, GIVE_FREED_BACK.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| broken(&error))?;
    // A child that dies before it reads says why on its error output.
    let sent = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| broken(&error))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing");
        return Err(Error::machine(format!(
            "the measuring process ended with {}: {}",
            output.status,
            last.trim()
        )));
    }
    if let Some(Err(error)) = sent {
        return Err(broken(&error));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| broken(&error))
}

/// The child's side: reads a [`PeakRequest`], writes a [`PeakMemory`].
///
/// # Errors
/// Not a request, a model that the runtime refuses, or a system that does not
/// tell resident sets (only Linux does).
pub fn serve_peak(mut request: impl Read, mut answer: impl Write) -> Result<()> {
    let mut text = String::new();
    request
        .read_to_string(&mut text)
        .map_err(|error| Error::machine(format!("no request: {error}")))?;
    let request: PeakRequest = serde_json::from_str(&text)
        .map_err(|error| Error::machine(format!("not a request: {error}")))?;
    let measured = measure_here(&request)?;
    let line = serde_json::to_string(&measured)
        .map_err(|error| Error::machine(format!("cannot write the answer: {error}")))?;
    writeln!(answer, "{line}")
        .map_err(|error| Error::machine(format!("cannot write the answer: {error}")))
}

fn measure_here(request: &PeakRequest) -> Result<PeakMemory> {
    let environment = environment(&request.library)?;
    let process = resident_set("VmRSS:")?;
    let options = SessionOptions {
        device: &Device::Cpu,
        intra_op_threads: request.intra_op_threads,
        spinning: false,
        cores: &[],
        profile_prefix: None,
    };
    let mut session = Session::load(&environment, &request.model, &options)?;
    let loaded = resident_set("VmRSS:")?;
    let load_peak = resident_set("VmHWM:")?;
    let inputs = Session::prepare(&request.inputs, SEED)?;
    // The runtime plans the memory of a shape after its first run, so the second
    // may hold more than the first.
    session.run(&inputs)?;
    session.run(&inputs)?;
    Ok(PeakMemory {
        process,
        loaded,
        load_peak,
        after: resident_set("VmRSS:")?,
        peak: resident_set("VmHWM:")?,
    })
}

/// A line of this process's status.
fn resident_set(field: &str) -> Result<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| {
        Error::machine(format!("this system does not tell resident sets: {error}"))
            .hint("resident sets can be measured on Linux only")
    })?;
    kibibytes(&status, field)
        .ok_or_else(|| Error::machine(format!("/proc/self/status has no `{field}`")))
}

fn kibibytes(status: &str, field: &str) -> Option<Bytes> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes::new(kib.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_status_file_is_read() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(Bytes::from_mib(2)));
        assert_eq!(kibibytes(status, "VmRSS:"), Some(Bytes::from_mib(1)));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn a_program_that_answers_nothing_is_an_error() {
        let request = PeakRequest {
            library: PathBuf::from("none"),
            model: PathBuf::from("none"),
            intra_op_threads: 1,
            inputs: Vec::new(),
        };
        assert!(measure_peak(Path::new("/bin/false"), &request).is_err());
        assert!(measure_peak(Path::new("/bin/true"), &request).is_err());
        assert!(serve_peak("{}".as_bytes(), Vec::new()).is_err());
    }
}
