//! `advisor profiles import`: everything is read and judged before anything is kept.

use super::{
    Outcome,
    args::{Global, ModelArgs},
    books,
    folders::{Folders, shown},
    output,
    profile_args::{ImportArgs, ToolArg},
    subject::named,
};
use crate::{
    error::{Error, Result},
    plan::pricing::{Offer, PriceBook},
    profile::{
        calibration::{Calibration, Device, ModelSummary},
        check::check,
        hardware_book::HardwareBook,
        import::{ToolFormat, ToolSetup, ToolSubject, ToolText, import},
        machine::{Cpu, Gpu, Gpus, Limits, Machine, Reading},
        microarchitecture::microarchitecture,
        shelf::ProfileShelf,
        store,
    },
    render::{ProfileRow, profiles_report},
    units::Bytes,
};
use std::path::{Path, PathBuf};

pub(super) fn run(global: &Global, args: &ImportArgs, folders: &Folders) -> Result<Outcome> {
    let hardware = books::hardware(folders)?;
    let book = books::current(folders, &hardware)?;
    let texts = texts(&args.files)?;
    let format = match args.from {
        Some(ToolArg::Advisor) => None,
        Some(ToolArg::PerfAnalyzer) => Some(ToolFormat::PerfAnalyzer),
        Some(ToolArg::PerfTest) => Some(ToolFormat::PerfTest),
        Some(ToolArg::Loadgen) => Some(ToolFormat::LoadGen),
        None => texts.first().and_then(|(_, text)| ToolFormat::guess(text)),
    };
    let found = match format {
        Some(format) => {
            let place = place(args, format, (&book, &hardware))?;
            let subject = ToolSubject {
                model: model(global, &args.model, folders)?,
                machine_type: place.0,
                machine: place.1,
                device: place.2,
                taken_at: changed_at(args.files.first()),
            };
            vec![of_tool(args, (format, &texts), subject)?]
        }
        None => of_advisor(args, &texts, (&book, &hardware))?,
    };
    if let Some(format) = format {
        let name = texts.first().map_or("", |(name, _)| name.as_str());
        for one in &found {
            check(one, &hardware, (name, ""))
                .map_err(|error| error.context(format!("brought in from {}", format.name())))?;
        }
    }
    let shelf = books::profiles(folders);
    for (i, one) in found.iter().enumerate() {
        let twin = found
            .iter()
            .take(i)
            .any(|other| shelf.path(other) == shelf.path(one));
        if twin {
            return Err(Error::bad_input(format!(
                "two of the files are of {} on the same machine ({})",
                one.model.name,
                one.fingerprint.short()
            ))
            .hint("give the newer one alone"));
        }
    }
    if !args.replace {
        older_than_there(&found, &shelf)?;
    }
    folders.check_writable()?;
    let mut files = Vec::new();
    for one in &found {
        files.push(shelf.put(one)?);
    }
    let names: Vec<String> = files
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let rows: Vec<ProfileRow<'_>> = found
        .iter()
        .zip(&names)
        .map(|(calibration, name)| ProfileRow {
            name,
            elsewhere: true,
            calibration,
        })
        .collect();
    let mut report = profiles_report("brought in", &rows);
    if let Some(folder) = files.first().and_then(|path| path.parent()) {
        report.paragraph(format!(
            "Kept in {}; `advisor plan` uses them for plans of the same model.",
            shown(folder)
        ));
    }
    if found.iter().any(|one| one.machine_type.is_none()) {
        report.paragraph(
            "Some do not say what the machine is sold as, so they are carried over as this machine's are; `--machine-type PROVIDER/TYPE` says so.",
        );
    }
    output::print(
        global,
        &report,
        &serde_json::json!({ "schema": 1, "files": files }),
    )?;
    Ok(Outcome::Found)
}

/// Names and contents of files; of folders, their JSON files.
fn texts(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let cannot = |path: &Path, error: &std::io::Error| {
        Error::bad_input(format!("cannot read `{}`: {error}", path.display()))
    };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
                .map_err(|error| cannot(path, &error))?
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
                .collect();
            inside.sort();
            if inside.is_empty() {
                return Err(Error::bad_input(format!(
                    "there are no calibrations (`*.json`) in `{}`",
                    path.display()
                )));
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| cannot(path, &error))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}

