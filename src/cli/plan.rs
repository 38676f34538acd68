//! `advisor plan`.

use super::{
    Outcome,
    args::{BalancerArg, Global, Kind as KindArg, MeasureArgs, ModelArgs, PlanArgs},
    books,
    calibrate::Bench,
    energy,
    folders::Folders,
    output,
    price_args::DiffArgs,
    subject::named,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    plan::{
        advise::{
            self, Accept, Candidates, DemandPlan, Evidence, Following, MixedFleet, Plan, Question,
            WhatIf,
        },
        energy::Consumption,
        pricing::{
            Offer, OfferFilter, OfferKind, PriceBook, Term, implausibly_cheap, price_caveats,
        },
        transfer::Fitted,
    },
    profile::{
        calibration::Calibration, hardware_book::HardwareBook, machine::Machine,
        microarchitecture::microarchitecture, store,
    },
    render::{PlanContext, demand_blocks, energy_blocks, fleet_blocks, plan_report, stakes_blocks},
    units::{Rate, UsdPerHour},
    verify::Ledger,
    workload::{Balancer, Demand, Percentile, Slo, Slos},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The schema of the JSON; `schema/plan.json` describes it.
const SCHEMA: u32 = 1;

/// What `advisor plan --format json` prints.
#[derive(Debug, Serialize)]
struct PlanReport<'p> {
    schema: u32,
    #[serde(flatten)]
    plan: &'p Plan,
    /// Plans with assumptions varied, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what_if: &'p Vec<WhatIf>,
    /// Demand over time, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    demand: Option<&'p DemandPlan>,
    /// Machines of different types that share the load, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed_fleet: Option<&'p MixedFleet>,
    /// What the options draw and emit, in their order; null where parts are unknown.
    energy: &'p [Option<Consumption>],
    /// Hash of the price book; none for a plan for this machine alone.
    price_book: Option<String>,
    /// Fingerprints of the calibrations that the plan rests on.
    calibrations: Vec<String>,
    command: String,
}

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Outcome> {
    let question = question(args)?;
    let folders = Folders::resolve(global)?;
    let demand = args
        .demand
        .as_deref()
        .map(|path| demand(path, args.qps))
        .transpose()?;
    // Bad price tables are bad input: found before minutes of measuring.
    let hardware = books::hardware(&folders)?;
    let book = books::book(&args.prices, &folders, &hardware)?;
    let (offers, passed_over) = offers(args, &question, &book)?;

    let from = MeasuredFrom {
        calibrations: &args.calibrations,
        model: &args.model,
        measure: &args.measure,
        only: if args.here { args.only } else { None },
        always: args.recalibrate,
    };
    let mut measured = measured(global, &from, &folders)?;
    measured.calibrations = with_ledger(measured.calibrations, &folders);
    let calibrations = &measured.calibrations;
    let here_name = machine_name(&measured.machine);
    let fitted = books::fitted(&folders)?;
    let elsewhere = books::profiles(&folders).of_model(calibrations);
    let evidence = Evidence {
        calibrations,
        elsewhere: &elsewhere,
        fitted: &fitted,
        hardware: &hardware,
        here: hardware.nearest_cpu(&measured.machine),
        here_name: &here_name,
    };
    let candidates = if args.here {
        Candidates {
            list: advise::here(&evidence, args.price),
            caveats: Vec::new(),
        }
    } else {
        advise::from_offers(&offers, question.term, &evidence)
    };
    let mut plan = advise::advise(&question, &candidates, &evidence)?;
    if !args.here {
        plan.caveats.extend(shown_price_caveats(&plan, &book));
    }
    plan.caveats.extend(passed_over);
    let extras = extras(
        (args, demand.as_ref()),
        (&plan, &candidates, &evidence),
        (&book, &measured),
    )?;
    let command = command_line();
    let context = PlanContext {
        measured_on: here_name.clone(),
        measured_with: measured_with(calibrations),
        prices: (!args.here).then(|| format!("price book {}", book.hash())),
        command: command.clone(),
    };
    let report = PlanReport {
        schema: SCHEMA,
        plan: &plan,
        what_if: &extras.what_if,
        demand: extras.followed.as_ref(),
        mixed_fleet: extras.mixed.as_ref(),
        energy: &extras.energy,
        price_book: (!args.here).then(|| book.hash().full()),
        calibrations: calibrations.iter().map(|c| c.fingerprint.short()).collect(),
        command,
    };
    let mut text = plan_report(&plan, &context);
    stakes_blocks(&mut text, &plan, &extras.what_if);
    if args.energy {
        energy_blocks(&mut text, &plan, &extras.energy);
    }
    if let Some(mixed) = &extras.mixed {
        fleet_blocks(&mut text, mixed);
    }
    if let Some(followed) = &extras.followed {
        demand_blocks(&mut text, followed);
    }
    output::print(global, &text, &report)?;
    Ok(if plan.recommended.is_some() {
        Outcome::Found
    } else {
        Outcome::NothingFits
    })
}

