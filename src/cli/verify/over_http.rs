//! Driving a running server.

use super::{
    super::{
        args::Global, calibrate::Bench, folders::Folders, interrupt, output, subject::Named,
        verify_args::VerifyArgs,
    },
    in_process::{curve, layout, payloads},
    question::Question,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    estimate::Estimate,
    measure::{
        probe::load::{self, Disturbance, LoadSnapshot},
        serve::http::{self, HttpLoad, Payload},
    },
    model::InputSpec,
    plan::{latency::LatencyCurve, queueing::ServiceRange},
    profile::calibration::{Device, Fingerprint, SessionLayout},
    units::Time,
    verify::{
        Forecast, ObjectiveCount, Observed, Schedule, Target, Verification, forecast, judge,
        replay, service_range,
    },
    workload::{Arrivals, Batcher, ServingConfiguration},
};

/// Requests in one run at most.
const MOST_REQUESTS: u32 = 200_000;

/// Requests one after the other that show what the server adds to an inference.
const ROUND_TRIPS: usize = 40;

/// What the prediction for a server rests on.
struct Basis {
    curve: LatencyCurve,
    service: ServiceRange,
    fingerprint: Fingerprint,
    layout: SessionLayout,
}

/// Drives a server and lays what came beside the prediction, where there is a
/// model here to predict from.
///
/// # Errors
/// The server does not answer, or does not serve the model.
pub(super) fn over_http(
    global: &Global,
    args: &VerifyArgs,
    folders: &Folders,
    (question, named, url): (&Question, Option<&Named>, &str),
) -> Result<Verification> {
    let name = args
        .server_model
        .clone()
        .or_else(|| named.map(Named::name))
        .ok_or_else(|| {
            Error::bad_input("no model was given")
                .hint("give its name on the server with `--server-model NAME`")
        })?;
    let target = http::Target::new(url, &name, args.timeout)?;
    let metadata = http::metadata(&target)?;
    let (basis, inputs) = match named {
        Some(named) => {
            let subject = named.prepare(global, &question.model, folders)?;
            let basis = wanted(args)
                .then(|| basis(global, args, folders, (question, named)))
                .transpose()?;
            (basis, as_served(subject.inputs, &metadata)?)
        }
        None => (None, metadata.input_specs()?),
    };
    let payloads = payloads(args, &inputs)?;
    let overhead = basis
        .as_ref()
        .map(|basis| overhead(&target, &payloads, (basis, &question.configuration)))
        .transpose()?;
    let schedule = Schedule::new(
        &Arrivals::Poisson,
        question.rate,
        (args.time, MOST_REQUESTS),
        args.seed,
    )?;
    output::note(
        global,
        &format!(
            "Driving {name} at {url} with {} for {} …",
            question.rate,
            schedule.arrivals().last().copied().unwrap_or_default()
        ),
    );
    let before = LoadSnapshot::take();
    let load = http::drive(&target, &payloads, schedule.arrivals(), interrupt::flag());
    let disturbance = load::between(&before, &LoadSnapshot::take());
    if load.latencies.len() < 20 {
        return Err(Error::machine(format!(
            "only {} requests were sent before it was interrupted",
            load.latencies.len()
        )));
    }
    let ran = Ran {
        name,
        url,
        load,
        schedule,
        disturbance,
        overhead,
        basis,
    };
    laid_beside(question, ran)
}

/// A run with what is told of it.
struct Ran<'r> {
    name: String,
    url: &'r str,
    load: HttpLoad,
    schedule: Schedule,
    disturbance: Disturbance,
    overhead: Option<Time>,
    basis: Option<Basis>,
}

/// Lays a run beside what was predicted.
fn laid_beside(question: &Question, ran: Ran<'_>) -> Result<Verification> {
    let (load, schedule, overhead) = (&ran.load, &ran.schedule, ran.overhead);
    let seen = schedule.first(load.latencies.len());
    let measured = Observed::of_latencies(&load.latencies, &seen, load.late.clone());
    let configuration = &question.configuration;
    let basis = match (ran.basis, overhead) {
        (Some(basis), Some(overhead)) if serial(configuration) => {
            Some(basis.with_overhead(overhead, configuration)?)
        }
        (basis, _) => basis,
    };
    let beside = if serial(configuration) {
        Time::ZERO
    } else {
        overhead.unwrap_or_default()
    };
    let shifted = |forecast: Forecast| shifted(forecast, beside);
    let (predicted, replayed) = match &basis {
        Some(basis) => (
            Some(shifted(forecast(
                &basis.service,
                configuration,
                (&Arrivals::Poisson, question.rate),
            )?)),
            Some(shifted(replay(&basis.service, configuration, &seen)?)),
        ),
        None => (None, None),
    };
    let mut verification = Verification {
        taken_at: jiff::Timestamp::now().to_string(),
        model: ran.name,
        target: Target::Url {
            url: ran.url.to_owned(),
        },
        fingerprint: basis.as_ref().map(|basis| basis.fingerprint.clone()),
        configuration: configuration.clone(),
        layout: basis.as_ref().map_or(
            SessionLayout {
                instances: configuration.instances,
                intra_op_threads: configuration.intra_op_threads,
                spinning: false,
            },
            |basis| basis.layout,
        ),
        own_cores: false,
        rate: question.rate,
        judgement: judge(predicted.as_ref(), replayed.as_ref(), &measured),
        predicted,
        replayed,
        from_recorded: None,
        service_factor: None,
        http_overhead: overhead,
        dispatch_delay: None,
        objectives: question
            .objectives
            .iter()
            .map(|slo| ObjectiveCount::of(*slo, &load.latencies))
            .collect(),
        measured,
        disturbance: ran.disturbance,
        caveats: failures(load),
    };
    verification.doubt(schedule);
    Ok(verification)
}

