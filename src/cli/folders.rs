//! Where the program keeps things.

use super::args::Global;
use crate::error::{Error, Result};
use etcetera::BaseStrategy;
use std::path::{Path, PathBuf};

/// The folders of this run.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Calibrations, reference models, the runtime.
    pub data: PathBuf,
    /// The user's own price tables and hardware profiles.
    pub config: Option<PathBuf>,
}

impl Folders {
    /// `--data-dir`, else the platform's convention (XDG on Linux).
    ///
    /// # Errors
    /// There is no home folder and no `--data-dir`.
    pub fn resolve(global: &Global) -> Result<Self> {
        let base = etcetera::choose_base_strategy().ok();
        let config = base.as_ref().map(|base| base.config_dir().join("advisor"));
        let data = match (&global.data_dir, &base) {
            (Some(folder), _) => std::path::absolute(folder)
                .map_err(|error| Error::bad_input(format!("--data-dir: {error}")))?,
            (None, Some(base)) => base.data_dir().join("advisor"),
            (None, None) => {
                return Err(Error::bad_input("there is no home folder to keep data in")
                    .hint("give a folder with `--data-dir DIR`"));
            }
        };
        Ok(Self { data, config })
    }

    /// Makes sure that the data folder is there and can be written to, before
    /// minutes are spent on something that could not be saved.
    ///
    /// # Errors
    /// It cannot be made or written to.
    pub fn check_writable(&self) -> Result<()> {
        let cannot = |error: std::io::Error| {
            Error::machine(format!(
                "cannot write to the data folder `{}`: {error}",
                self.data.display()
            ))
            .hint("give another folder with `--data-dir DIR` or the variable ADVISOR_DATA_DIR")
        };
        std::fs::create_dir_all(&self.data).map_err(cannot)?;
        tempfile::tempfile_in(&self.data).map(drop).map_err(cannot)
    }

    /// Where reference models are written.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }
}

/// This very program, to be started as a measuring child.
///
/// # Errors
/// The system does not tell.
pub fn program() -> Result<PathBuf> {
    std::env::current_exe()
        .map_err(|error| Error::machine(format!("cannot find the path of this program: {error}")))
}

/// A path as people would type it: relative to the home folder where it is in there.
#[must_use]
pub fn shown(path: &Path) -> String {
    if let Ok(home) = etcetera::home_dir()
        && let Ok(rest) = path.strip_prefix(&home)
        && !rest.as_os_str().is_empty()
    {
        return format!("~/{}", rest.display());
    }
    path.display().to_string()
}
