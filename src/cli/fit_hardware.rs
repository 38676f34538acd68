//! `advisor fit-hardware`.

use super::{
    Outcome, args::Global, books, folders::Folders, hardware_args::FitHardwareArgs, output, prices,
};
use crate::{
    error::{Error, Result},
    plan::{
        pricing::{PriceBook, prices_per_device},
        transfer::{BenchText, Benchmarks, FILES, Fitted, Regret, Split, evaluate, fit, regret},
    },
    profile::toml_text::TomlText,
    render::{Changed, PricedRegret, fit_report, transfer_report},
};
use serde::Serialize;
use std::{io::Write, path::Path};

/// Whose prices questions of regret are paid with; none is anybody's.
const WHOSE: [Option<&str>; 4] = [None, Some("aws"), Some("gcp"), Some("azure")];

/// What `--evaluate` prints as JSON.
#[derive(Debug, Serialize)]
struct Evaluation<'e> {
    schema: u32,
    data: &'e Path,
    sources: &'e [crate::plan::transfer::SourceFile],
    splits: Vec<Judged<'e>>,
    regret: Vec<WithPrices<'e>>,
}

#[derive(Debug, Serialize)]
struct Judged<'e> {
    #[serde(flatten)]
    split: &'e Split,
    meets_bar: Option<bool>,
}

#[derive(Debug, Serialize)]
struct WithPrices<'e> {
    prices: &'e str,
    #[serde(flatten)]
    regret: &'e Regret,
}

/// What a fit prints as JSON.
#[derive(Debug, Serialize)]
struct Written<'f> {
    schema: u32,
    file: &'f Path,
    changed: bool,
    #[serde(flatten)]
    fitted: Figures<'f>,
}

#[derive(Debug, Serialize)]
struct Figures<'f> {
    fitted_on: &'f str,
    gpu: &'f crate::plan::transfer::GpuFit,
    cpu: &'f crate::plan::transfer::CpuFit,
    sources: &'f [crate::plan::transfer::SourceFile],
}

pub(super) fn run(global: &Global, args: &FitHardwareArgs) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    let hardware = books::hardware(&folders)?;
    let bench = read(&args.data)?;
    if args.evaluate {
        output::note(global, "Holding out and predicting …");
        let splits = evaluate(&bench, &hardware);
        let book = PriceBook::shipped(&hardware)?;
        let regrets: Vec<PricedRegret> = WHOSE
            .into_iter()
            .map(|whose| PricedRegret {
                prices: whose.unwrap_or("any provider").to_owned(),
                rows: regret(
                    &bench,
                    &hardware,
                    &prices_per_device(&book, &hardware, whose),
                ),
            })
            .collect();
        let value = Evaluation {
            schema: 1,
            data: &args.data,
            sources: &bench.sources,
            splits: splits
                .iter()
                .map(|split| Judged {
                    split,
                    meets_bar: split.meets_bar(),
                })
                .collect(),
            regret: regrets
                .iter()
                .flat_map(|priced| {
                    priced.rows.iter().map(|regret| WithPrices {
                        prices: &priced.prices,
                        regret,
                    })
                })
                .collect(),
        };
        output::print(global, &transfer_report(&splits, &regrets), &value)?;
        let missed = splits.iter().any(|split| split.meets_bar() == Some(false));
        return Ok(if missed {
            Outcome::NothingFits
        } else {
            Outcome::Found
        });
    }
    let mut fitted = fit(&bench, &hardware, &prices::today().to_string())?;
    let before = earlier(&args.output);
    let changed = match &before {
        Some(before) => {
            let today = std::mem::replace(&mut fitted.fitted_on, before.fitted_on.clone());
            let same = *before == fitted;
            if !same {
                fitted.fitted_on = today;
            }
            !same
        }
        None => true,
    };
    if changed {
        write(&args.output, &fitted.to_toml()?)?;
    }
    let word = if changed { Changed::Yes } else { Changed::No };
    let name = args.output.display().to_string();
    let value = Written {
        schema: 1,
        file: &args.output,
        changed,
        fitted: Figures {
            fitted_on: &fitted.fitted_on,
            gpu: &fitted.gpu,
            cpu: &fitted.cpu,
            sources: &fitted.source,
        },
    };
    output::print(global, &fit_report(&fitted, (&name, word)), &value)?;
    Ok(Outcome::Found)
}

/// All files of a benchmark folder.
fn read(folder: &Path) -> Result<Benchmarks> {
    let texts: Vec<(&str, String)> = FILES
        .iter()
        .map(|name| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Error::bad_input(format!("cannot read `{}`: {error}", path.display())).hint(
                    "give the folder of published measurements with `--data`; it is `tests/data/bench` in the repository",
                )
            })?;
            Ok((*name, text))
        })
        .collect::<Result<_>>()?;
    let texts: Vec<BenchText<'_>> = texts
        .iter()
        .map(|(name, text)| BenchText { name, text })
        .collect();
    Benchmarks::parse(&texts)
}

/// The fit that is in a file already, if there is one that can be read.
fn earlier(path: &Path) -> Option<Fitted> {
    let text = std::fs::read_to_string(path).ok()?;
    Fitted::load(TomlText::new("", &text)).ok()
}

/// Writes beside the final name and moves, so that a failure leaves the old file.
fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = |error: std::io::Error| {
        Error::machine(format!("cannot write `{}`: {error}", path.display()))
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fit-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder).map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    Ok(())
}
