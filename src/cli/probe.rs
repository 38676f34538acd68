//! `advisor probe`.

use super::{Outcome, args::Global, output};
use crate::{
    caveat::Caveat,
    error::Result,
    measure,
    profile::machine::{Gpu, Gpus, Machine},
    render::{Report, Table},
};
use serde::Serialize;

pub(super) fn run(global: &Global) -> Result<Outcome> {
    let (machine, caveats) = measure::probe::probe_with_caveats();
    let mut report = report(&machine);
    report.caveats(&caveats);
    output::print(global, &report, &ProbeReport { machine, caveats })?;
    Ok(Outcome::Found)
}

/// What `advisor probe` tells.
#[derive(Debug, Serialize)]
struct ProbeReport {
    #[serde(flatten)]
    machine: Machine,
    caveats: Vec<Caveat>,
}

fn report(machine: &Machine) -> Report {
    let mut report = Report::default();
    let cpu = &machine.cpu;
    let sets: Vec<String> = cpu
        .instruction_sets
        .iter()
        .filter_map(|set| serde_json::to_value(set).ok()?.as_str().map(str::to_owned))
        .collect();
    let limits = &machine.limits;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    report.facts([
        ("system", format!("{} ({})", machine.os, cpu.arch)),
        ("CPU", cpu.model.to_string()),
        ("microarchitecture", microarchitecture(machine)),
        (
            "cores",
            format!(
                "{} physical, {} logical",
                cpu.physical_cores, cpu.logical_cores
            ),
        ),
        (
            "instruction sets",
            if sets.is_empty() {
                "none known".to_owned()
            } else {
                sets.join(", ")
            },
        ),
        ("memory", machine.memory_bytes.to_string()),
        ("container", limits.cgroup.to_string()),
        (
            "CPU quota",
            or_none(
                limits
                    .cpu_quota_cores
                    .map(|cores| format!("{cores:.2} cores")),
            ),
        ),
        (
            "cpuset",
            or_none(limits.cpuset_cores.map(|cores| format!("{cores} cores"))),
        ),
        (
            "memory limit",
            or_none(limits.memory_bytes.map(|bytes| bytes.to_string())),
        ),
        (
            "to be used",
            format!(
                "{} threads, {}",
                machine.usable_threads(),
                machine
                    .usable_memory()
                    .map_or_else(|| "memory unknown".to_owned(), |m| m.to_string())
            ),
        ),
        ("GPU", gpu_line(&machine.gpus)),
    ]);
    let mut table = Table::new(&[
        "GPU",
        "name",
        ">memory",
        ">used",
        "capability",
        "driver",
        "CUDA",
        ">SM clock",
        ">power",
        "MIG",
    ]);
    for gpu in machine.gpus.devices() {
        table.push(gpu_row(gpu));
    }
    report.table(table);
    report
}

fn microarchitecture(machine: &Machine) -> String {
    crate::profile::microarchitecture::microarchitecture(&machine.cpu).map_or_else(
        || "unknown (not in the table of processors)".to_owned(),
        str::to_owned,
    )
}

fn gpu_line(gpus: &Gpus) -> String {
    match gpus {
        Gpus::NoDriver { tried } => format!("no NVIDIA driver ({tried})"),
        Gpus::DriverFailed { why } => format!("the NVIDIA driver is there but fails: {why}"),
        Gpus::NoDevice { why } => format!("no device: {why}"),
        Gpus::Found { devices } => format!("{} found", devices.len()),
    }
}

fn gpu_row(gpu: &Gpu) -> [String; 10] {
    [
        gpu.cuda_index.to_string(),
        gpu.name.to_string(),
        gpu.memory_bytes.to_string(),
        gpu.memory_used_bytes.to_string(),
        gpu.compute_capability.to_string(),
        gpu.driver.to_string(),
        gpu.cuda.to_string(),
        gpu.max_sm_clock_mhz.known().map_or_else(
            || gpu.max_sm_clock_mhz.to_string(),
            |mhz| format!("{mhz} MHz"),
        ),
        gpu.power_limit_watts.known().map_or_else(
            || gpu.power_limit_watts.to_string(),
            |w| format!("{w:.0} W"),
        ),
        gpu.mig.to_string(),
    ]
}
