//! `advisor batch`.

use super::{
    Outcome,
    args::{BatchArgs, Global},
    books,
    folders::Folders,
    output, plan,
};
use crate::{
    error::{Error, Result},
    plan::{
        advise::{self, BatchPlan, BatchQuestion, Evidence},
        pricing::price_caveats,
    },
    render::{PlanContext, batch_report},
    units::Usd,
};
use serde::Serialize;

/// What `advisor batch --format json` prints.
#[derive(Debug, Serialize)]
struct BatchReport<'p> {
    schema: u32,
    #[serde(flatten)]
    plan: &'p BatchPlan,
    price_book: String,
    calibrations: Vec<String>,
    command: String,
}

pub(super) fn run(global: &Global, args: &BatchArgs) -> Result<Outcome> {
    let question = question(args)?;
    let folders = Folders::resolve(global)?;
    let hardware = books::hardware(&folders)?;
    let book = books::book(&args.offers.prices, &folders, &hardware)?;
    let (offers, passed_over) = plan::plausible(&book, &books::filter(&args.offers))?;
    let measured = plan::measured(
        global,
        &plan::MeasuredFrom {
            calibrations: &args.calibrations,
            model: &args.model,
            measure: &args.measure,
            only: None,
            always: args.recalibrate,
        },
        &folders,
    )?;
    let here_name = plan::machine_name(&measured.machine);
    let fitted = books::fitted(&folders)?;
    let elsewhere = books::profiles(&folders).of_model(&measured.calibrations);
    let evidence = Evidence {
        calibrations: &measured.calibrations,
        elsewhere: &elsewhere,
        fitted: &fitted,
        hardware: &hardware,
        here: hardware.nearest_cpu(&measured.machine),
        here_name: &here_name,
    };
    let candidates = advise::from_offers(&offers, question.term, &evidence);
    let mut answer = advise::batch(&question, &candidates, &offers, &evidence)?;
    let shown = offers.iter().copied().filter(|offer| {
        answer.options.iter().any(|option| {
            let machine = &option.machine;
            (&machine.provider, &machine.instance_type, &machine.region)
                == (&offer.provider, &offer.instance_type, &offer.region)
        })
    });
    let ages = price_caveats(shown, question.term, super::prices::today());
    answer.caveats.extend(ages);
    answer.caveats.extend(passed_over);
    let command = plan::command_line();
    let context = PlanContext {
        measured_on: here_name.clone(),
        measured_with: plan::measured_with(&measured.calibrations),
        prices: Some(format!("price book {}", book.hash())),
        command: command.clone(),
    };
    let report = BatchReport {
        schema: 1,
        plan: &answer,
        price_book: book.hash().full(),
        calibrations: measured
            .calibrations
            .iter()
            .map(|c| c.fingerprint.short())
            .collect(),
        command,
    };
    output::print(global, &batch_report(&answer, &context), &report)?;
    Ok(if answer.recommended.is_some() {
        Outcome::Found
    } else {
        Outcome::NothingFits
    })
}

fn question(args: &BatchArgs) -> Result<BatchQuestion> {
    if args.budget.is_some_and(Usd::is_zero) {
        return Err(Error::bad_input("--budget: nothing can be had for $0")
            .hint("leave `--budget` out to see what it would cost"));
    }
    Ok(BatchQuestion {
        items: args.items,
        deadline: args.deadline,
        budget: args.budget,
        term: books::term(args.offers.term),
        start_up: args.start_up,
        checkpoint: args.checkpoint,
        most_machines: args.max_machines,
        top: args.top as usize,
    })
}
