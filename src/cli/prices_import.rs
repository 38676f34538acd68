//! `advisor prices import`.

use super::{
    Outcome,
    args::Global,
    books::Texts,
    folders::{Folders, shown},
    output,
    price_args::{FromArg, ImportArgs},
};
use crate::{
    error::{Error, Result},
    plan::pricing::{
        Billing, PriceBook,
        import::{FileHead, ImportContext, ImportFormat, Imported, Shipped},
    },
    profile::hardware_book::HardwareBook,
    render::{ImportSummary, import_report},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// How much of a file is looked at to find out what it is.
const BEGINNING: u64 = 4096;

/// What an import did, as JSON has it.
#[derive(Debug, Serialize)]
struct Report<'i> {
    schema: u32,
    format: &'static str,
    provider: &'i str,
    as_of: String,
    rows_read: u64,
    rows_taken: u64,
    rows_left: Vec<Left<'i>>,
    machines: usize,
    prices: usize,
    file: Option<&'i Path>,
}

#[derive(Debug, Serialize)]
struct Left<'i> {
    why: &'i str,
    rows: u64,
    first: &'i str,
}

pub(super) fn run(
    global: &Global,
    args: &ImportArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<Outcome> {
    let cannot = |error: std::io::Error| {
        Error::bad_input(format!("cannot read `{}`: {error}", args.file.display()))
    };
    let mut file = File::open(&args.file).map_err(cannot)?;
    let format = match args.from {
        Some(FromArg::Skypilot) => ImportFormat::SkyPilot,
        Some(FromArg::Gpuhunt) => ImportFormat::Gpuhunt,
        Some(FromArg::Aws) => ImportFormat::AwsPriceList,
        None => guess(&mut file).map_err(cannot)?.ok_or_else(|| {
            Error::bad_input(format!(
                "`{}` looks like no price list that is known",
                args.file.display()
            ))
            .hint("name its format with `--from skypilot`, `--from gpuhunt` or `--from aws`")
        })?,
    };
    let provider = provider(args, format)?;
    let known = PriceBook::shipped(hardware)?;
    let imported = format
        .read(
            &file,
            ImportContext {
                provider: &provider,
                regions: &args.regions,
                hardware,
                known: &known,
            },
        )
        .map_err(|error| error.context(args.file.display()))?;
    let (as_of, note) = day(args, &file, &imported).map_err(cannot)?;
    let source = format!("{} `{}`", format.name(), args.file.display());
    let billing: Option<&Billing> = known
        .all()
        .iter()
        .find(|offer| offer.provider == provider)
        .and_then(|offer| offer.billing.as_ref());
    let text = imported.to_toml(&FileHead {
        provider: &provider,
        as_of,
        as_of_note: note,
        source: &source,
        billing,
        shipped: if args.replace {
            Shipped::PutAside
        } else {
            Shipped::Remain
        },
    });
    let written = if imported.price_count() == 0 {
        None
    } else {
        write(args, folders, hardware, (&provider, &text))?
    };
    if args.output.as_deref() == Some(Path::new("-")) {
        return Ok(Outcome::Found);
    }
    report(
        global,
        (format, &provider, as_of),
        &imported,
        written.as_deref(),
    )
}

fn guess(file: &mut File) -> std::io::Result<Option<ImportFormat>> {
    let mut beginning = Vec::new();
    Read::by_ref(file)
        .take(BEGINNING)
        .read_to_end(&mut beginning)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(ImportFormat::guess(&String::from_utf8_lossy(&beginning)))
}

/// `aws` of `catalogs/v8/aws/vms.csv` and of `aws.csv`.
fn provider(args: &ImportArgs, format: ImportFormat) -> Result<String> {
    if let Some(provider) = &args.provider {
        return Ok(provider.clone());
    }
    let path = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let name = match format {
        ImportFormat::AwsPriceList => return Ok("aws".to_owned()),
        ImportFormat::SkyPilot => path.parent().and_then(Path::file_name),
        ImportFormat::Gpuhunt => path.file_stem(),
    };
    match name.and_then(|name| name.to_str()) {
        Some(name) if !name.contains(char::is_whitespace) && !name.is_empty() => {
            Ok(name.to_owned())
        }
        _ => Err(
            Error::bad_input("the path does not say whose prices these are")
                .hint("name them with `--provider aws`"),
        ),
    }
}

/// The day on which the prices held, and how sure that is.
fn day(
    args: &ImportArgs,
    file: &File,
    imported: &Imported,
) -> std::io::Result<(Date, Option<&'static str>)> {
    if let Some(day) = args.as_of.or(imported.dated) {
        return Ok((day, None));
    }
    let changed = Timestamp::try_from(file.metadata()?.modified()?).map_or_else(
        |_| super::prices::today(),
        |time| time.to_zoned(TimeZone::system()).date(),
    );
    Ok((
        changed,
        Some("the day on which the imported file was last changed"),
    ))
}

/// Writes the price file, once it is sure that it can be read with the user's others.
fn write(
    args: &ImportArgs,
    folders: &Folders,
    hardware: &HardwareBook,
    (provider, text): (&str, &str),
) -> Result<Option<PathBuf>> {
    if let Some(output) = &args.output {
        let mut alone = Texts::default();
        alone.put(output.display().to_string(), text.to_owned());
        PriceBook::load(&alone.texts(), hardware)?;
        if output.as_os_str() == "-" {
            let written = anstream::stdout().lock().write_all(text.as_bytes());
            written.map_err(|error| Error::machine(format!("cannot write the result: {error}")))?;
            return Ok(None);
        }
        put(output, text)?;
        return Ok(Some(output.clone()));
    }
    let folder = folders
        .config
        .as_ref()
        .map(|config| config.join("pricing"))
        .ok_or_else(|| {
            Error::bad_input("there is no home folder to keep prices in")
                .hint("name the file with `--output FILE`")
        })?;
    let path = folder.join(format!("imported-{}.toml", file_word(provider)));
    let mut own = Texts::own(folders.config.as_deref(), "pricing")?;
    own.put(path.display().to_string(), text.to_owned());
    PriceBook::load(&own.texts(), hardware).map_err(|error| {
        error.context("nothing was written, because the imported prices cannot stand beside your other price files")
    })?;
    put(&path, text)?;
    Ok(Some(path))
}

/// Letters, digits and `-`, so that a provider's name cannot lead out of the folder.
fn file_word(provider: &str) -> String {
    provider
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .collect()
}

/// All of the file or none of it: what was there stays until the new one is complete.
fn put(path: &Path, text: &str) -> Result<()> {
    let cannot = |error: std::io::Error| {
        Error::machine(format!("cannot write `{}`: {error}", path.display()))
    };
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
    new.write_all(text.as_bytes()).map_err(cannot)?;
    new.persist(path).map_err(|error| cannot(error.error))?;
    Ok(())
}

fn report(
    global: &Global,
    (format, provider, as_of): (ImportFormat, &str, Date),
    imported: &Imported,
    written: Option<&Path>,
) -> Result<Outcome> {
    let rows = &imported.rows;
    let place = written.map(shown);
    let summary = ImportSummary {
        provider,
        format: format.name(),
        as_of,
        written: place.as_deref(),
    };
    let value = Report {
        schema: 1,
        format: format.name(),
        provider,
        as_of: as_of.to_string(),
        rows_read: rows.read,
        rows_taken: rows.taken,
        rows_left: rows
            .left
            .iter()
            .map(|(why, left)| Left {
                why,
                rows: left.count,
                first: &left.first,
            })
            .collect(),
        machines: imported.machines.len(),
        prices: imported.price_count(),
        file: written,
    };
    output::print(global, &import_report(imported, summary), &value)?;
    Ok(if imported.price_count() > 0 {
        Outcome::Found
    } else {
        Outcome::NothingFits
    })
}