/// Whether a server decodes, infers and encodes on one thread, so that what it
/// adds to a request keeps its instance busy: `MLServer` with `parallel_workers`
/// 0, whose runtimes are Python on one event loop. Others do it beside.
fn serial(configuration: &ServingConfiguration) -> bool {
    configuration.batcher == Batcher::MlServerInProcess
}

impl Basis {
    /// The same with the overhead of each request in the service time of its batch:
    /// the first is read before the batch window begins, further ones while it lasts
    /// as far as they fit in. That what a further one costs could all be done then is
    /// an assumption: reading can, answering cannot, and only their sum is seen.
    fn with_overhead(
        mut self,
        overhead: Time,
        configuration: &ServingConfiguration,
    ) -> Result<Self> {
        for point in &mut self.curve.points {
            let further = overhead.scaled(f64::from(point.batch_size.saturating_sub(1)));
            let more = overhead + further - further.min(configuration.batch_window);
            point.busy = point.busy.map(|time| time + more);
            point.alone = point.alone + more;
        }
        self.service = service_range(&self.curve, configuration)?;
        Ok(self)
    }
}

/// Whether a prediction was asked for: it needs to know how the server is set up.
fn wanted(args: &VerifyArgs) -> bool {
    args.plan.is_some()
        || args.instances.is_some()
        || args.threads.is_some()
        || args.max_batch.is_some()
        || args.calibration.is_some()
}

fn basis(
    global: &Global,
    args: &VerifyArgs,
    folders: &Folders,
    (question, named): (&Question, &Named),
) -> Result<Basis> {
    folders.check_writable()?;
    let mut bench = Bench::new(global, folders, Some(args.only))?;
    bench.always_measure = args.recalibrate;
    let device = bench.devices().first().cloned().unwrap_or(Device::Cpu);
    let layout = layout(&question.configuration, &device, &bench);
    let (calibration, curve) = curve(
        args,
        (&bench, folders),
        (named, question),
        (&device, layout),
    )?;
    Ok(Basis {
        service: service_range(&curve, &question.configuration)?,
        curve,
        fingerprint: calibration.fingerprint,
        layout,
    })
}

/// The inputs that the server takes, with the values that suit the model here.
fn as_served(inputs: Vec<InputSpec>, metadata: &http::ModelMetadata) -> Result<Vec<InputSpec>> {
    if metadata.inputs.is_empty() {
        // A server may leave them out; the model here knows.
        return Ok(inputs);
    }
    for input in &inputs {
        if !metadata
            .inputs
            .iter()
            .any(|tensor| tensor.name == input.name)
        {
            let names: Vec<&str> = metadata.inputs.iter().map(|t| t.name.as_str()).collect();
            return Err(Error::bad_input(format!(
                "the served model takes {}, the model here {}: it is another one",
                names.join(", "),
                input.name
            ))
            .hint("give the same model with `--model FILE`, or only `--server-model NAME`"));
        }
    }
    Ok(inputs)
}

/// What the server adds to an inference: the median latency of requests with
/// nothing else under way, less the mean service time of one item and the batch
/// window, for which a lone request waits in vain.
fn overhead(
    target: &http::Target,
    payloads: &[Payload],
    (basis, configuration): (&Basis, &ServingConfiguration),
) -> Result<Time> {
    http::one_by_one(target, payloads, 5)?;
    let mut trips: Vec<Time> = http::one_by_one(target, payloads, ROUND_TRIPS)?
        .into_iter()
        .map(|trip| trip.latency)
        .collect();
    trips.sort();
    let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
    let window = if configuration.effective_max_batch() > 1 {
        configuration.batch_window
    } else {
        Time::ZERO
    };
    Ok(median - basis.service.value.mean(1, 1).unwrap_or_default() - window)
}

/// The forecast with the overhead on top of every latency.
fn shifted(mut forecast: Forecast, overhead: Time) -> Forecast {
    for span in &mut forecast.percentiles {
        span.latency = span
            .latency
            .as_ref()
            .map(|latency: &Estimate<Time>| latency.map(|time| time + overhead));
    }
    forecast
}

/// What went wrong, by kind, most often first.
fn failures(load: &HttpLoad) -> Vec<Caveat> {
    let mut kinds: Vec<(&String, &u64)> = load.errors.iter().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), *kind));
    kinds
        .into_iter()
        .take(5)
        .map(|(kind, count)| {
            Caveat::new(
                CaveatKind::Incomplete,
                format!(
                    "{count} of {} requests got no answer: {kind}",
                    load.latencies.len()
                ),
            )
        })
        .collect()
}
