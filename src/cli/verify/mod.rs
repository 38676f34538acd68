//! `advisor verify`.

mod in_process;
mod over_http;
mod question;

use super::{
    Outcome, args::Global, folders::Folders, output, subject::named, verify_args::VerifyArgs,
};
use crate::{
    error::{Error, Result},
    render::{history_report, verification_report},
    verify::{Entry, Ledger, Verification},
};
use question::{question, read_plan};
use serde::Serialize;

/// The schema of the JSON.
const SCHEMA: u32 = 1;

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct VerifyReport<'v> {
    schema: u32,
    #[serde(flatten)]
    verification: &'v Verification,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    if args.history {
        return history(global, &folders);
    }
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let question = question(args, plan.as_ref())?;
    // A served model may be one that is only on the server.
    let named = if args.url.is_some() && args.model.is_none() && plan.is_none() {
        None
    } else {
        Some(named(&question.model)?)
    };
    if let (Some(plan), Some(named)) = (&plan, &named) {
        let hash = named.hash(&question.model, &folders)?;
        if hash != plan.model.hash {
            return Err(Error::bad_input(format!(
                "the plan is for `{}` with another content than `{}`",
                plan.model.name, question.model.model
            ))
            .hint("give the model that the plan was made for with `--model`"));
        }
    }
    let verification = if let Some(url) = &args.url {
        over_http::over_http(global, args, &folders, (&question, named.as_ref(), url))?
    } else {
        let named = named.ok_or_else(|| Error::bad_input("no model was given"))?;
        in_process::in_process(global, args, &folders, (&question, &named))?
    };
    finish(global, &folders, &verification)
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
