//! Driving a replica of our own.

use super::{
    super::{
        args::{Global, MeasureArgs},
        calibrate::Bench,
        folders::Folders,
        interrupt, output,
        plan::with_ledger,
        subject::{Named, Subject},
        verify_args::{TensorsArg, VerifyArgs},
    },
    question::Question,
};
use crate::{
    error::{Error, Result},
    estimate::Source,
    measure::{
        calibrate::{Options, sweep},
        probe::load::{self, Disturbance, LoadSnapshot},
        replica::Rule,
        serve::{
            http::{self, Encoding, Payload},
            process::{Load, ReplicaProcess, Served},
        },
    },
    plan::{
        latency::LatencyCurve,
        queueing::{ServiceRange, ServiceTimes},
    },
    profile::{
        calibration::{Calibration, Device, SessionLayout},
        store,
    },
    units::{Fraction, Time},
    verify::{
        Forecast, ObjectiveCount, Observed, Schedule, Target, Verification, dispatch_delay,
        dispatch_load, explaining_factor, forecast, judge, recorded_service_times, replay,
        replay_recorded, service_range,
    },
    workload::{Arrivals, Batcher, Percentile, ServingConfiguration},
};

/// Requests in one run at most: what is written down of each stays in memory.
const MOST_REQUESTS: u32 = 400_000;

/// Requests one after the other that show what HTTP adds.
const ROUND_TRIPS: usize = 200;

/// How long they may take together.
const ROUND_TRIPS_FOR: f64 = 5.0;

/// Drives a replica of ours.
///
/// # Errors
/// Nothing could be measured or served.
pub(super) fn in_process(
    global: &Global,
    args: &VerifyArgs,
    folders: &Folders,
    (question, named): (&Question, &Named),
) -> Result<Verification> {
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
    let (calibration, curve) = curve(
        args,
        (&bench, folders),
        (named, question),
        (&device, layout),
    )?;
    let service = service_range(&curve, configuration)?;
    let schedule = Schedule::new(
        &Arrivals::Poisson,
        question.rate,
        (args.time, MOST_REQUESTS),
        args.seed,
    )?;
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
    let dispatch_delay = dispatch(&mut replica, &service.value)?;
    let service = service.with_dispatch(dispatch_delay.unwrap_or_default());
    let predicted = forecast(&service, configuration, (&Arrivals::Poisson, question.rate))?;
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
    let http_overhead = if args.http && !interrupt::requested() {
        Some(http_overhead(args, &mut replica, &subject)?)
    } else {
        None
    };
    drop(replica);
    if let Some(failure) = &load.failure {
        output::warn(&format!("an inference failed: {failure}"));
    }
    let ran = Ran {
        name: subject.summary.name,
        calibration,
        layout,
        own_cores,
        http_overhead,
        dispatch_delay,
        load,
        schedule,
        disturbance,
    };
    laid_beside(question, (&service, predicted), ran)
}

/// How long a batch that is due waits until it begins, where that counts.
fn dispatch(replica: &mut ReplicaProcess, service: &ServiceTimes) -> Result<Option<Time>> {
    let Some(schedule) = dispatch_load(service, replica.layout.instances)? else {
        return Ok(None);
    };
    let singly = Rule {
        max_batch: 1,
        window: Time::ZERO,
    };
    let load = replica.drive(schedule.arrivals(), singly, interrupt::flag())?;
    Ok(Some(dispatch_delay(&load.batches)))
}

/// A run with what is told of it.
struct Ran {
    name: String,
    calibration: Calibration,
    layout: SessionLayout,
    own_cores: bool,
    http_overhead: Option<Time>,
    dispatch_delay: Option<Time>,
    load: Load,
    schedule: Schedule,
    disturbance: Disturbance,
}

