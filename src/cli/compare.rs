//! `advisor compare`: devices, thread counts or number formats side by side.

use super::{
    Outcome,
    args::{CompareArgs, Global, Kind},
    calibrate::Bench,
    folders::Folders,
    interrupt, output,
    subject::named,
    variants::variants,
};
use crate::{
    error::{Error, Result},
    measure::calibrate::{
        Options,
        sweep::{layouts, spinning},
    },
    profile::{
        calibration::{Device, SessionLayout},
        comparison::{Compared, compare},
        machine::{Gpus, Machine},
    },
    render::comparison_report,
};
use serde::Serialize;

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// What is printed in JSON.
#[derive(Debug, Serialize)]
struct Comparison {
    schema: u32,
    lines: Vec<Compared>,
    /// What was asked for and is not in the lines, and why.
    missing: Vec<String>,
}

pub(super) fn run(global: &Global, args: &CompareArgs) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    let named = named(&args.model)?;
    folders.check_writable()?;
    let only = match args.on.as_slice() {
        [one] => Some(*one),
        _ if !args.threads.is_empty() => Some(Kind::Cpu),
        _ => None,
    };
    let bench = Bench::new(global, &folders, only)?;
    let mut missing = Vec::new();
    let gpu = bench.devices().iter().any(|device| *device != Device::Cpu);
    if args.on.contains(&Kind::Gpu) && !gpu {
        let why = no_gpu(&bench.machine);
        output::warn(&why);
        missing.push(why);
    } else if args.threads.is_empty() && args.variants.is_empty() && !gpu {
        output::note(
            global,
            &format!(
                "{}; thread counts are compared instead",
                no_gpu(&bench.machine)
            ),
        );
    }
    let mut calibrations = Vec::new();
    for variant in variants(global, &named, &args.variants, &folders)? {
        for device in bench.devices() {
            let options = options(args, device, &bench.machine, gpu);
            match bench.compare(&variant, &args.model, device, &options) {
                Ok(calibration) => calibrations.push(calibration),
                Err(error) => {
                    output::warn(&error.to_string());
                    missing.push(error.message().to_owned());
                }
            }
            if interrupt::requested() {
                break;
            }
        }
    }
    let lines = compare(&calibrations);
    if lines.is_empty() {
        return Err(Error::machine(
            missing
                .into_iter()
                .next()
                .unwrap_or_else(|| "nothing was measured".to_owned()),
        ));
    }
    let report = comparison_report(&lines, &calibrations, &missing);
    let comparison = Comparison {
        schema: SCHEMA,
        lines,
        missing,
    };
    output::print(global, &report, &comparison)?;
    Ok(Outcome::Found)
}

fn options(args: &CompareArgs, device: &Device, machine: &Machine, gpu: bool) -> Options {
    let usable = machine.usable_threads();
    let one = |threads: u32| SessionLayout {
        instances: 1,
        intra_op_threads: threads,
        spinning: spinning(1, threads, usable),
    };
    let layouts: Vec<SessionLayout> = match device {
        Device::Cuda { .. } => vec![one(1)],
        Device::Cpu if !args.threads.is_empty() => args.threads.iter().map(|t| one(*t)).collect(),
        // Against a GPU or another number format: all processors in one session.
        Device::Cpu if gpu || !args.variants.is_empty() => vec![one(usable)],
        Device::Cpu => layouts(device, usable)
            .into_iter()
            .filter(|layout| layout.instances == 1)
            .collect(),
    };
    let mut batch_sizes = vec![1, args.batch];
    batch_sizes.dedup();
    Options {
        time: args.time,
        precision: args.precision,
        max_batch: args.batch,
        batch_sizes,
        layouts,
        gaps: Vec::new(),
        ..Options::default()
    }
}

/// Why there is no GPU, in a sentence.
fn no_gpu(machine: &Machine) -> String {
    let why = match &machine.gpus {
        Gpus::NoDriver { tried } => format!("no NVIDIA driver is installed ({tried})"),
        Gpus::DriverFailed { why } => format!("the NVIDIA driver does not work: {why}"),
        Gpus::NoDevice { why } => why.clone(),
        Gpus::Found { .. } => "the ONNX Runtime in use has no CUDA provider".to_owned(),
    };
    format!("no GPU can be used on this machine: {why}")
}
