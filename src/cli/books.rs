//! Price books and hardware books of this run: shipped, the user's own, saved ones.

use super::{
    args::Kind,
    folders::Folders,
    price_args::{OfferArgs, PriceArgs},
};
use crate::{
    error::{Error, Result},
    plan::{
        pricing::{OfferFilter, OfferKind, PriceBook, Term},
        transfer::Fitted,
    },
    profile::{hardware_book::HardwareBook, shelf::ProfileShelf, toml_text::TomlText},
};
use jiff::civil::Date;
use std::path::{Path, PathBuf};

/// TOML files in memory, each with its name.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<(String, String)>);

impl Texts {
    /// The user's own files of a kind, which stand over the shipped ones.
    pub(super) fn own(config: Option<&Path>, kind: &str) -> Result<Self> {
        match config.map(|config| config.join(kind)) {
            Some(folder) if folder.is_dir() => Self::folder(&folder),
            _ => Ok(Self::default()),
        }
    }

    /// The TOML files of a folder, by name.
    pub(super) fn folder(folder: &Path) -> Result<Self> {
        let cannot =
            |error| Error::bad_input(format!("cannot read `{}`: {error}", folder.display()));
        let mut paths = std::fs::read_dir(folder)
            .map_err(cannot)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(cannot)?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
        paths.sort();
        Self::files(&paths)
    }

    /// These files.
    pub(super) fn files(paths: &[PathBuf]) -> Result<Self> {
        let texts = paths.iter().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Error::bad_input(format!("cannot read `{}`: {error}", path.display()))
            })?;
            Ok((path.display().to_string(), text))
        });
        texts.collect::<Result<_>>().map(Self)
    }

    /// Adds a file; one of the same name gives way to it.
    pub(super) fn put(&mut self, name: String, text: String) {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, text));
    }

    /// As the books take them.
    pub(super) fn texts(&self) -> Vec<TomlText<'_>> {
        self.0
            .iter()
            .map(|(name, text)| TomlText { name, text })
            .collect()
    }

    /// File names and contents.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}

/// The shipped hardware with the user's own over it.
///
/// # Errors
/// A file of the user's is no hardware file.
pub(super) fn hardware(folders: &Folders) -> Result<HardwareBook> {
    let own = Texts::own(folders.config.as_deref(), "hardware")?;
    HardwareBook::load(&own.texts())
}

/// What was learnt from published measurements: the user's own fit
/// (`fitted/speed.toml` in the configuration folder), else the shipped one.
///
/// # Errors
/// The user's file is none that a fit has written.
pub(super) fn fitted(folders: &Folders) -> Result<Fitted> {
    let own = folders.config.as_ref().map(|c| c.join("fitted/speed.toml"));
    match own.filter(|path| path.is_file()) {
        None => Fitted::shipped(),
        Some(path) => {
            let texts = Texts::files(&[path])?;
            texts
                .texts()
                .first()
                .map_or_else(Fitted::shipped, |text| Fitted::load(*text))
        }
    }
}

/// Calibrations that were brought in from other machines.
pub(super) fn profiles(folders: &Folders) -> ProfileShelf {
    ProfileShelf::under(&folders.data)
}