/// Lays a run beside what was predicted.
fn laid_beside(
    question: &Question,
    (service, predicted): (&ServiceRange, Forecast),
    ran: Ran,
) -> Result<Verification> {
    let configuration = &question.configuration;
    let answered: u32 = ran.load.batches.iter().map(|batch| batch.items).sum();
    if answered < 20 {
        return Err(Error::machine(format!(
            "only {answered} requests were answered before it was interrupted"
        )));
    }
    let seen = ran.schedule.first(answered as usize);
    let measured = Observed::of_replica(&ran.load, &seen, ran.layout.instances);
    let replayed = replay(service, configuration, &seen)?;
    let recorded = recorded_service_times(&ran.load.batches, &seen, configuration)?;
    let from_recorded = replay_recorded(&[(&recorded, &seen)], configuration)?;
    let p95 = measured.percentile(Percentile::P95).and_then(|p| p.value);
    let service_factor = match p95 {
        Some(p95) => explaining_factor(&service.value, configuration, &seen, p95)?,
        None => None,
    };
    let latencies = ran.load.latencies(seen.arrivals());
    let mut verification = Verification {
        taken_at: jiff::Timestamp::now().to_string(),
        model: ran.name,
        target: Target::InProcess,
        fingerprint: Some(ran.calibration.fingerprint),
        configuration: configuration.clone(),
        layout: ran.layout,
        own_cores: ran.own_cores,
        rate: question.rate,
        judgement: judge(Some(&predicted), Some(&replayed), &measured),
        predicted: Some(predicted),
        replayed: Some(replayed),
        from_recorded: Some(from_recorded),
        service_factor,
        measured,
        http_overhead: ran.http_overhead,
        dispatch_delay: ran.dispatch_delay,
        objectives: question
            .objectives
            .iter()
            .map(|slo| ObjectiveCount::of(*slo, &latencies))
            .collect(),
        disturbance: ran.disturbance,
        caveats: Vec::new(),
    };
    verification.doubt(&ran.schedule);
    Ok(verification)
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

pub(super) fn layout(
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
pub(super) fn curve(
    args: &VerifyArgs,
    (bench, folders): (&Bench<'_>, &Folders),
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
    let calibration = with_ledger(found, folders)
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

/// What HTTP and (de)serialisation add to one request: the round trip over
/// loopback less the inference in it, in the median of requests sent one after
/// the other.
fn http_overhead(
    args: &VerifyArgs,
    replica: &mut ReplicaProcess,
    subject: &Subject,
) -> Result<Time> {
    let target = http::Target::new(&replica.listen()?, "advisor", Time::saturating(60.0))?;
    let payloads = payloads(args, &subject.inputs)?;
    let begin = std::time::Instant::now();
    // The first ones open the connection and warm the session.
    let warm = http::one_by_one(&target, &payloads, 5)?;
    let each = begin.elapsed().as_secs_f64() / warm.len().max(1) as f64;
    let count = (ROUND_TRIPS_FOR / each.max(1e-6)).clamp(10.0, ROUND_TRIPS as f64) as usize;
    let mut added: Vec<Time> = http::one_by_one(&target, &payloads, count)?
        .into_iter()
        .filter_map(|trip| Some(trip.latency - trip.inference?))
        .collect();
    added.sort();
    added
        .get(added.len() / 2)
        .copied()
        .ok_or_else(|| Error::machine("the server did not say how long the inference took"))
}

/// Requests with different values, as many as take turns in a calibration where
/// they are small.
pub(super) fn payloads(
    args: &VerifyArgs,
    inputs: &[crate::model::InputSpec],
) -> Result<Vec<Payload>> {
    let encoding = match args.tensors {
        TensorsArg::Json => Encoding::Json,
        TensorsArg::Binary => Encoding::Binary,
    };
    let first = Payload::new(inputs, 0, encoding)?;
    let sets = ((64 << 20) / first.bytes.len().max(1)).clamp(2, 16) as u64;
    let mut payloads = vec![first];
    for seed in 1..sets {
        payloads.push(Payload::new(inputs, seed, encoding)?);
    }
    Ok(payloads)
}
