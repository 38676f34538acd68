//! ONNX Runtime: find it, fetch it, load it, run sessions. The only user of `ort`.

pub mod cores;
mod fetch;
mod inspect;
mod locate;
mod peak;
pub mod release;
pub mod session;

pub use fetch::{OTHER_WAYS, fetch};
pub use inspect::{INSPECT_COMMAND, Inspection, inspect, inspect_here};
pub use locate::{Candidate, Origin, Surroundings, fetched_folder, nvidia_package_folders};
pub use peak::{PEAK_COMMAND, PeakMemory, PeakRequest, measure_peak, serve_peak};

use crate::error::{Error, Result};
use release::Build;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What to set in the environment of a process that loads models, so that the C
/// library gives blocks above 128 KiB back to the system when they are freed.
///
/// By default glibc raises the threshold to whatever was freed last, up to 32 MiB
/// (`mallopt(3)`, `M_MMAP_THRESHOLD`), and what loading a model frees stays or
/// goes by chance: `bert-base` took 573 to 704 MiB after loading, and 454 MiB with
/// the threshold fixed. Inferences are as fast: their tensors come from the
/// runtime's arena, not from the C library. Other C libraries ignore it.
pub const GIVE_FREED_BACK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// A library that was found, opened and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// How it was come by.
    pub origin: Origin,
    /// What it says of itself.
    #[serde(flatten)]
    pub inspection: Inspection,
}

impl Library {
    /// Whether the CUDA execution provider is compiled in.
    #[must_use]
    pub fn has_cuda(&self) -> bool {
        self.inspection
            .providers
            .iter()
            .any(|name| name == "CUDAExecutionProvider")
    }
}

/// The outcome of looking for a library without fetching one.
#[derive(Debug)]
pub struct Search {
    /// The library to use, where one was found.
    pub found: Option<Library>,
    /// What was tried before it (or in vain), a line each.
    pub tried: Vec<String>,
}

/// Looks for a library on this machine; `program` is this very program, which
/// opens candidates in a child process.
///
/// # Errors
/// `ORT_DYLIB_PATH` is set and names something unusable: the user meant that
/// file, so no other is taken in its place.
pub fn find(program: &Path, surroundings: &Surroundings, build: Build) -> Result<Search> {
    if let Some(path) = &surroundings.dylib_path {
        let path = std::path::absolute(path)
            .map_err(|error| Error::bad_input(format!("ORT_DYLIB_PATH: {error}")))?;
        let inspection = inspect(program, &path).map_err(|error| {
            error
                .context("ORT_DYLIB_PATH names no usable ONNX Runtime")
                .hint("unset it to let advisor look for one itself, or give the full path of a libonnxruntime of version 1.20 or later")
        })?;
        return Ok(Search {
            found: Some(Library {
                path,
                origin: Origin::Environment,
                inspection,
            }),
            tried: Vec::new(),
        });
    }
    let mut tried = Vec::new();
    for candidate in surroundings.candidates(build) {
        match inspect(program, &candidate.path) {
            Ok(inspection) => {
                let library = Library {
                    path: candidate.path,
                    origin: candidate.origin,
                    inspection,
                };
                if build == Build::Cuda && !library.has_cuda() {
                    tried.push(format!("`{}` has no CUDA provider", library.path.display()));
                    continue;
                }
                return Ok(Search {
                    found: Some(library),
                    tried,
                });
            }
            Err(error) => tried.push(error.message().to_owned()),
        }
    }
    tried.extend(surroundings.describe());
    Ok(Search { found: None, tried })
}
