//! `advisor profiles list`, `show` and `export`.

use super::{
    Outcome,
    args::Global,
    books,
    folders::{Folders, shown},
    output,
    profile_args::{ExportArgs, ProfilesCommand},
    profiles_import,
};
use crate::{
    error::{Error, Result, nearest},
    profile::{
        calibration::Calibration,
        shelf::{ProfileShelf, Shelved},
        store,
    },
    render::{ProfileRow, profile_report, profiles_report},
};
use serde::Serialize;
use std::path::Path;

/// A profile, as JSON lists it.
#[derive(Debug, Serialize)]
struct Listed<'p> {
    name: &'p str,
    /// Whether it was brought in; otherwise it is a calibration of this data folder.
    elsewhere: bool,
    model: &'p str,
    machine_type: Option<&'p str>,
    device: String,
    taken_at: &'p str,
    fingerprint: String,
    runtime: &'p str,
    rows: usize,
    file: &'p Path,
}

pub(super) fn run(global: &Global, command: &ProfilesCommand) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    match command {
        ProfilesCommand::List => list(global, &folders),
        ProfilesCommand::Show { name } => {
            let one = named(name, &folders)?;
            let report = profile_report(&one.calibration, &shown(&one.path));
            output::print(global, &report, &one.calibration)?;
            Ok(Outcome::Found)
        }
        ProfilesCommand::Export(args) => export(global, args, &folders),
        ProfilesCommand::Import(args) => profiles_import::run(global, args, &folders),
    }
}

/// Profiles brought in, then calibrations of this data folder.
fn everything(folders: &Folders) -> Vec<(bool, Shelved)> {
    let mut all = Vec::new();
    for (elsewhere, shelf) in [
        (true, books::profiles(folders)),
        (false, ProfileShelf::of_calibrations(&folders.data)),
    ] {
        let (found, failed) = shelf.all();
        for error in failed {
            output::warn(error.message());
        }
        all.extend(found.into_iter().map(|one| (elsewhere, one)));
    }
    all
}

fn list(global: &Global, folders: &Folders) -> Result<Outcome> {
    let all = everything(folders);
    let rows: Vec<ProfileRow<'_>> = all
        .iter()
        .map(|(elsewhere, one)| ProfileRow {
            name: &one.name,
            elsewhere: *elsewhere,
            calibration: &one.calibration,
        })
        .collect();
    let value: Vec<Listed<'_>> = all
        .iter()
        .map(|(elsewhere, one)| {
            let calibration = &one.calibration;
            Listed {
                name: &one.name,
                elsewhere: *elsewhere,
                model: &calibration.model.name,
                machine_type: calibration.machine_type.as_deref(),
                device: calibration.device.to_string(),
                taken_at: &calibration.taken_at,
                fingerprint: calibration.fingerprint.short(),
                runtime: &calibration.fingerprint.runtime,
                rows: calibration.rows.len(),
                file: &one.path,
            }
        })
        .collect();
    output::print(
        global,
        &profiles_report("from elsewhere", &rows),
        &serde_json::json!({ "schema": 1, "profiles": value }),
    )?;
    Ok(Outcome::Found)
}

/// The profile of that name or in that file.
fn named(name: &str, folders: &Folders) -> Result<Shelved> {
    let path = Path::new(name);
    if path.is_file() {
        return Ok(Shelved {
            name: name.to_owned(),
            path: path.to_owned(),
            calibration: store::load(path)?,
        });
    }
    let all = everything(folders);
    if let Some((_, one)) = all.iter().find(|(_, one)| one.name == name) {
        return Ok(one.clone());
    }
    let like = nearest(name, all.iter().map(|(_, one)| one.name.as_str()));
    let error = Error::bad_input(format!("no profile is called `{name}`, and no file either"));
    Err(if like.is_empty() {
        error.hint("`advisor profiles list` shows all")
    } else {
        error.hint(format!("did you mean `{}`?", like.join("` or `")))
    })
}

fn export(global: &Global, args: &ExportArgs, folders: &Folders) -> Result<Outcome> {
    let mut calibration: Calibration = named(&args.name, folders)?.calibration;
    if args.output.exists() {
        return Err(
            Error::bad_input(format!("`{}` is there already", args.output.display()))
                .hint("give another file with `--output`"),
        );
    }
    if args.machine_type.is_some() {
        calibration.machine_type.clone_from(&args.machine_type);
    }
    let hardware = books::hardware(folders)?;
    let book = books::current(folders, &hardware)?;
    profiles_import::agrees(&calibration, &book, &hardware)?;
    store::save(&calibration, &args.output)?;
    let mut report = profile_report(&calibration, &shown(&args.output));
    if calibration.machine_type.is_none() {
        report.paragraph(
            "It does not say what the machine is sold as, so plans elsewhere can only carry it over; `--machine-type PROVIDER/TYPE` says so.",
        );
    }
    output::print(
        global,
        &report,
        &serde_json::json!({ "schema": 1, "file": args.output }),
    )?;
    Ok(Outcome::Found)
}
