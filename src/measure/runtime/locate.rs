//! Where an ONNX Runtime library may already be, in the order in which it is
//! looked for.

use super::release::{Build, VERSION};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Which of the ways led to a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The environment variable `ORT_DYLIB_PATH`.
    Environment,
    /// Fetched earlier by `advisor`.
    Fetched,
    /// Inside an installed Python package `onnxruntime`.
    PythonPackage,
    /// On the system's library path.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "set by ORT_DYLIB_PATH",
            Self::Fetched => "fetched by advisor",
            Self::PythonPackage => "installed Python package",
            Self::System => "system library path",
        })
    }
}

/// A library file that may be an ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file, as a full path.
    pub path: PathBuf,
    /// How it was come by.
    pub origin: Origin,
}

/// What the search looks at besides the file system, so that it can be tested.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `ORT_DYLIB_PATH`, if set and not empty.
    pub dylib_path: Option<PathBuf>,
    /// The folder under which `advisor` keeps fetched runtimes.
    pub fetched: PathBuf,
    /// Folders of the system's library path.
    pub library_path: Vec<PathBuf>,
    /// Python interpreters to ask for their packages.
    pub pythons: Vec<String>,
}

impl Surroundings {
    /// Those of this process; `data_dir` is the program's data folder.
    #[must_use]
    pub fn current(data_dir: &Path) -> Self {
        let mut library_path: Vec<PathBuf> = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"]
            .iter()
            .filter_map(std::env::var_os)
            .flat_map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>())
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        let arch = std::env::consts::ARCH;
        library_path.extend(
            [
                "/usr/local/lib".to_owned(),
                format!("/usr/lib/{arch}-linux-gnu"),
                "/usr/lib64".to_owned(),
                "/usr/lib".to_owned(),
                "/opt/homebrew/lib".to_owned(),
            ]
            .map(PathBuf::from),
        );
        Self {
            dylib_path: std::env::var_os("ORT_DYLIB_PATH")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            fetched: fetched_folder(data_dir),
            library_path,
            pythons: vec!["python3".to_owned(), "python".to_owned()],
        }
    }

    /// All libraries found by the ways after `ORT_DYLIB_PATH`, best first.
    ///
    /// Asking Python costs a process, so it is done only when `fetched` holds
    /// nothing; hence an iterator.
    pub fn candidates(&self, build: Build) -> impl Iterator<Item = Candidate> + '_ {
        let fetched = libraries_in(&self.fetched.join(format!("{VERSION}-{}", build.name())));
        // A CUDA build runs on the CPU too.
        let others = match build {
            Build::Cpu => libraries_in(&self.fetched.join(format!("{VERSION}-cuda"))),
            Build::Cuda => Vec::new(),
        };
        let fetched = fetched.into_iter().chain(others).map(|path| Candidate {
            path,
            origin: Origin::Fetched,
        });
        let python = self
            .pythons
            .iter()
            .filter_map(|python| python_package(python, "onnxruntime"))
            .flat_map(|folder| libraries_in(&folder.join("capi")))
            .map(|path| Candidate {
                path,
                origin: Origin::PythonPackage,
            });
        let system = self
            .library_path
            .iter()
            .flat_map(|folder| libraries_in(folder))
            .map(|path| Candidate {
                path,
                origin: Origin::System,
            });
        fetched.chain(python).chain(system)
    }

    /// What was looked at, for the message when nothing was found.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        vec![
            "ORT_DYLIB_PATH is not set".to_owned(),
            format!("nothing fetched yet under `{}`", self.fetched.display()),
            format!(
                "no Python package `onnxruntime` that {} can import",
                self.pythons.join(" or ")
            ),
            format!(
                "no library of that name in {}",
                self.library_path
                    .iter()
                    .map(|path| format!("`{}`", path.display()))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        ]
    }
}

/// Where fetched runtimes are kept under the data folder.
#[must_use]
pub fn fetched_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("onnxruntime")
}

/// ONNX Runtime libraries in a folder, the newest version first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = version_in_name(&name)?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The version in a library's file name; empty when the name carries none, and
/// nothing when it is not the runtime itself.
fn version_in_name(name: &str) -> Option<Vec<u32>> {
    let rest = name
        .strip_prefix("libonnxruntime")
        .or_else(|| name.strip_prefix("onnxruntime"))?;
    let version = rest
        .strip_prefix(".so")
        .or_else(|| rest.strip_suffix(".dylib"))
        .or_else(|| (rest == ".dll").then_some(""))?;
    let digits = version.trim_start_matches('.');
    if digits.is_empty() {
        return Some(Vec::new());
    }
    digits.split('.').map(|part| part.parse().ok()).collect()
}

/// The folder of a Python package, without importing it.
pub(super) fn python_package(python: &str, package: &str) -> Option<PathBuf> {
    let code = format!(
        "import importlib.util as u; s = u.find_spec('{package}'); \
         print(list(s.submodule_search_locations)[0] if s and s.submodule_search_locations else '')"
    );
    let output = Command::new(python)
        .args(["-c", &code])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let path = text.trim();
    (output.status.success() && !path.is_empty()).then(|| PathBuf::from(path))
}

/// Library folders of NVIDIA's Python packages (`nvidia-cudnn-cu13`, …): the
/// CUDA build needs them on its library path.
#[must_use]
pub fn nvidia_package_folders(pythons: &[String]) -> Vec<PathBuf> {
    let Some(root) = pythons
        .iter()
        .find_map(|python| python_package(python, "nvidia"))
    else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("lib"))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runtime_itself_counts_and_the_newest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime.so",
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime_providers_shared.so",
            "libonnx.so",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = libraries_in(folder.path())
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "libonnxruntime.so.1.31.1",
                "libonnxruntime.so.1.9.0",
                "libonnxruntime.so"
            ]
        );
        assert_eq!(
            version_in_name("libonnxruntime.1.31.1.dylib"),
            Some(vec![1, 31, 1])
        );
        assert_eq!(version_in_name("onnxruntime.dll"), Some(vec![]));
        assert_eq!(version_in_name("onnxruntime_providers_shared.dll"), None);
        assert_eq!(version_in_name("libonnxruntime.so.old"), None);
    }

    #[test]
    fn what_was_fetched_comes_before_the_system() {
        let data = tempfile::tempdir().unwrap();
        let system = tempfile::tempdir().unwrap();
        let fetched = fetched_folder(data.path());
        let ours = fetched.join(format!("{VERSION}-cpu"));
        std::fs::create_dir_all(&ours).unwrap();
        std::fs::write(ours.join("libonnxruntime.so.1.31.1"), "").unwrap();
        std::fs::write(system.path().join("libonnxruntime.so.1.22.0"), "").unwrap();
        let surroundings = Surroundings {
            fetched,
            library_path: vec![system.path().to_owned()],
            ..Surroundings::default()
        };
        let origins: Vec<_> = surroundings
            .candidates(Build::Cpu)
            .map(|candidate| candidate.origin)
            .collect();
        assert_eq!(origins, [Origin::Fetched, Origin::System]);
    }
}
