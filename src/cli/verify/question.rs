//! What is to be verified: from the arguments, and from a plan.

use super::super::{
    args::ModelArgs,
    verify_args::{BatcherArg, VerifyArgs},
};
use crate::{
    error::{Error, Result},
    units::{Rate, Time},
    workload::{Batcher, Percentile, ServingConfiguration, Slo},
};
use serde::Deserialize;
use std::path::Path;

/// What is verified.
pub(super) struct Question {
    pub model: ModelArgs,
    pub configuration: ServingConfiguration,
    pub rate: Rate,
    pub objectives: Vec<Slo>,
}

/// What is read of a plan.
#[derive(Debug, Deserialize)]
pub(super) struct PlanFile {
    question: PlanQuestion,
    pub model: PlanModel,
    options: Vec<PlanOption>,
}

#[derive(Debug, Deserialize)]
struct PlanQuestion {
    slos: Vec<Slo>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlanModel {
    pub name: String,
    pub hash: String,
}

#[derive(Debug, Deserialize)]
struct PlanOption {
    machine: PlanMachine,
    setup: PlanSetup,
    offered_load_per_s: Rate,
}

#[derive(Debug, Deserialize)]
struct PlanMachine {
    provider: String,
    instance_type: String,
}

#[derive(Debug, Deserialize)]
struct PlanSetup {
    instances: u32,
    intra_op_threads: u32,
    max_batch: u32,
    batch_window_s: Time,
}

pub(super) fn read_plan(path: &Path) -> Result<PlanFile> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::bad_input(format!("--plan: cannot read `{}`: {error}", path.display()))
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Error::bad_input(format!(
            "--plan: `{}` is not a plan: {error}",
            path.display()
        ))
        .hint("save one with `advisor plan … --format json > plan.json`")
    })
}

/// The option of a plan that is to be verified.
fn chosen(plan: &PlanFile, row: Option<u32>) -> Result<&PlanOption> {
    let names: Vec<String> = plan
        .options
        .iter()
        .enumerate()
        .map(|(i, o)| {
            format!(
                "{} {} {}",
                i + 1,
                o.machine.provider,
                o.machine.instance_type
            )
        })
        .collect();
    match row {
        Some(row) => plan.options.get(row as usize - 1).ok_or_else(|| {
            Error::bad_input(format!(
                "--row: the plan has {} options, not {row}",
                plan.options.len()
            ))
        }),
        None => plan
            .options
            .iter()
            .find(|option| option.machine.provider == "here")
            .ok_or_else(|| {
                Error::bad_input("--plan: the plan has no option for this machine").hint(format!(
                    "make one with `advisor plan --here`, or try the setup of another machine here with `--row N`: {}",
                    names.join(", ")
                ))
            }),
    }
}

/// What is asked, by the arguments and, for what they leave open, by the plan.
///
/// # Errors
/// No load, or a configuration that cannot be started.
pub(super) fn question(args: &VerifyArgs, plan: Option<&PlanFile>) -> Result<Question> {
    let option = plan.map(|plan| chosen(plan, args.row)).transpose()?;
    let model = ModelArgs {
        model: args
            .model
            .clone()
            .or_else(|| plan.map(|plan| plan.model.name.clone()))
            .unwrap_or_else(|| "bert-base".to_owned()),
        dims: args.dims.clone(),
    };
    let rate = args
        .qps
        .or_else(|| option.map(|option| option.offered_load_per_s))
        .ok_or_else(|| {
            Error::bad_input("no load was given").hint(
                "give the request rate to drive, as in `--qps 40`, or a plan with `--plan FILE`",
            )
        })?;
    if rate.is_zero() {
        return Err(Error::bad_input("--qps: a rate of 0 verifies nothing")
            .hint("give the request rate to drive, as in `--qps 40`"));
    }
    let setup = option.map(|option| &option.setup);
    let instances = args
        .instances
        .or_else(|| setup.map(|s| s.instances))
        .unwrap_or(1);
    let max_batch = args
        .max_batch
        .or_else(|| setup.map(|s| s.max_batch))
        .unwrap_or(1);
    let window = args
        .window
        .or_else(|| setup.map(|s| s.batch_window_s))
        .unwrap_or_default();
    // 0 stands for as many as there are processors for, until they are counted.
    let threads = args
        .threads
        .or_else(|| setup.map(|s| s.intra_op_threads))
        .unwrap_or(0);
    let mut configuration = ServingConfiguration::when_free(instances, max_batch, window)
        .with_threads(threads)
        .with_batcher(match args.batcher {
            BatcherArg::WhenFree => Batcher::WhenFree,
            BatcherArg::None => Batcher::None,
            BatcherArg::Triton => Batcher::Triton {
                preferred_batch_sizes: Vec::new(),
            },
            BatcherArg::MlServer => Batcher::MlServer,
            BatcherArg::MlServerInProcess => Batcher::MlServerInProcess,
            BatcherArg::Kserve => Batcher::KServe,
        });
    if configuration.intra_op_threads == 0 {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        configuration.intra_op_threads = (processors / instances).max(1);
    }
    configuration.check()?;
    let typed = [
        (Percentile::P50, args.p50),
        (Percentile::P90, args.p90),
        (Percentile::P95, args.p95),
        (Percentile::P99, args.p99),
    ];
    let mut objectives: Vec<Slo> = typed
        .into_iter()
        .filter_map(|(percentile, latency)| {
            latency.map(|latency| Slo {
                percentile,
                latency,
            })
        })
        .collect();
    if objectives.is_empty() {
        objectives = plan.map_or_else(Vec::new, |plan| plan.question.slos.clone());
    }
    Ok(Question {
        model,
        configuration,
        rate,
        objectives,
    })
}
