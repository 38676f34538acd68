//! `advisor verify`.

use super::{
    Outcome,
    args::{Global, MeasureArgs, ModelArgs},
    calibrate::Bench,
    folders::Folders,
    interrupt, output,
    subject::{Named, Subject, named},
    verify_args::{BatcherArg, VerifyArgs},
};
use crate::{
    error::{Error, Result},
    estimate::Source,
    measure::{
        calibrate::{Options, sweep},
        probe::load::{self, LoadSnapshot},
        replica::Rule,
        serve::process::{ReplicaProcess, Served},
    },
    plan::latency::LatencyCurve,
    profile::{
        calibration::{Calibration, Device, SessionLayout},
        store,
    },
    render::{history_report, verification_report},
    units::{Fraction, Rate, Time},
    verify::{
        Entry, Ledger, ObjectiveCount, Observed, Schedule, Target, Verification, forecast, judge,
        recorded_service_times, replay, service_range,
    },
    workload::{Arrivals, Batcher, Percentile, ServingConfiguration, Slo},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Requests in one run at most: what is written down of each stays in memory.
const MOST_REQUESTS: u32 = 400_000;

/// The schema of the JSON.
const SCHEMA: u32 = 1;

/// What is verified.
struct Question {
    model: ModelArgs,
    configuration: ServingConfiguration,
    rate: Rate,
    objectives: Vec<Slo>,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct VerifyReport<'v> {
    schema: u32,
    #[serde(flatten)]
    verification: &'v Verification,
}

/// What is read of a plan.
#[derive(Debug, Deserialize)]
struct PlanFile {
    question: PlanQuestion,
    model: PlanModel,
    options: Vec<PlanOption>,
}

#[derive(Debug, Deserialize)]
struct PlanQuestion {
    slos: Vec<Slo>,
}

#[derive(Debug, Deserialize)]
struct PlanModel {
    name: String,
    hash: String,
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

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    if args.history {
        return history(global, &folders);
    }
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let question = question(args, plan.as_ref())?;
    let named = named(&question.model)?;
    if let Some(plan) = &plan {
        let hash = named.hash(&question.model, &folders)?;
        if hash != plan.model.hash {
            return Err(Error::bad_input(format!(
                "the plan is for `{}` with another content than `{}`",
                plan.model.name, question.model.model
            ))
            .hint("give the model that the plan was made for with `--model`"));
        }
    }
    in_process(global, args, &folders, (&question, &named))
}

/// Drives a replica of ours.
fn in_process(
    global: &Global,
    args: &VerifyArgs,
    folders: &Folders,
    (question, named): (&Question, &Named),
) -> Result<Outcome> {
    folders.check_writable()?;
    let configuration = &question.configuration;
    if !matches!(configuration.batcher, Batcher::WhenFree | Batcher::None) {
        return Err(Error::bad_input(format!(
            "--batcher: the replica in this process makes batches when an instance is free, not as the {} does",
            configuration.batcher
        ))
        .hint("drive a running server with `--url`, or leave `--batcher` out"));
    }
    let mut bench = Bench::new(global, folders, Some(args.only))?;
    bench.always_measure = args.recalibrate;
    let device = bench.devices().first().cloned().unwrap_or(Device::Cpu);
    let subject = named.prepare(global, &question.model, folders)?;
    check_batches(&subject, configuration)?;
    let layout = layout(configuration, &device, &bench);
    let (calibration, curve) = curve(args, &bench, (named, question), (&device, layout))?;
    let service = service_range(&curve, configuration)?;
    let schedule = Schedule::new(
        &Arrivals::Poisson,
        question.rate,
        (args.time, MOST_REQUESTS),
        args.seed,
    )?;
    let predicted = forecast(&service, configuration, (&Arrivals::Poisson, question.rate))?;

    output::note(
        global,
        &format!(
            "Serving {} at {} for {} …",
            subject.summary.name,
            question.rate,
            schedule.arrivals().last().copied().unwrap_or_default()
        ),
    );
    let served = Served {
        machine: &bench.machine,
        device: &device,
        library: bench.library(),
        model: &subject.path,
        inputs: &subject.inputs,
    };
    let mut replica = ReplicaProcess::start(&served, layout, &bench.launcher(&device)?, None)?;
    let max_batch = configuration.effective_max_batch();
    replica.warm(max_batch)?;
    let before = LoadSnapshot::take();
    let load = replica.drive(
        schedule.arrivals(),
        Rule {
            max_batch,
            window: configuration.batch_window,
        },
        interrupt::flag(),
    )?;
    let disturbance = load::between(&before, &LoadSnapshot::take());
    let own_cores = !replica.cores.is_empty();
    drop(replica);
    if let Some(failure) = &load.failure {
        output::warn(&format!("an inference failed: {failure}"));
    }
    let answered: u32 = load.batches.iter().map(|batch| batch.items).sum();
    if answered < 20 {
        return Err(Error::machine(format!(
            "only {answered} requests were answered before it was interrupted"
        )));
    }
    let seen = schedule.first(answered as usize);
    let measured = Observed::of_replica(&load, &seen, layout.instances);
    let replayed = replay(&service, configuration, &seen)?;
    let recorded = recorded_service_times(&load.batches, layout.instances, max_batch)?;
    let from_recorded = replay(
        &crate::plan::queueing::ServiceRange::exact(recorded, Source::Measured),
        configuration,
        &seen,
    )?;
    let latencies = load.latencies(seen.arrivals());
    let mut verification = Verification {
        taken_at: jiff::Timestamp::now().to_string(),
        model: subject.summary.name.clone(),
        target: Target::InProcess,
        fingerprint: Some(calibration.fingerprint.clone()),
        configuration: configuration.clone(),
        layout,
        own_cores,
        rate: question.rate,
        judgement: judge(Some(&predicted), Some(&replayed), &measured),
        predicted: Some(predicted),
        replayed: Some(replayed),
        from_recorded: Some(from_recorded),
        measured,
        http_overhead: None,
        objectives: question
            .objectives
            .iter()
            .map(|slo| ObjectiveCount::of(*slo, &latencies))
            .collect(),
        disturbance,
        caveats: Vec::new(),
    };
    verification.doubt(&schedule);
    finish(global, folders, &verification)
}

/// Keeps, prints and judges.
fn finish(global: &Global, folders: &Folders, verification: &Verification) -> Result<Outcome> {
    let kept = Ledger::under(&folders.data).add(&Entry::of(verification));
    output::print(
        global,
        &verification_report(verification),
        &VerifyReport {
            schema: SCHEMA,
            verification,
        },
    )?;
    kept?;
    Ok(if verification.is_good() {
        Outcome::Found
    } else {
        Outcome::NothingFits
    })
}

fn history(global: &Global, folders: &Folders) -> Result<Outcome> {
    let ledger = Ledger::under(&folders.data);
    let (entries, damaged) = ledger.entries();
    if damaged > 0 {
        output::warn(&format!(
            "{damaged} damaged lines of the ledger were passed over"
        ));
    }
    let mut spreads = Vec::new();
    let mut seen = Vec::new();
    for entry in &entries {
        let Some(fingerprint) = &entry.fingerprint else {
            continue;
        };
        if !seen.contains(fingerprint) {
            seen.push(fingerprint.clone());
            if let Some(spread) = ledger.spread(fingerprint) {
                spreads.push((entry.model.clone(), spread));
            }
        }
    }
    output::print(global, &history_report(&entries, &spreads), &entries)?;
    Ok(Outcome::Found)
}

fn read_plan(path: &Path) -> Result<PlanFile> {
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
fn chosen<'p>(plan: &'p PlanFile, row: Option<u32>) -> Result<&'p PlanOption> {
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

fn question(args: &VerifyArgs, plan: Option<&PlanFile>) -> Result<Question> {
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

/// A model of one fixed batch size cannot be batched by the replica.
fn check_batches(subject: &Subject, configuration: &ServingConfiguration) -> Result<()> {
    let wanted = configuration.effective_max_batch();
    match (subject.batch_sizes.first(), subject.summary.max_batch) {
        (Some(size), _) if *size != 1 => Err(Error::bad_input(format!(
            "the model takes batches of exactly {size}, which a server of single requests cannot form"
        ))
        .hint("export it with a free batch dimension")),
        (_, Some(most)) if wanted > most => Err(Error::bad_input(format!(
            "--max-batch: the model takes at most {most} items, not {wanted}"
        ))),
        _ => Ok(()),
    }
}

fn layout(
    configuration: &ServingConfiguration,
    device: &Device,
    bench: &Bench<'_>,
) -> SessionLayout {
    let (instances, threads) = (configuration.instances, configuration.intra_op_threads);
    SessionLayout {
        instances,
        intra_op_threads: threads,
        spinning: *device == Device::Cpu
            && sweep::spinning(instances, threads, bench.machine.usable_threads()),
    }
}

/// The calibration and its curve for this layout; what the saved one lacks is
/// measured now.
fn curve(
    args: &VerifyArgs,
    bench: &Bench<'_>,
    (named, question): (&Named, &Question),
    (device, layout): (&Device, SessionLayout),
) -> Result<(Calibration, LatencyCurve)> {
    let largest = question.configuration.effective_max_batch();
    let of = |calibration: &Calibration| -> Option<LatencyCurve> {
        LatencyCurve::from_calibration(calibration, &Source::Measured)
            .ok()?
            .into_iter()
            .find(|curve| curve.layout == layout && curve.largest_batch() >= largest)
    };
    let found = if let Some(path) = &args.calibration {
        vec![store::load(path)?]
    } else {
        let measure = MeasureArgs {
            time: args.calibrate_for,
            precision: Fraction::saturating(0.03),
            max_batch: largest.max(8),
            longest_inference: Time::saturating(2.0),
            memory_limit: None,
            fresh: false,
        };
        bench.calibrations(named, &question.model, &measure)?
    };
    let calibration = found
        .into_iter()
        .find(|calibration| calibration.device == *device)
        .ok_or_else(|| Error::bad_input(format!("--calibration: not of {device}")))?;
    if let Some(curve) = of(&calibration) {
        return Ok((calibration, curve));
    }
    if args.calibration.is_some() {
        return Err(Error::bad_input(format!(
            "--calibration: it has no rows for {layout} with batches of up to {largest}"
        )));
    }
    let single = SessionLayout {
        instances: 1,
        ..layout
    };
    let mut layouts = vec![single, layout];
    layouts.dedup();
    let options = Options {
        time: args.calibrate_for,
        max_batch: largest,
        layouts,
        longest_inference: Time::saturating(2.0),
        ..Options::default()
    };
    let fresh = bench.compare(named, &question.model, device, &options)?;
    let curve = of(&fresh).ok_or_else(|| {
        Error::machine(format!(
            "{layout} with batches of up to {largest} could not be measured"
        ))
    })?;
    Ok((fresh, curve))
}