/// What was asked for beside the plan itself.
struct Extras {
    what_if: Vec<WhatIf>,
    mixed: Option<MixedFleet>,
    followed: Option<DemandPlan>,
    energy: Vec<Option<Consumption>>,
}

fn extras(
    (args, demand): (&PlanArgs, Option<&Demand>),
    (plan, candidates, evidence): (&Plan, &Candidates, &Evidence<'_>),
    (book, measured): (&PriceBook, &Measured),
) -> Result<Extras> {
    let what_if = if args.what_if {
        advise::what_if(plan, candidates, evidence)?
    } else {
        Vec::new()
    };
    let mixed = if args.mixed {
        advise::mixed_fleet(&plan.question, candidates, evidence)?
    } else {
        None
    };
    let followed = demand
        .filter(|_| plan.recommended.is_some())
        .map(|demand| follow(args, demand, (plan, candidates)))
        .transpose()?;
    let energy = energy::of_plan(
        plan,
        energy::Known {
            hardware: evidence.hardware,
            book,
            here: (&measured.machine, evidence.here),
            calibrations: evidence.calibrations,
            grid: args.grid_intensity,
        },
    )?;
    Ok(Extras {
        what_if,
        mixed,
        followed,
        energy,
    })
}

/// The offers that were asked for; none for a plan for this machine alone.
fn offers<'b>(
    args: &PlanArgs,
    question: &Question,
    book: &'b PriceBook,
) -> Result<(Vec<&'b Offer>, Option<Caveat>)> {
    if args.here {
        return Ok((Vec::new(), None));
    }
    let filter = OfferFilter {
        providers: args.providers.clone(),
        regions: args.regions.clone(),
        term: question.term,
        kind: args.only.map(|kind| match kind {
            KindArg::Cpu => OfferKind::Cpu,
            KindArg::Gpu => OfferKind::Gpu,
        }),
    };
    plausible(book, &filter)
}

/// The offers that a filter lets through, without those whose price must be a
/// mistake, and a word on these.
///
/// # Errors
/// Nothing passes the filter.
pub(super) fn plausible<'b>(
    book: &'b PriceBook,
    filter: &OfferFilter,
) -> Result<(Vec<&'b Offer>, Option<Caveat>)> {
    let doubtful = implausibly_cheap(book, filter.term);
    let (dropped, offers): (Vec<&Offer>, Vec<&Offer>) = book
        .offers(filter)?
        .into_iter()
        .partition(|offer| doubtful.contains(offer));
    let names: Vec<String> = dropped.iter().map(ToString::to_string).collect();
    let caveat = (!names.is_empty()).then(|| {
        Caveat::new(
            CaveatKind::Price,
            format!(
                "{} passed over: priced more than 10 times below comparable machines, more likely a mistake than a bargain",
                names.join(", ")
            ),
        )
    });
    Ok((offers, caveat))
}

/// The calibrations to plan from and the machine that they were made on.
pub(super) struct Measured {
    pub calibrations: Vec<Calibration>,
    pub machine: Machine,
}