/// Saved calibrations, each checked; a machine type that was typed stands over
/// that in a single file.
fn of_advisor(
    args: &ImportArgs,
    texts: &[(String, String)],
    (book, hardware): (&PriceBook, &HardwareBook),
) -> Result<Vec<Calibration>> {
    let mut found = Vec::new();
    for (name, text) in texts {
        let mut calibration = store::parse(name, text).map_err(|error| match error.advice() {
            Some(_) => error,
            None => error.hint("files are calibrations that `advisor calibrate --save` wrote (times in seconds, `…_s`), or what a tool printed: see `--from`"),
        })?;
        check(&calibration, hardware, (name, text))?;
        if args.machine_type.is_some() {
            calibration.machine_type.clone_from(&args.machine_type);
        }
        agrees(&calibration, book, hardware).map_err(|error| error.context(name))?;
        found.push(calibration);
    }
    if args.machine_type.is_some() && found.len() > 1 {
        let first = found.first().map(|one| one.machine.clone());
        if found.iter().any(|one| Some(&one.machine) != first.as_ref()) {
            return Err(Error::bad_input(
                "--machine-type: the files are of different machines",
            )
            .hint("import them one by one, or write it where they are measured (`advisor calibrate --machine-type`)"));
        }
    }
    Ok(found)
}

fn of_tool(
    args: &ImportArgs,
    (format, texts): (ToolFormat, &[(String, String)]),
    subject: ToolSubject,
) -> Result<Calibration> {
    let setup = ToolSetup {
        batch_size: args.batch_size,
        instances: args.instances,
        threads: args.threads,
    };
    let texts: Vec<ToolText<'_>> = texts
        .iter()
        .map(|(name, text)| ToolText { name, text })
        .collect();
    import(format, &texts, setup, subject)
}

/// The machine that was typed for a tool's results.
fn place(
    args: &ImportArgs,
    format: ToolFormat,
    (book, hardware): (&PriceBook, &HardwareBook),
) -> Result<(String, Machine, Device)> {
    let Some(machine_type) = &args.machine_type else {
        return Err(Error::bad_input(format!(
            "{}'s output does not say which machine it ran on",
            format.name()
        ))
        .hint("say what it is sold as, as in `--machine-type aws/g6.xlarge`"));
    };
    let (machine, device) = machine(machine_type, book, hardware)?;
    Ok((machine_type.clone(), machine, device))
}

/// When a file was last changed: tools do not say when they ran.
fn changed_at(path: Option<&PathBuf>) -> String {
    path.and_then(|path| std::fs::metadata(path).ok()?.modified().ok())
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map_or_else(String::new, |time| time.to_string())
}

fn offer<'b>(machine_type: &str, book: &'b PriceBook) -> Option<&'b Offer> {
    let (provider, name) = machine_type.split_once('/')?;
    book.all()
        .iter()
        .find(|offer| offer.provider == provider && offer.instance_type == name)
}

/// Whether a calibration can be of the machine type that it says: as many
/// processors, of that design, that GPU. A type without a price says nothing.
///
/// # Errors
/// It cannot, and why.
pub(super) fn agrees(
    calibration: &Calibration,
    book: &PriceBook,
    hardware: &HardwareBook,
) -> Result<()> {
    let machine_type = calibration.machine_type.as_deref().unwrap_or_default();
    let Some(offer) = offer(machine_type, book) else {
        return Ok(());
    };
    let refuse = |what: &str, here: &str, there: &str| {
        Err(Error::bad_input(format!(
            "this cannot be of {machine_type}: {what} was {here}, there it is {there}"
        ))
        .hint("give the machine type that it was measured on, or none"))
    };
    match &calibration.device {
        Device::Cpu => {
            let threads = calibration.machine.usable_threads();
            if threads != offer.vcpus {
                let (here, there) = (threads.to_string(), offer.vcpus.to_string());
                return refuse("the number of usable processors", &here, &there);
            }
            let here = microarchitecture(&calibration.machine.cpu);
            let there = offer.cpu.as_deref().and_then(|name| hardware.cpu(name));
            match (here, there) {
                (Some(here), Some(there)) if here != there.microarchitecture => {
                    refuse("the processor", here, &there.microarchitecture)
                }
                _ => Ok(()),
            }
        }
        Device::Cuda { name, .. } => {
            let there = offer.gpu.as_ref().map(|part| part.name.as_str());
            let here = hardware.gpu_by_nvml_name(name).map(|gpu| gpu.name.as_str());
            if here.is_some() && here != there {
                return refuse("the GPU", name, there.unwrap_or("none"));
            }
            Ok(())
        }
    }
}

