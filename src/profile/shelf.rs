//! Profiles: calibrations that were taken on other machines and brought here.
//! They lie apart from those of this machine, so that none passes for one.

use super::{
    calibration::Calibration,
    store::{self, CalibrationStore},
};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder of profiles.
#[derive(Debug, Clone)]
pub struct ProfileShelf {
    folder: PathBuf,
}

/// A profile and its file.
#[derive(Debug, Clone)]
pub struct Shelved {
    /// The file's name without its ending: what the profile is called.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub calibration: Calibration,
}

impl ProfileShelf {
    /// The shelf under the program's data folder; nothing is created yet.
    #[must_use]
    pub fn under(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("profiles"),
        }
    }

    /// The calibrations of this machine, looked at in the same way.
    #[must_use]
    pub fn of_calibrations(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("calibrations"),
        }
    }

    /// All profiles that can be read, by name, and why others cannot.
    #[must_use]
    pub fn all(&self) -> (Vec<Shelved>, Vec<Error>) {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        paths.sort();
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for path in paths {
            match store::load(&path) {
                Ok(calibration) => found.push(Shelved {
                    name: path
                        .file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    path,
                    calibration,
                }),
                Err(error) => failed.push(error),
            }
        }
        (found, failed)
    }

    /// The profiles of the model that these calibrations are of, without these
    /// themselves, newest first.
    #[must_use]
    pub fn of_model(&self, calibrations: &[Calibration]) -> Vec<Calibration> {
        let Some(first) = calibrations.first() else {
            return Vec::new();
        };
        let mut found: Vec<Calibration> = self
            .all()
            .0
            .into_iter()
            .map(|shelved| shelved.calibration)
            .filter(|profile| profile.model.hash == first.model.hash)
            .filter(|profile| !calibrations.contains(profile))
            .collect();
        // Stable: of one moment, the first by name.
        found.sort_by(|a, b| b.taken_at.cmp(&a.taken_at));
        found
    }

    /// Where a calibration would lie: named after the model, the machine type and
    /// the fingerprint.
    #[must_use]
    pub fn path(&self, calibration: &Calibration) -> PathBuf {
        let name = match &calibration.machine_type {
            Some(machine) => format!("{}-{machine}", calibration.model.name),
            None => calibration.model.name.clone(),
        };
        CalibrationStore::in_folder(&self.folder).path(&name, &calibration.fingerprint)
    }

    /// Puts a calibration on the shelf, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be made or written to, or the disk is full.
    pub fn put(&self, calibration: &Calibration) -> Result<PathBuf> {
        let path = self.path(calibration);
        store::save(calibration, &path)?;
        Ok(path)
    }
}