/// What measurements to plan from.
pub(super) struct MeasuredFrom<'m> {
    /// Files; measured or looked up where there are none.
    pub calibrations: &'m [PathBuf],
    pub model: &'m ModelArgs,
    pub measure: &'m MeasureArgs,
    pub only: Option<KindArg>,
    /// Measure even where a saved calibration fits.
    pub always: bool,
}

/// Calibrations with their intervals widened by what verifications on this very
/// machine have shown.
pub(super) fn with_ledger(calibrations: Vec<Calibration>, folders: &Folders) -> Vec<Calibration> {
    let ledger = Ledger::under(&folders.data);
    calibrations
        .into_iter()
        .map(
            |calibration| match ledger.spread(&calibration.fingerprint) {
                Some(spread) => spread.widen(calibration),
                None => calibration,
            },
        )
        .collect()
}

/// Calibrations from the files named, else saved ones of this machine, else new ones.
///
/// # Errors
/// A file cannot be read, or nothing can be measured.
pub(super) fn measured(
    global: &Global,
    from: &MeasuredFrom<'_>,
    folders: &Folders,
) -> Result<Measured> {
    if from.calibrations.is_empty() {
        let named = named(from.model)?;
        let mut bench = Bench::new(global, folders, from.only)?;
        bench.always_measure = from.always;
        let calibrations = bench.calibrations(&named, from.model, from.measure)?;
        return Ok(Measured {
            calibrations,
            machine: bench.machine,
        });
    }
    saved(from.calibrations)
}

/// The calibrations in these files, which must be of one model.
fn saved(paths: &[PathBuf]) -> Result<Measured> {
    let calibrations = paths
        .iter()
        .map(|path| store::load(path))
        .collect::<Result<Vec<_>>>()?;
    let first = calibrations
        .first()
        .ok_or_else(|| Error::bad_input("no calibration was given"))?;
    for other in &calibrations {
        if other.model.hash != first.model.hash {
            return Err(Error::bad_input(format!(
                "--calibration: one file is of {}, another of {}",
                first.model.name, other.model.name
            ))
            .hint("give calibrations of one model, one per device"));
        }
    }
    let machine = first.machine.clone();
    Ok(Measured {
        calibrations,
        machine,
    })
}

/// The plan for a comparison of books: from saved calibrations alone.
///
/// # Errors
/// A calibration cannot be read, or nothing in the book can be planned for.
pub(super) fn from_calibrations(
    args: &DiffArgs,
    rate: Rate,
    (book, hardware): (&PriceBook, &HardwareBook),
) -> Result<Plan> {
    let measured = saved(&args.calibrations)?;
    let question = Question {
        rate,
        slos: Slos::new(vec![Slo {
            percentile: Percentile::P95,
            latency: args.p95,
        }])?,
        budget: None,
        term: books::term(args.term),
        balancer: Balancer::Random,
        top: 6,
        accept: Accept::Unproven,
    };
    let filter = OfferFilter {
        providers: Vec::new(),
        regions: Vec::new(),
        term: question.term,
        kind: None,
    };
    let (offers, _) = plausible(book, &filter)?;
    let here_name = machine_name(&measured.machine);
    let fitted = Fitted::shipped()?;
    let evidence = Evidence {
        calibrations: &measured.calibrations,
        elsewhere: &[],
        fitted: &fitted,
        hardware,
        here: hardware.nearest_cpu(&measured.machine),
        here_name: &here_name,
    };
    let candidates = advise::from_offers(&offers, question.term, &evidence);
    advise::advise(&question, &candidates, &evidence)
}

fn follow(
    args: &PlanArgs,
    demand: &Demand,
    (plan, candidates): (&Plan, &Candidates),
) -> Result<DemandPlan> {
    let following = Following {
        cold_start: args.cold_start,
        headroom: args.headroom,
    };
    advise::demand_plan(plan, candidates, demand, following)
}

/// The demand in a file, its peak at `peak`.
fn demand(path: &Path, peak: Rate) -> Result<Demand> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::bad_input(format!("cannot read `{}`: {error}", path.display())))?;
    Demand::parse(&text)
        .and_then(|demand| demand.with_peak(peak))
        .map_err(|error| error.context(path.display()))
}

