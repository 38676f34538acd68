//! `advisor calibrate`, and calibrations for `advisor plan`.

use super::{
    Outcome,
    args::{CalibrateArgs, Global, Kind, MeasureArgs, ModelArgs},
    devices::devices,
    fleet,
    folders::{Folders, program, shown},
    interrupt, output,
    progress::ProgressLine,
    runtime,
    subject::{Named, named},
    variants::variants,
};
use crate::{
    error::{Error, Result},
    measure::{
        self,
        calibrate::{self, Launcher, Options, Progress},
        runtime::{Library, Surroundings, nvidia_package_folders, release::Build},
    },
    profile::{
        calibration::{Calibration, Device, Fingerprint},
        history::{between_runs, past_runs, remember},
        machine::Machine,
        settings::{ServerSettings, server_settings},
        store::{self, CalibrationStore, Lookup},
    },
    render::calibration_report,
};
use serde::Serialize;
use std::{cell::RefCell, path::Path};

/// A calibration with what follows from it, as printed in JSON.
#[derive(Debug, Serialize)]
struct Calibrated<'c> {
    #[serde(flatten)]
    calibration: &'c Calibration,
    /// What a server should be set to.
    settings: Vec<ServerSettings>,
}

pub(super) fn run(global: &Global, args: &CalibrateArgs) -> Result<Outcome> {
    if let Some(engine) = args.on {
        return fleet::run(global, args, engine);
    }
    if args.machine_type.len() > 1 {
        return Err(Error::bad_input("--machine-type: this machine is one")
            .hint("several are for `--on skypilot` or `--on kubernetes`"));
    }
    let folders = Folders::resolve(global)?;
    let named = named(&args.model)?;
    folders.check_writable()?;
    let mut bench = Bench::new(global, &folders, args.only)?;
    bench.always_measure = true;
    let mut measured = Vec::new();
    for variant in variants(global, &named, &args.variants, &folders)? {
        match bench.calibrations(&variant, &args.model, &args.measure) {
            Ok(calibrations) => measured.extend(calibrations),
            Err(error) if measured.is_empty() && args.variants.len() < 2 => return Err(error),
            Err(error) => bench.failures.borrow_mut().push(error),
        }
        if interrupt::requested() {
            break;
        }
    }
    for calibration in &mut measured {
        calibration.machine_type = args.machine_type.first().cloned();
    }
    if let Some(path) = &args.save {
        save_to(path, &measured)?;
    }
    let mut report = calibration_report(&measured);
    for calibration in &measured {
        let path = bench
            .store
            .path(&calibration.model.name, &calibration.fingerprint);
        if path.exists() {
            report.paragraph(format!(
                "Saved as {}; `advisor plan` uses it.",
                shown(&path)
            ));
        }
    }
    let printed: Vec<Calibrated> = measured
        .iter()
        .map(|calibration| Calibrated {
            calibration,
            settings: server_settings(calibration),
        })
        .collect();
    output::print(global, &report, &printed)?;
    // What was measured has been shown; that it could not be kept, or that a
    // variant failed, is still a failure.
    match bench.failures.into_inner().into_iter().next() {
        Some(error) => Err(error),
        None => Ok(Outcome::Found),
    }
}

fn save_to(path: &Path, measured: &[Calibration]) -> Result<()> {
    match measured {
        [one] if !path.is_dir() => store::save(one, path),
        many => many.iter().try_for_each(|one| {
            let name = format!("{}-{}.json", one.model.name, one.fingerprint.short());
            store::save(one, &path.join(name))
        }),
    }
}

/// Everything needed to calibrate on this machine or to find what was calibrated.
pub(super) struct Bench<'b> {
    global: &'b Global,
    folders: &'b Folders,
    /// This machine.
    pub machine: Machine,
    library: Library,
    devices: Vec<Device>,
    /// Saved calibrations.
    pub store: CalibrationStore,
    /// Measure even where a saved calibration fits.
    pub always_measure: bool,
    /// What went wrong without costing a result.
    pub failures: RefCell<Vec<Error>>,
}

impl<'b> Bench<'b> {
    /// Probes the machine and finds (or fetches) the runtime.
    ///
    /// # Errors
    /// No runtime can be had, or a kind of device was asked for that is not there.
    pub(super) fn new(
        global: &'b Global,
        folders: &'b Folders,
        only: Option<Kind>,
    ) -> Result<Self> {
        let machine = measure::probe::probe();
        let devices = devices(&machine, only);
        if devices.is_empty() {
            return Err(Error::machine(
                "a GPU was asked for, but none can be used on this machine",
            )
            .hint("`advisor probe` says why"));
        }
        let wants_gpu = devices.iter().any(|device| *device != Device::Cpu);
        let build = if wants_gpu && only == Some(Kind::Gpu) {
            Build::Cuda
        } else {
            Build::Cpu
        };
        let library = runtime::ensure(global, folders, build)?;
        let devices = if library.has_cuda() {
            devices
        } else {
            if wants_gpu {
                output::warn(
                    "there is a GPU, but the ONNX Runtime in use has no CUDA provider, so it is left out; `advisor runtime --fetch cuda` fetches one that has",
                );
            }
            devices
                .into_iter()
                .filter(|device| *device == Device::Cpu)
                .collect()
        };
        Ok(Self {
            global,
            folders,
            machine,
            library,
            devices,
            store: CalibrationStore::under(&folders.data),
            always_measure: false,
            failures: RefCell::default(),
        })
    }

