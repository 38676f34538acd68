//! Finding out what a library file really is, without letting it bring the
//! program down: an unknown library is opened in a child process, because one
//! that was cut short kills whoever loads it (SIGBUS inside the loader).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    ffi::CStr,
    path::Path,
    process::{Command, Stdio},
};

/// What an ONNX Runtime library says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Its version, `1.31.1`.
    pub version: String,
    /// The execution providers compiled into it, as ONNX Runtime names them.
    /// Compiled in does not mean that a device is there.
    pub providers: Vec<String>,
}

/// The arguments that make this program inspect a library and print the result as JSON.
pub const INSPECT_COMMAND: [&str; 2] = ["worker", "inspect"];

/// Inspects a library in a child process; `program` is this very program.
///
/// # Errors
/// Says what is wrong with the file: missing, not a library, cut short, not
/// ONNX Runtime, too old.
pub fn inspect(program: &Path, library: &Path) -> Result<Inspection> {
    let named = || format!("`{}`", library.display());
    if !library.is_file() {
        return Err(Error::machine(format!("{} is not a file", named())));
    }
    let output = Command::new(program)
        .args(INSPECT_COMMAND)
        .arg(library)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Error::machine(format!("cannot start `{}`: {error}", program.display()))
        })?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::machine(format!("{}: unreadable answer: {error}", named())));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ");
    if output.status.code().is_none() {
        return Err(Error::machine(format!(
            "{} kills the process that loads it ({}): the file is cut short or damaged",
            named(),
            output.status
        )));
    }
    let first = said.lines().next().unwrap_or("it cannot be loaded");
    Err(Error::machine(format!("{}: {first}", named())))
}

/// Loads the library into this process and asks it: the child's side of [`inspect()`].
///
/// # Errors
/// Says why the library cannot be used.
pub fn inspect_here(library: &Path) -> Result<Inspection> {
    let version = version_of(library)?;
    if !at_least(&version, super::release::OLDEST) {
        return Err(Error::machine(format!(
            "version {version} is too old: {} or later is needed",
            super::release::OLDEST
        )));
    }
    super::session::environment(library)?;
    Ok(Inspection {
        version,
        providers: super::session::available_providers(),
    })
}

/// Whether `version` is `oldest` or later, by its first two numbers.
fn at_least(version: &str, oldest: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.split('.')
            .take(2)
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    numbers(version) >= numbers(oldest)
}

/// Asks the library's entry point for its version.
///
/// `ort` checks the version but does not tell it, so the two calls that every
/// ONNX Runtime since 1.0 answers are made here.
#[expect(
    unsafe_code,
    reason = "the version is behind the library's C entry point, which `ort` does not expose"
)]
fn version_of(library: &Path) -> Result<String> {
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: loading runs the library's initialisers; this is why it is done in
    // a child process. The entry point's signature is fixed by ONNX Runtime's C
    // API; the pointers it returns live as long as the library, which is leaked.
    unsafe {
        let library = libloading::Library::new(library).map_err(|error| {
            Error::machine(format!("not a library that can be loaded: {error}"))
        })?;
        let base = {
            let entry = library.get::<GetApiBase>(b"OrtGetApiBase\0").map_err(|_| {
                Error::machine("a library, but not ONNX Runtime: it has no `OrtGetApiBase`")
            })?;
            entry()
        };
        if base.is_null() {
            return Err(Error::machine(
                "not a working ONNX Runtime: it offers no API",
            ));
        }
        let text = CStr::from_ptr(((*base).GetVersionString)())
            .to_string_lossy()
            .into_owned();
        std::mem::forget(library);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("1.31.1", "1.20"));
        assert!(at_least("1.20.0", "1.20"));
        assert!(!at_least("1.9.0", "1.20"));
        assert!(at_least("2.0", "1.20"));
        assert!(!at_least("garbage", "1.20"));
    }

    #[test]
    fn a_text_file_is_not_a_library() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        let error = version_of(file.path()).unwrap_err();
        assert!(error.message().contains("not a library"), "{error}");
    }
}