/// What is known of a machine by its name in the price book.
fn machine(
    machine_type: &str,
    book: &PriceBook,
    hardware: &HardwareBook,
) -> Result<(Machine, Device)> {
    let offer = offer(machine_type, book).ok_or_else(|| {
        Error::bad_input(format!("no price file has a machine type `{machine_type}`"))
            .hint("`advisor prices list` shows those that are known")
    })?;
    let silent = || Reading::Unknown("its owner's tool does not say".to_owned());
    let gpus: Vec<Gpu> = offer
        .gpu
        .iter()
        .flat_map(|part| (0..part.count).map(move |index| (part, index)))
        .map(|(part, index)| Gpu {
            cuda_index: index,
            nvml_index: index,
            name: Reading::Known(
                hardware
                    .gpu(&part.name)
                    .map_or_else(|| part.name.clone(), |gpu| gpu.nvml_name.clone()),
            ),
            uuid: silent(),
            memory_bytes: Reading::Known(part.memory),
            memory_used_bytes: Reading::Known(Bytes::ZERO),
            driver: silent(),
            cuda: silent(),
            compute_capability: silent(),
            max_sm_clock_mhz: Reading::Unknown("its owner's tool does not say".to_owned()),
            max_memory_clock_mhz: Reading::Unknown("its owner's tool does not say".to_owned()),
            power_limit_watts: Reading::Unknown("its owner's tool does not say".to_owned()),
            temperature_celsius: Reading::Unknown("its owner's tool does not say".to_owned()),
            mig: silent(),
        })
        .collect();
    let device = match gpus.first().map(|gpu| gpu.name.clone()) {
        Some(Reading::Known(name)) => Device::Cuda { index: 0, name },
        _ => Device::Cpu,
    };
    let machine = Machine {
        os: silent(),
        cpu: Cpu {
            model: Reading::Unknown(format!("{machine_type} by its price file")),
            vendor: silent(),
            arch: offer.arch.clone(),
            signature: Reading::Unknown("its owner's tool does not say".to_owned()),
            physical_cores: Reading::Unknown("its owner's tool does not say".to_owned()),
            logical_cores: offer.vcpus,
            instruction_sets: Vec::new(),
        },
        memory_bytes: Reading::Known(offer.memory),
        limits: Limits::default(),
        gpus: if gpus.is_empty() {
            Gpus::NoDevice {
                why: "none in its price file".to_owned(),
            }
        } else {
            Gpus::Found { devices: gpus }
        },
    };
    Ok((machine, device))
}

/// The facts of the model that a tool ran: from a calibration of it, else read anew.
fn model(global: &Global, args: &ModelArgs, folders: &Folders) -> Result<ModelSummary> {
    let named = named(args)?;
    let hash = named.hash(args, folders)?;
    for shelf in [
        ProfileShelf::of_calibrations(&folders.data),
        books::profiles(folders),
    ] {
        let known = shelf.all().0.into_iter().map(|one| one.calibration.model);
        if let Some(model) = known.into_iter().find(|model| model.hash == hash) {
            return Ok(model);
        }
    }
    Ok(named.prepare(global, args, folders)?.summary)
}

/// Refuses to put something older in the place of something newer.
fn older_than_there(found: &[Calibration], shelf: &ProfileShelf) -> Result<()> {
    for one in found {
        let path = shelf.path(one);
        if let Ok(there) = store::load(&path)
            && there.taken_at > one.taken_at
        {
            return Err(Error::bad_input(format!(
                "a newer profile of {} on the same machine is there, of {}",
                one.model.name, there.taken_at
            ))
            .hint("`--replace` takes the older one all the same"));
        }
    }
    Ok(())
}