    /// A calibration of the model per device: saved, or measured now and saved.
    ///
    /// # Errors
    /// The model cannot be used, or no device could be measured.
    pub(super) fn calibrations(
        &self,
        named: &Named,
        model: &ModelArgs,
        measure: &MeasureArgs,
    ) -> Result<Vec<Calibration>> {
        let hash = named.hash(model, self.folders)?;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for device in &self.devices {
            match self.saved(named, device, &hash) {
                Some(calibration) => found.push(calibration),
                None => missing.push(device),
            }
        }
        if !missing.is_empty() {
            self.folders.check_writable()?;
            let mut failures = Vec::new();
            for device in missing {
                match self.measure(named, model, measure, device) {
                    Ok(calibration) => found.push(calibration),
                    Err(error) => failures.push(error),
                }
                if interrupt::requested() {
                    break;
                }
            }
            for error in &failures {
                if !found.is_empty() {
                    output::warn(&error.to_string());
                }
            }
            if found.is_empty() {
                return Err(failures.into_iter().next().unwrap_or_else(|| {
                    Error::machine("interrupted before anything was measured")
                }));
            }
        }
        found.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(found)
    }

    fn saved(&self, named: &Named, device: &Device, hash: &str) -> Option<Calibration> {
        if self.always_measure {
            return None;
        }
        let fingerprint = Fingerprint::of(
            &self.machine,
            device,
            &self.library.inspection.version,
            hash,
        );
        match self.store.find(&named.name(), &fingerprint) {
            Lookup::Found(calibration, path) => {
                output::note(
                    self.global,
                    &format!("Using the calibration in {}", shown(&path)),
                );
                Some(*calibration)
            }
            Lookup::Missing => None,
            Lookup::Unusable(why) => {
                output::warn(&format!("{why}; measuring again"));
                None
            }
        }
    }

    fn measure(
        &self,
        named: &Named,
        model: &ModelArgs,
        measure: &MeasureArgs,
        device: &Device,
    ) -> Result<Calibration> {
        let subject = named.prepare(self.global, model, self.folders)?;
        let launcher = self.launcher(device)?;
        output::note(
            self.global,
            &format!(
                "Measuring {} on {device}, about {} …",
                subject.summary.name, measure.time
            ),
        );
        let line = ProgressLine::new(self.global, format!("{} on {device}", subject.summary.name));
        let prepared = calibrate::Subject {
            machine: &self.machine,
            device,
            library: &self.library,
            model: &subject.path,
            facts: &subject.summary,
            inputs: &subject.inputs,
        };
        let fingerprint = prepared.fingerprint();
        let name = &subject.summary.name;
        let journal = self.store.journal(name, &fingerprint);
        let history = self.store.history(name, &fingerprint);
        if measure.fresh {
            let _ = std::fs::remove_file(&journal);
        }
        let calibration = calibrate::calibrate(
            &prepared,
            &Options {
                time: measure.time,
                precision: measure.precision,
                max_batch: measure.max_batch,
                batch_sizes: subject.batch_sizes.clone(),
                longest_inference: measure.longest_inference,
                memory: measure.memory_limit,
                journal: Some(journal.clone()),
                between_runs: Some(between_runs(&past_runs(&history))),
                ..Options::default()
            },
            &launcher,
            interrupt::flag(),
            &mut |progress| line.show(&progress),
        )?;
        drop(line);
        match self.store.save(&calibration) {
            // The journal of an interrupted calibration stays: the next goes on from it.
            Ok(_) if interrupt::requested() => {}
            Ok(_) => {
                let _ = std::fs::remove_file(&journal);
                if let Err(error) = remember(&history, &calibration) {
                    output::warn(&error.to_string());
                }
            }
            Err(error) => self.failures.borrow_mut().push(error),
        }
        Ok(calibration)
    }

    /// Measures these layouts and batch sizes, for a comparison; nothing is kept.
    ///
    /// # Errors
    /// Nothing could be measured.
    pub(super) fn compare(
        &self,
        named: &Named,
        model: &ModelArgs,
        device: &Device,
        options: &Options,
    ) -> Result<Calibration> {
        let subject = named.prepare(self.global, model, self.folders)?;
        let line = ProgressLine::new(self.global, format!("{} on {device}", subject.summary.name));
        let mut options = options.clone();
        if !subject.batch_sizes.is_empty() {
            options.batch_sizes.clone_from(&subject.batch_sizes);
        }
        let calibration = calibrate::calibrate(
            &calibrate::Subject {
                machine: &self.machine,
                device,
                library: &self.library,
                model: &subject.path,
                facts: &subject.summary,
                inputs: &subject.inputs,
            },
            &options,
            &self.launcher(device)?,
            interrupt::flag(),
            &mut |progress| {
                if !matches!(progress, Progress::FirstLook(_)) {
                    line.show(&progress);
                }
            },
        );
        drop(line);
        calibration
    }

    /// The devices in use.
    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The runtime in use.
    pub(super) const fn library(&self) -> &Library {
        &self.library
    }

    /// How measuring children are started.
    ///
    /// # Errors
    /// The path of this program is not known.
    pub(super) fn launcher(&self, device: &Device) -> Result<Launcher> {
        Ok(Launcher {
            program: program()?,
            library_folders: match device {
                Device::Cpu => Vec::new(),
                Device::Cuda { .. } => {
                    nvidia_package_folders(&Surroundings::current(&self.folders.data).pythons)
                }
            },
        })
    }
}