/// The book to plan with: the present one or an older one, less the discounts.
///
/// # Errors
/// A price file cannot be used, or no such book was kept.
pub(super) fn book(
    args: &PriceArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<PriceBook> {
    let book = match &args.prices_as_of {
        None => current(folders, hardware)?,
        Some(which) => {
            older(which, folders, hardware).map_err(|error| error.context("--prices-as-of"))?
        }
    };
    book.discounted(&args.discounts)
}

/// The shipped book with the user's own prices over it.
///
/// # Errors
/// A price file of the user's cannot be used.
pub(super) fn current(folders: &Folders, hardware: &HardwareBook) -> Result<PriceBook> {
    let own = Texts::own(folders.config.as_deref(), "pricing")?;
    PriceBook::load(&own.texts(), hardware)
}

/// A book by name: `shipped`, `current`, the day of a saved one, a folder or a file.
///
/// # Errors
/// There is none of that name, or it cannot be used.
pub(super) fn named(name: &str, folders: &Folders, hardware: &HardwareBook) -> Result<PriceBook> {
    match name {
        "shipped" => PriceBook::shipped(hardware),
        "current" => current(folders, hardware),
        other => older(other, folders, hardware),
    }
}

fn older(which: &str, folders: &Folders, hardware: &HardwareBook) -> Result<PriceBook> {
    if let Ok(day) = which.parse::<Date>() {
        return saved(&kept_until(day, folders)?, hardware);
    }
    let path = Path::new(which);
    if path.is_dir() {
        saved(path, hardware)
    } else if path.is_file() {
        let texts = Texts::files(&[path.to_owned()])?;
        PriceBook::from_texts(&texts.texts(), &[], hardware)
    } else {
        Err(
            Error::bad_input(format!("`{which}` is neither a day, a folder nor a file"))
                .hint("write a day as 2026-07-20"),
        )
    }
}

/// A folder as `save` makes it (`shipped` and `own` in it), or just price files.
fn saved(folder: &Path, hardware: &HardwareBook) -> Result<PriceBook> {
    let (shipped, own) = (folder.join("shipped"), folder.join("own"));
    let (base, over) = if shipped.is_dir() {
        let over = if own.is_dir() {
            Texts::folder(&own)?
        } else {
            Texts::default()
        };
        (Texts::folder(&shipped)?, over)
    } else {
        (Texts::folder(folder)?, Texts::default())
    };
    let book = PriceBook::from_texts(&base.texts(), &over.texts(), hardware)?;
    if book.all().is_empty() {
        return Err(Error::bad_input(format!(
            "there are no prices in `{}`",
            folder.display()
        )));
    }
    Ok(book)
}

/// Where saved books are.
fn kept(folders: &Folders) -> PathBuf {
    folders.data.join("price-books")
}

/// The newest saved book that is not from after a day.
fn kept_until(day: Date, folders: &Folders) -> Result<PathBuf> {
    let entries = std::fs::read_dir(kept(folders))
        .into_iter()
        .flatten()
        .flatten();
    let mut days: Vec<Date> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    days.sort_unstable();
    if let Some(found) = days.iter().rev().find(|kept| **kept <= day) {
        return Ok(kept(folders).join(found.to_string()));
    }
    let error = Error::bad_input(format!("no price book was kept on or before {day}"));
    Err(match days.first() {
        Some(first) => error.hint(format!("the oldest one kept is of {first}")),
        None => error.hint(
            "none was kept yet; `advisor prices save` keeps the present one, and a folder with price files can be given as well",
        ),
    })
}

/// Keeps the present book under a day, all of it or nothing.
///
/// # Errors
/// It cannot be written.
pub(super) fn save(folders: &Folders, day: Date) -> Result<PathBuf> {
    folders.check_writable()?;
    let place = kept(folders).join(day.to_string());
    let cannot = |error: std::io::Error| {
        Error::machine(format!(
            "cannot keep the price book in `{}`: {error}",
            place.display()
        ))
    };
    std::fs::create_dir_all(kept(folders)).map_err(cannot)?;
    let new = tempfile::tempdir_in(kept(folders)).map_err(cannot)?;
    let put = |kind: &str, name: &str, text: &str| {
        let folder = new.path().join(kind);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), text)
    };
    for text in PriceBook::shipped_texts() {
        put("shipped", text.name, text.text).map_err(cannot)?;
    }
    for (name, text) in Texts::own(folders.config.as_deref(), "pricing")?.iter() {
        let name = Path::new(name)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        put("own", &name, text).map_err(cannot)?;
    }
    if place.exists() {
        std::fs::remove_dir_all(&place).map_err(cannot)?;
    }
    std::fs::rename(new.keep(), &place).map_err(cannot)?;
    Ok(place)
}

/// The term as the planner calls it.
pub(super) const fn term(typed: super::args::TermArg) -> Term {
    use super::args::TermArg;
    match typed {
        TermArg::OnDemand => Term::OnDemand,
        TermArg::Spot => Term::Spot,
        TermArg::Reserved1y => Term::Reserved1y,
        TermArg::Reserved3y => Term::Reserved3y,
        TermArg::Owned => Term::Owned,
    }
}

/// Which offers were asked for.
pub(super) fn filter(args: &OfferArgs) -> OfferFilter {
    OfferFilter {
        providers: args.providers.clone(),
        regions: args.regions.clone(),
        term: term(args.term),
        kind: args.only.map(|kind| match kind {
            Kind::Cpu => OfferKind::Cpu,
            Kind::Gpu => OfferKind::Gpu,
        }),
    }
}
