//! The fingerprint of a model file.

use super::read::{Model, plain};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// What identifies a model's contents: a SHA-256, as 64 hexadecimal digits.
///
/// For a file of its own it is the file's SHA-256, as `sha256sum` prints it. With
/// external data it is that of the digests of all files, the model's first, the
/// others in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelHash(String);

impl ModelHash {
    pub(super) fn from_digest(digest: &[u8]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in digest {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for a name or a table.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Model {
    /// Reads all files of the model and computes their fingerprint.
    ///
    /// # Errors
    /// A file cannot be read, or the model was never written to one.
    pub fn hash(&self) -> Result<ModelHash> {
        let Some(path) = self.path.as_deref() else {
            return Err(Error::bad_input(format!(
                "model `{}` is not in a file",
                self.name
            )));
        };
        let own = digest(path)?;
        let others = self.external_files();
        if others.is_empty() {
            return Ok(ModelHash::from_digest(&own));
        }
        let mut all = Sha256::new();
        all.update(&own);
        for other in &others {
            all.update(digest(other)?);
        }
        Ok(ModelHash::from_digest(&all.finalize()))
    }
}

/// The SHA-256 of one file.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path) -> Result<ModelHash> {
    Ok(ModelHash::from_digest(&digest(path)?))
}

fn digest(path: &Path) -> Result<Vec<u8>> {
    let fail = |e: &std::io::Error| {
        Error::machine(format!("cannot read `{}`: {}", path.display(), plain(e)))
    };
    let mut file = File::open(path).map_err(|e| fail(&e))?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(|e| fail(&e))?;
        if n == 0 {
            return Ok(sum.finalize().to_vec());
        }
        sum.update(buffer.get(..n).unwrap_or(&[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let hash = hash_file(&path).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hash.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash.short(), "ba7816bf");
    }
}
