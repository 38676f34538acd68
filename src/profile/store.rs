//! Saved calibrations: one JSON file each, named after what must be the same.

use super::calibration::{Calibration, Fingerprint, OLDEST_SCHEMA, SCHEMA};
use crate::error::{Error, Result};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// The folder of saved calibrations.
#[derive(Debug, Clone)]
pub struct CalibrationStore {
    folder: PathBuf,
}

/// What a store holds for a fingerprint.
#[derive(Debug)]
pub enum Lookup {
    /// A calibration whose fingerprint is the very one asked for.
    Found(Box<Calibration>, PathBuf),
    /// Nothing.
    Missing,
    /// A file that cannot be used, and why; it is left as it is.
    Unusable(String),
}

impl CalibrationStore {
    /// The store under the program's data folder; nothing is created yet.
    #[must_use]
    pub fn under(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("calibrations"),
        }
    }

    /// A store in a folder of its own.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Where a calibration with this fingerprint is or would be kept.
    #[must_use]
    pub fn path(&self, model_name: &str, fingerprint: &Fingerprint) -> PathBuf {
        let name: String = model_name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '-'
                }
            })
            .take(40)
            .collect();
        self.folder
            .join(format!("{name}-{}.json", fingerprint.short()))
    }

    /// Where what is being measured is written down as it comes, so that an
    /// interrupted calibration can be gone on with.
    #[must_use]
    pub fn journal(&self, model_name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.path(model_name, fingerprint).with_extension("journal")
    }

    /// Where the means of earlier calibrations are kept.
    #[must_use]
    pub fn history(&self, model_name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.path(model_name, fingerprint).with_extension("history")
    }

    /// Looks a calibration up.
    #[must_use]
    pub fn find(&self, model_name: &str, fingerprint: &Fingerprint) -> Lookup {
        let path = self.path(model_name, fingerprint);
        if !path.exists() {
            return Lookup::Missing;
        }
        match load(&path) {
            Ok(calibration) => match calibration.fingerprint.difference(fingerprint) {
                None => Lookup::Found(Box::new(calibration), path),
                Some(difference) => Lookup::Unusable(format!(
                    "`{}` is of another machine: {difference}",
                    path.display()
                )),
            },
            Err(error) => Lookup::Unusable(error.message().to_owned()),
        }
    }

    /// Saves a calibration, whole or not at all, and returns its path.
    ///
    /// # Errors
    /// The folder cannot be made or written to, or the disk is full.
    pub fn save(&self, calibration: &Calibration) -> Result<PathBuf> {
        let path = self.path(&calibration.model.name, &calibration.fingerprint);
        save(calibration, &path)?;
        Ok(path)
    }
}

/// Enough of a file to tell which version wrote it.
#[derive(serde::Deserialize)]
struct OnlySchema {
    schema: u32,
}

/// Reads a saved calibration.
///
/// # Errors
/// The file cannot be read, is not a calibration (with line and column), or is
/// of another schema.
pub fn load(path: &Path) -> Result<Calibration> {
    let named = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::bad_input(format!("cannot read the calibration `{named}`: {error}"))
    })?;
    parse(&named.to_string(), &text)
}

/// Reads the text of a saved calibration, called `named` in messages.
///
/// # Errors
/// It is not a calibration (with line and column), or is of another schema.
pub fn parse(named: &str, text: &str) -> Result<Calibration> {
    if let Ok(OnlySchema { schema }) = serde_json::from_str(text)
        && !(OLDEST_SCHEMA..=SCHEMA).contains(&schema)
    {
        return Err(Error::bad_input(format!(
            "`{named}` has schema {schema}, this version of advisor reads schemas {OLDEST_SCHEMA} to {SCHEMA}"
        ))
        .hint("measure again with `--recalibrate`"));
    }
    let calibration: Calibration = serde_json::from_str(text).map_err(|error| {
        Error::bad_input(format!("`{named}` is not a saved calibration: {error}"))
            .hint("`advisor calibrate` makes one and says where it is kept")
    })?;
    if calibration
        .rows
        .iter()
        .any(|row| row.batch_size == 0 || row.layout.instances == 0)
    {
        return Err(Error::bad_input(format!(
            "`{named}` holds a row of batch size or instances 0"
        )));
    }
    if let Some(row) = calibration
        .rows
        .iter()
        .find(|row| !row.hold_ups_are_possible())
    {
        return Err(Error::bad_input(format!(
            "`{named}` cannot be true: {}, batch {}, was held up {} times in {} inferences, for {} in all",
            row.layout,
            row.batch_size,
            row.hold_ups.count,
            row.inferences(),
            row.hold_ups.total()
        ))
        .hint("measure again with `--recalibrate`; a calibration is not to be edited"));
    }
    if let Some(row) = calibration
        .rows
        .iter()
        .find(|row| !row.interference.is_possible())
    {
        return Err(Error::bad_input(format!(
            "`{named}` cannot be true: {}, batch {}, has an interference that is no list of whole blocks of factors between 0 and 1000",
            row.layout, row.batch_size
        ))
        .hint("measure again with `--recalibrate`; a calibration is not to be edited"));
    }
    Ok(calibration)
}

/// Writes a calibration beside its final name and moves it there, so that a
/// crash or a full disk leaves either the old file or the new one.
///
/// # Errors
/// The folder cannot be made or written to, or the disk is full.
pub fn save(calibration: &Calibration, path: &Path) -> Result<()> {
    let cannot = |error: &dyn std::fmt::Display| {
        Error::machine(format!(
            "cannot save the calibration to `{}`: {error}",
            path.display()
        ))
        .hint("free some room or give another folder with `--data-dir DIR`")
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-");
    // A temporary file is for its owner alone; a calibration may be shared.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(|error| cannot(&error))?;
    let text = serde_json::to_string(calibration).map_err(|error| cannot(&error))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| cannot(&error))?;
    file.persist(path).map_err(|error| cannot(&error.error))?;
    Ok(())
}
