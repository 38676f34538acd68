//! `advisor calibrate --on`: the jobs that measure a model on each candidate
//! machine type, written for somebody else's engine to run; nothing is started here.

mod kubernetes;
mod skypilot;

use super::{
    Outcome,
    args::{CalibrateArgs, Engine, Global},
    books,
    folders::Folders,
    output,
    subject::{Named, named},
};
use crate::{
    error::{Error, Result},
    plan::pricing::Offer,
    render::{Report, Table},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One job.
struct Job<'o> {
    /// A name that clusters and Kubernetes take: `advisor-aws-c7i-2xlarge`.
    name: String,
    offer: &'o Offer,
    /// `aws/c7i.2xlarge`.
    machine_type: String,
}

/// What was written, as JSON.
#[derive(Debug, Serialize)]
struct Written {
    schema: u32,
    jobs: Vec<PathBuf>,
    script: PathBuf,
    results: PathBuf,
}

/// Writes the jobs, a script that runs them, and says how the results come back.
///
/// # Errors
/// A machine type is unknown or the engine cannot start it; the folder cannot be
/// written to.
pub(super) fn run(global: &Global, args: &CalibrateArgs, engine: Engine) -> Result<Outcome> {
    let Some(folder) = &args.save else {
        return Err(
            Error::bad_input("--on: say where the jobs are to be written")
                .hint("give a folder, as in `--save jobs`"),
        );
    };
    if args.machine_type.is_empty() {
        return Err(Error::bad_input("--on: say on which machine types to measure").hint(
            "give them as in `--machine-type aws/c7i.2xlarge,gcp/g2-standard-4`; a plan names the ones worth it",
        ));
    }
    let named = named(&args.model)?;
    let folders = Folders::resolve(global)?;
    let hardware = books::hardware(&folders)?;
    let book = books::current(&folders, &hardware)?;
    let mut texts = Vec::new();
    for machine_type in &args.machine_type {
        let offer = machine_type
            .split_once('/')
            .and_then(|(provider, name)| {
                book.all()
                    .iter()
                    .find(|offer| offer.provider == provider && offer.instance_type == name)
            })
            .ok_or_else(|| {
                Error::bad_input(format!("no price file has a machine type `{machine_type}`"))
                    .hint("`advisor prices list` shows those that are known")
            })?;
        let job = Job {
            name: name(machine_type),
            offer,
            machine_type: machine_type.clone(),
        };
        let text = match engine {
            Engine::Skypilot => skypilot::task(&job, args, &named)?,
            Engine::Kubernetes => kubernetes::job(&job, args, &named)?,
        };
        texts.push((job, text));
    }
    // Nothing is written before all is known to be right.
    let mut jobs = Vec::new();
    for (job, text) in &texts {
        let path = folder.join(format!("{}.yaml", job.name));
        put(&path, text)?;
        jobs.push(path);
    }
    let names: Vec<&str> = texts.iter().map(|(job, _)| job.name.as_str()).collect();
    let script = folder.join("run.sh");
    put(
        &script,
        &match engine {
            Engine::Skypilot => skypilot::script(&names),
            Engine::Kubernetes => kubernetes::script(&names),
        },
    )?;
    let results = folder.join("results");
    let mut report = Report::default();
    report.answer(format!(
        "{} jobs were written; nothing was started.",
        jobs.len()
    ));
    let mut table = Table::new(&["machine type", ">vCPU", "file"]);
    for ((job, _), path) in texts.iter().zip(&jobs) {
        table.push([
            job.machine_type.clone(),
            job.offer.vcpus.to_string(),
            path.display().to_string(),
        ]);
    }
    report.table(table);
    report
        .paragraph("Runs them one after the other and fetches the results:")
        .command(format!("sh {}", script.display()));
    report
        .paragraph("Takes the results together:")
        .command(format!("advisor profiles import {}", results.display()));
    let value = Written {
        schema: 1,
        jobs,
        script,
        results,
    };
    output::print(global, &report, &value)?;
    Ok(Outcome::Found)
}

/// Lower case, digits and hyphens, at most 63 characters: what names of clusters
/// and of Kubernetes objects (RFC 1123) may hold.
fn name(machine_type: &str) -> String {
    let mut name: String = format!("advisor-{machine_type}")
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .take(63)
        .collect();
    while name.ends_with('-') {
        name.pop();
    }
    name
}

/// The command that measures, with the model at `model` over there.
fn command(
    program: &str,
    job: &Job<'_>,
    args: &CalibrateArgs,
    (model, save): (&str, &str),
) -> String {
    let only = if job.offer.gpu.is_some() {
        "gpu"
    } else {
        "cpu"
    };
    let mut words = vec![
        program.to_owned(),
        "calibrate".to_owned(),
        "--quiet".to_owned(),
        "--model".to_owned(),
        quoted(model),
        "--only".to_owned(),
        only.to_owned(),
        "--time".to_owned(),
        format!("{}s", args.measure.time.get()),
        "--max-batch".to_owned(),
        args.measure.max_batch.to_string(),
        "--machine-type".to_owned(),
        quoted(&job.machine_type),
        "--save".to_owned(),
        save.to_owned(),
    ];
    for (name, size) in &args.model.dims {
        words.extend(["--dim".to_owned(), quoted(&format!("{name}={size}"))]);
    }
    // One of several GPUs is measured, as plans take them: each by itself.
    if job.offer.gpu.as_ref().is_some_and(|gpu| gpu.count > 1) {
        words.insert(0, "CUDA_VISIBLE_DEVICES=0".to_owned());
    }
    words.join(" ")
}

/// The path of a model that is a file; none for a reference model.
fn file_of(model: &Named) -> Option<&Path> {
    match model {
        Named::File(path) => Some(path),
        Named::Reference(_) => None,
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A string for YAML: JSON's form of it is one.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn put(path: &Path, text: &str) -> Result<()> {
    let cannot = |error: std::io::Error| {
        Error::machine(format!("cannot write `{}`: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    std::fs::write(path, text).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        assert_eq!(name("aws/c7i.2xlarge"), "advisor-aws-c7i-2xlarge");
        assert_eq!(
            name("gcp/n1-standard-4+1xT4"),
            "advisor-gcp-n1-standard-4-1xt4"
        );
        let long = name(&format!("vast/{}", "x_".repeat(60)));
        assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("aws/c7i.2xlarge"), "aws/c7i.2xlarge");
        assert_eq!(quoted("it's; rm -rf"), "'it'\\''s; rm -rf'");
        assert_eq!(yaml("a \"b\"\n"), "\"a \\\"b\\\"\\n\"");
    }
}
