//! What processors and GPUs can do, as reports.

use super::{Report, Table};
use crate::{
    plan::transfer::Published,
    profile::hardware::{CpuSpec, GpuSpec},
    units::FlopRate,
};

/// All processor families and GPUs.
#[must_use]
pub fn hardware_report(cpus: &[&CpuSpec], gpus: &[&GpuSpec]) -> Report {
    let mut report = Report::default();
    report.answer(format!(
        "{} CPU families and {} GPUs are known; `advisor hardware show NAME` tells more.",
        cpus.len(),
        gpus.len()
    ));
    let mut table = Table::new(&[
        "GPU",
        "architecture",
        ">memory",
        ">bandwidth",
        ">FP32",
        ">TF32",
        ">FP16",
        ">power",
        "checked",
    ]);
    for gpu in gpus {
        table.push([
            gpu.name.clone(),
            gpu.architecture.clone(),
            gpu.memory_bytes.to_string(),
            gpu.bandwidth.to_string(),
            gpu.fp32.to_string(),
            rate(gpu.tf32),
            rate(gpu.fp16),
            gpu.power_watts
                .map_or_else(|| "–".to_owned(), |watts| format!("{watts:.0} W")),
            gpu.confidence.clone(),
        ]);
    }
    if !gpus.is_empty() {
        report.heading("GPUs (dense peaks)").table(table);
    }
    let mut table = Table::new(&[
        "CPU family",
        "microarchitecture",
        ">clock",
        ">threads per core",
        ">FP32 per core",
        ">bandwidth measured",
    ]);
    for cpu in cpus {
        table.push([
            cpu.name.clone(),
            cpu.microarchitecture.clone(),
            format!("{:.1} GHz", cpu.all_core_ghz),
            cpu.threads_per_core.to_string(),
            core_rate(cpu).to_string(),
            measured(cpu),
        ]);
    }
    if !cpus.is_empty() {
        report.heading("CPU families").table(table);
    }
    report
}

/// Everything known of a GPU and what published systems reached on it.
#[must_use]
pub fn gpu_report(gpu: &GpuSpec, published: &[&Published]) -> Report {
    let mut report = Report::default();
    report.answer(format!(
        "{}: {}, {}.",
        gpu.name, gpu.nvml_name, gpu.architecture
    ));
    let reported = if gpu.memory_as_reported {
        "as the driver reports it"
    } else {
        "as labelled"
    };
    let facts = [
        ("memory", Some(format!("{}, {reported}", gpu.memory_bytes))),
        ("memory bandwidth", Some(gpu.bandwidth.to_string())),
        ("FP32", Some(gpu.fp32.to_string())),
        ("TF32, tensor cores, dense", gpu.tf32.map(|r| r.to_string())),
        ("FP16, tensor cores, dense", gpu.fp16.map(|r| r.to_string())),
        ("FP8, tensor cores, dense", gpu.fp8.map(|r| r.to_string())),
        (
            "INT8, tensor cores, dense",
            gpu.int8.map(|r| r.to_string().replace("FLOP", "OP")),
        ),
        ("power limit", gpu.power_watts.map(|w| format!("{w:.0} W"))),
        ("attached by", gpu.interconnect.clone()),
        ("compute capability", gpu.compute_capability.clone()),
        ("checked", Some(gpu.confidence.clone())),
        ("source", Some(gpu.source.clone())),
        ("note", gpu.note.clone()),
    ];
    report.facts(known(facts));
    let mut table = Table::new(&["network", ">best items/s", "precision", "software", "by"]);
    for row in published {
        table.push([
            row.network.clone(),
            row.best(),
            row.precision.clone(),
            row.stack.clone(),
            row.by.clone(),
        ]);
    }
    if !published.is_empty() {
        report
            .heading("What published systems reached")
            .table(table);
    }
    report
}

/// Everything known of a processor family.
#[must_use]
pub fn cpu_report(cpu: &CpuSpec, asked: &str) -> Report {
    let mut report = Report::default();
    let stands = if asked == cpu.name {
        String::new()
    } else {
        format!(" (for {asked}, which has no figures of its own)")
    };
    report.answer(format!("{}{stands}: {}.", cpu.name, cpu.microarchitecture));
    let sets: Vec<String> = cpu
        .instruction_sets
        .iter()
        .filter_map(|set| serde_json::to_value(set).ok()?.as_str().map(str::to_owned))
        .collect();
    let per_cycle = |value: f64| format!("{value:.0} per cycle and core");
    let facts = [
        ("architecture", Some(cpu.arch.clone())),
        (
            "instruction sets",
            (!sets.is_empty()).then(|| sets.join(", ")),
        ),
        (
            "all-core clock",
            Some(format!(
                "{:.2} GHz ({})",
                cpu.all_core_ghz, cpu.clock_source
            )),
        ),
        (
            "a vCPU is",
            Some(
                if cpu.threads_per_core > 1 {
                    "a hyperthread: two share a core"
                } else {
                    "a core"
                }
                .to_owned(),
            ),
        ),
        (
            "FP32",
            Some(format!(
                "{}, {} a core",
                per_cycle(cpu.fp32_flop_per_cycle),
                core_rate(cpu)
            )),
        ),
        ("INT8, dot products", cpu.int8_op_per_cycle.map(per_cycle)),
        (
            "BF16, matrix unit",
            cpu.matrix_bf16_flop_per_cycle.map(per_cycle),
        ),
        (
            "INT8, matrix unit",
            cpu.matrix_int8_op_per_cycle.map(per_cycle),
        ),
        (
            "bandwidth of a socket",
            cpu.socket_bandwidth.map(|b| b.to_string()),
        ),
        (
            "same processors as",
            (!cpu.stands_for.is_empty()).then(|| cpu.stands_for.join(", ")),
        ),
        ("may also come on", cpu.ambiguous.clone()),
        ("source", Some(cpu.source.clone())),
    ];
    report.facts(known(facts));
    let mut table = Table::new(&[">vCPUs", ">read bandwidth, measured"]);
    for at in &cpu.measured_bandwidth {
        table.push([at.vcpus.to_string(), at.bandwidth.to_string()]);
    }
    report.table(table);
    report
}

fn known<const N: usize>(
    facts: [(&'static str, Option<String>); N],
) -> Vec<(&'static str, String)> {
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn rate(rate: Option<FlopRate>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| rate.to_string())
}

fn core_rate(cpu: &CpuSpec) -> FlopRate {
    FlopRate::saturating(cpu.all_core_ghz * 1e9 * cpu.fp32_flop_per_cycle)
}

/// `10.5 GB/s on 2 to 180 GB/s on 96`.
fn measured(cpu: &CpuSpec) -> String {
    match (
        cpu.measured_bandwidth.first(),
        cpu.measured_bandwidth.last(),
    ) {
        (Some(first), Some(last)) => format!(
            "{} on {} to {} on {}",
            first.bandwidth, first.vcpus, last.bandwidth, last.vcpus
        ),
        _ => "–".to_owned(),
    }
}
