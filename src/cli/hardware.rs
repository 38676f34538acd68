//! `advisor hardware list` and `show`.

use super::{
    Outcome,
    args::{Global, Kind},
    books,
    folders::Folders,
    hardware_args::HardwareCommand,
    output,
};
use crate::{
    error::{Error, Result, nearest},
    plan::transfer::Published,
    profile::{
        hardware::{CpuSpec, GpuSpec},
        hardware_book::HardwareBook,
    },
    render::{cpu_report, gpu_report, hardware_report},
};
use serde::Serialize;

/// What `list` prints as JSON.
#[derive(Debug, Serialize)]
struct Listed<'h> {
    schema: u32,
    cpus: Vec<&'h CpuSpec>,
    gpus: Vec<&'h GpuSpec>,
}

/// What `show` prints as JSON.
#[derive(Debug, Serialize)]
struct Shown<'h> {
    schema: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<&'h CpuSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<&'h GpuSpec>,
    published: Vec<&'h Published>,
}

pub(super) fn run(global: &Global, command: &HardwareCommand) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    let book = books::hardware(&folders)?;
    match command {
        HardwareCommand::List { only } => {
            let cpus: Vec<&CpuSpec> = book.cpus().filter(|_| *only != Some(Kind::Gpu)).collect();
            let gpus: Vec<&GpuSpec> = book.gpus().filter(|_| *only != Some(Kind::Cpu)).collect();
            let report = hardware_report(&cpus, &gpus);
            let value = Listed {
                schema: 1,
                cpus,
                gpus,
            };
            output::print(global, &report, &value)?;
        }
        HardwareCommand::Show { name } => {
            let fitted = books::fitted(&folders)?;
            let gpu = book
                .gpu(name)
                .or_else(|| book.gpu_by_nvml_name(name))
                .or_else(|| book.gpus().find(|gpu| gpu.name.eq_ignore_ascii_case(name)));
            let published: Vec<&Published> = fitted
                .published
                .iter()
                .filter(|row| gpu.is_some_and(|gpu| row.device == gpu.name))
                .collect();
            let cpu = if gpu.is_none() { book.cpu(name) } else { None };
            let report = match (gpu, cpu) {
                (Some(gpu), _) => gpu_report(gpu, &published),
                (None, Some(cpu)) => cpu_report(cpu, name),
                (None, None) => return Err(unknown(name, &book)),
            };
            let value = Shown {
                schema: 1,
                cpu,
                gpu,
                published,
            };
            output::print(global, &report, &value)?;
        }
    }
    Ok(Outcome::Found)
}

fn unknown(name: &str, book: &HardwareBook) -> Error {
    let names = book
        .gpus()
        .map(|gpu| gpu.name.as_str())
        .chain(book.cpus().map(|cpu| cpu.name.as_str()))
        .chain(
            book.cpus()
                .flat_map(|cpu| cpu.stands_for.iter().map(String::as_str)),
        );
    let like = nearest(name, names);
    let error = Error::bad_input(format!("no CPU family and no GPU is called `{name}`"));
    if like.is_empty() {
        error.hint("`advisor hardware list` shows all")
    } else {
        error.hint(format!("did you mean `{}`?", like.join("` or `")))
    }
}
