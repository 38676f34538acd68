//! The files a probe reads: those of this machine, or of a recorded one.

use std::io;
use std::path::{Path, PathBuf};

/// A file tree under some root; `/` on a real machine.
///
/// Everything that is read from `/proc` and `/sys` goes through it, so that the
/// same code runs on trees recorded elsewhere.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::at("/")
    }

    /// A tree whose `/` is `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, without blanks at its ends. Bytes that are not UTF-8
    /// are replaced: a file of `/sys` may hold any.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let bytes = std::fs::read(self.path(path))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The text of a file that need not be there.
    ///
    /// # Errors
    /// Names the file and says why it could not be read, unless it is absent.
    pub fn read_if_present(&self, path: &str) -> Result<Option<String>, String> {
        match self.read(path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(format!("cannot read `{path}`: {e}")),
        }
    }

    /// The names in a folder, sorted; none where there is no such folder.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Whether something is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Where the tree starts.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// A file of a control group or a device may vanish, or be there and not apply.
fn is_absent(error: &io::Error) -> bool {
    // ENODEV and EOPNOTSUPP: the file exists, the thing it tells of does not.
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || matches!(error.raw_os_error(), Some(19 | 95))
}
