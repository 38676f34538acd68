//! `advisor runtime`, and finding or fetching the library for the other commands.

use super::{
    Outcome,
    args::{BuildArg, Global, RuntimeArgs},
    folders::{Folders, program, shown},
    output,
};
use crate::{
    error::{Error, Result},
    measure::runtime::{
        Library, OTHER_WAYS, Search, Surroundings, fetch, find,
        release::{Build, VERSION, for_platform},
    },
    render::Report,
};
use serde::Serialize;

/// What `advisor runtime` tells.
#[derive(Debug, Serialize)]
struct RuntimeReport {
    found: Option<Library>,
    tried: Vec<String>,
}

pub(super) fn run(global: &Global, args: &RuntimeArgs) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    if let Some(build) = args.fetch {
        folders.check_writable()?;
        fetch_aloud(global, &folders, build_of(build))?;
    }
    let surroundings = Surroundings::current(&folders.data);
    let build = args.fetch.map_or(Build::Cpu, build_of);
    let Search { found, tried } = find(&program()?, &surroundings, build)?;
    let mut report = Report::default();
    match &found {
        Some(library) => {
            report.facts([
                ("ONNX Runtime", library.inspection.version.clone()),
                ("library", shown(&library.path)),
                ("found as", library.origin.to_string()),
                (
                    "execution providers",
                    library.inspection.providers.join(", "),
                ),
            ]);
        }
        None => {
            report.paragraph("No ONNX Runtime was found on this machine.");
        }
    }
    report.list("Tried before", tried.clone());
    if found.is_none() {
        report.paragraph(format!("What to do: {OTHER_WAYS}."));
    }
    let outcome = if found.is_some() {
        Outcome::Found
    } else {
        Outcome::NothingFits
    };
    output::print(global, &report, &RuntimeReport { found, tried })?;
    Ok(outcome)
}

const fn build_of(arg: BuildArg) -> Build {
    match arg {
        BuildArg::Cpu => Build::Cpu,
        BuildArg::Cuda => Build::Cuda,
    }
}

/// The library to measure with: found, or fetched if there is none.
///
/// # Errors
/// `ORT_DYLIB_PATH` names something unusable, or nothing was found and nothing
/// could be fetched; the message lists everything tried.
pub(super) fn ensure(global: &Global, folders: &Folders, build: Build) -> Result<Library> {
    let surroundings = Surroundings::current(&folders.data);
    let program = program()?;
    let search = find(&program, &surroundings, build)?;
    if let Some(library) = search.found {
        return Ok(library);
    }
    folders.check_writable()?;
    let fetched =
        fetch_aloud(global, folders, build).and_then(|()| find(&program, &surroundings, build));
    match fetched {
        Ok(Search {
            found: Some(library),
            ..
        }) => Ok(library),
        Ok(_) => {
            Err(Error::machine("ONNX Runtime was fetched but cannot be used").hint(OTHER_WAYS))
        }
        Err(error) => Err(Error::machine(format!(
            "no ONNX Runtime was found\n  {}\n{}",
            search.tried.join("\n  "),
            error.message()
        ))
        .hint(OTHER_WAYS)),
    }
}

fn fetch_aloud(global: &Global, folders: &Folders, build: Build) -> Result<()> {
    let size = for_platform(std::env::consts::OS, std::env::consts::ARCH, build)
        .map_or_else(String::new, |release| {
            format!(" ({} MB)", release.megabytes)
        });
    output::note(
        global,
        &format!(
            "Fetching ONNX Runtime {VERSION}, {} build{size} …",
            build.name()
        ),
    );
    fetch(&folders.data, build).map(drop)
}