fn question(args: &PlanArgs) -> Result<Question> {
    if args.qps.is_zero() {
        return Err(Error::bad_input("--qps: a rate of 0 needs no machine")
            .hint("give the request rate to plan for, as in `--qps 40`"));
    }
    let asked = [
        ("--p50", Percentile::P50, args.p50),
        ("--p90", Percentile::P90, args.p90),
        ("--p95", Percentile::P95, args.p95),
        ("--p99", Percentile::P99, args.p99),
    ];
    let mut slos = Vec::new();
    for (option, percentile, latency) in asked {
        let Some(latency) = latency else { continue };
        if latency.is_zero() {
            return Err(
                Error::bad_input(format!("{option}: a latency of 0 cannot be held"))
                    .hint(format!("give a latency, as in `{option} 120ms`")),
            );
        }
        slos.push(Slo {
            percentile,
            latency,
        });
    }
    if slos.is_empty() {
        return Err(Error::bad_input("no latency objective was given")
            .hint("give at least one of --p50, --p90, --p95 and --p99, as in `--p95 120ms`"));
    }
    if args.budget.is_some_and(UsdPerHour::is_zero) {
        return Err(Error::bad_input("--budget: nothing can be had for $0")
            .hint("leave `--budget` out to see what it would cost"));
    }
    Ok(Question {
        rate: args.qps,
        slos: Slos::new(slos)?,
        budget: args.budget,
        term: if args.here {
            Term::Owned
        } else {
            books::term(args.term)
        },
        balancer: match args.balancer {
            BalancerArg::Random => Balancer::Random,
            BalancerArg::RoundRobin => Balancer::RoundRobin,
            BalancerArg::LeastOutstanding => Balancer::LeastOutstanding,
        },
        top: args.top as usize,
        accept: if args.strict {
            Accept::Meets
        } else {
            Accept::Unproven
        },
    })
}

/// `AMD EPYC, AMD EPYC Turin (Zen5), 2 threads`.
pub(super) fn machine_name(machine: &Machine) -> String {
    let mut name = machine
        .cpu
        .model
        .known()
        .cloned()
        .unwrap_or_else(|| "this machine".to_owned());
    if let Some(design) = microarchitecture(&machine.cpu) {
        name.push_str(&format!(" ({design})"));
    }
    format!("{name}, {} threads", machine.usable_threads())
}

/// The price doubts of the machines in the table, not of the whole book.
fn shown_price_caveats(plan: &Plan, book: &PriceBook) -> Vec<Caveat> {
    let shown: Vec<_> = book
        .all()
        .iter()
        .filter(|offer| {
            plan.options.iter().any(|option| {
                let machine = &option.machine;
                (&machine.provider, &machine.instance_type, &machine.region)
                    == (&offer.provider, &offer.instance_type, &offer.region)
            })
        })
        .collect();
    price_caveats(shown, plan.question.term, jiff::Zoned::now().date())
}

pub(super) fn measured_with(calibrations: &[Calibration]) -> String {
    calibrations
        .iter()
        .map(|c| {
            let day = c.taken_at.get(..10).unwrap_or(&c.taken_at);
            format!(
                "ONNX Runtime {} ({}) on {day}, fingerprint {}",
                c.fingerprint.runtime,
                c.device,
                c.fingerprint.short()
            )
        })
        .collect::<Vec<_>>()
        .join("; ")
}

/// The command that makes this plan again: as typed, without what only changes
/// how it is printed or whether it is measured again.
pub(super) fn command_line() -> String {
    let mut words = vec!["advisor".to_owned()];
    let mut typed = std::env::args().skip(1);
    while let Some(word) = typed.next() {
        match word.as_str() {
            "--recalibrate" | "--quiet" | "-q" => {}
            "--format" | "--data-dir" => {
                typed.next();
            }
            _ if word.starts_with("--format=") || word.starts_with("--data-dir=") => {}
            _ if word.contains([' ', '\'', '"', '$', '*', '<', '>', '|']) => {
                words.push(format!("'{}'", word.replace('\'', "'\\''")));
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}
