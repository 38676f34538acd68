//! `advisor prices list`, `show`, `check`, `diff` and `save`.

use super::{
    Outcome,
    args::Global,
    books::{self, Texts},
    folders::{Folders, shown},
    output, plan,
    price_args::{CheckArgs, DiffArgs, ListArgs, PricesCommand, ShowArgs},
    prices_import,
};
use crate::{
    caveat::Caveat,
    error::{Error, Result, nearest},
    plan::{
        advise::Plan,
        pricing::{Change, Offer, PriceBook, Term, check as doubts, difference, price_caveats},
    },
    profile::hardware_book::HardwareBook,
    render::{Report, difference_report, offers_report, one_machine_report},
};
use jiff::civil::Date;
use serde::Serialize;

pub(super) fn run(global: &Global, command: &PricesCommand) -> Result<Outcome> {
    let folders = Folders::resolve(global)?;
    let hardware = books::hardware(&folders)?;
    match command {
        PricesCommand::List(args) => list(global, args, &folders, &hardware),
        PricesCommand::Show(args) => show(global, args, &folders, &hardware),
        PricesCommand::Check(args) => check(global, args, &folders, &hardware),
        PricesCommand::Diff(args) => diff(global, args, &folders, &hardware),
        PricesCommand::Import(args) => prices_import::run(global, args, &folders, &hardware),
        PricesCommand::Save => save(global, &folders),
    }
}

/// The day of today, here.
pub(super) fn today() -> Date {
    jiff::Zoned::now().date()
}

/// Offers, as JSON has them.
#[derive(Serialize)]
struct Listed<'o> {
    schema: u32,
    price_book: String,
    offers: Vec<&'o Offer>,
    caveats: Vec<Caveat>,
}

fn list(
    global: &Global,
    args: &ListArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<Outcome> {
    let book = books::book(&args.offers.prices, folders, hardware)?;
    let term = books::term(args.offers.term);
    let mut offers = book.offers(&books::filter(&args.offers))?;
    offers.sort_by_key(|offer| offer.price(term).map(|price| price.per_hour));
    let caveats = price_caveats(offers.iter().copied(), term, today());
    let report = offers_report(
        &offers,
        term,
        args.top,
        (&book.hash().to_string(), &caveats),
    );
    let value = Listed {
        schema: 1,
        price_book: book.hash().full(),
        offers,
        caveats,
    };
    output::print(global, &report, &value)?;
    Ok(Outcome::Found)
}

fn show(
    global: &Global,
    args: &ShowArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<Outcome> {
    let book = books::book(&args.prices, folders, hardware)?;
    let of_provider = |offer: &&Offer| args.provider.as_ref().is_none_or(|p| *p == offer.provider);
    let offers: Vec<&Offer> = book
        .all()
        .iter()
        .filter(of_provider)
        .filter(|offer| offer.instance_type == args.instance_type)
        .collect();
    if offers.is_empty() {
        let error = Error::bad_input(format!(
            "no machine type is called `{}`",
            args.instance_type
        ));
        let mut names: Vec<&str> = book
            .all()
            .iter()
            .filter(of_provider)
            .map(|o| o.instance_type.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        let like = nearest(&args.instance_type, names);
        return Err(if like.is_empty() {
            error.hint("`advisor prices list` shows what there is")
        } else {
            error.hint(format!("did you mean `{}`?", like.join("` or `")))
        });
    }
    let caveats: Vec<Caveat> = Term::ALL
        .into_iter()
        .flat_map(|term| price_caveats(offers.iter().copied(), term, today()))
        .collect();
    let report = one_machine_report(&offers, today(), &caveats);
    let value = Listed {
        schema: 1,
        price_book: book.hash().full(),
        offers,
        caveats,
    };
    output::print(global, &report, &value)?;
    Ok(Outcome::Found)
}

/// What a check found, as JSON has it.
#[derive(Serialize)]
struct Checked {
    schema: u32,
    price_book: String,
    offers: usize,
    doubts: Vec<Caveat>,
    age: Vec<Caveat>,
}

fn check(
    global: &Global,
    args: &CheckArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<Outcome> {
    let book = if args.files.is_empty() {
        books::current(folders, hardware)?
    } else {
        let texts = Texts::files(&args.files)?;
        PriceBook::load(&texts.texts(), hardware)?
    };
    let found = doubts(&book, hardware, today());
    let age: Vec<Caveat> = Term::ALL
        .into_iter()
        .flat_map(|term| price_caveats(book.all(), term, today()))
        .collect();
    let mut report = Report::default();
    let (offers, providers) = (book.all().len(), book.providers().len());
    report.answer(match found.len() {
        0 => format!("All {offers} offers of {providers} providers can be used."),
        n => {
            format!(
                "{offers} offers of {providers} providers can be read; {n} prices are doubtful."
            )
        }
    });
    report.facts([("price book", book.hash().to_string())]);
    report.list("Doubtful", found.iter().map(ToString::to_string).collect());
    report.list(
        "Age and origin",
        age.iter().map(|caveat| caveat.message.clone()).collect(),
    );
    let value = Checked {
        schema: 1,
        price_book: book.hash().full(),
        offers,
        doubts: found,
        age,
    };
    output::print(global, &report, &value)?;
    // A doubt is for the reader; a price that cannot be used has been refused.
    Ok(Outcome::Found)
}

/// What changed, as JSON has it.
#[derive(Serialize)]
struct Difference<'d> {
    schema: u32,
    old_book: String,
    new_book: String,
    changes: &'d [Change],
    old_plan: Option<&'d Plan>,
    new_plan: Option<&'d Plan>,
}

fn diff(
    global: &Global,
    args: &DiffArgs,
    folders: &Folders,
    hardware: &HardwareBook,
) -> Result<Outcome> {
    let old = books::named(&args.old, folders, hardware)?;
    let new = books::named(&args.new, folders, hardware)?;
    let changes = difference(&old, &new);
    let plans = match args.qps {
        Some(rate) => Some((
            plan::from_calibrations(args, rate, (&old, hardware))?,
            plan::from_calibrations(args, rate, (&new, hardware))?,
        )),
        None => None,
    };
    let (a, b) = (old.hash(), new.hash());
    let both = plans.as_ref().map(|(old, new)| (old, new));
    let report = difference_report(&changes, args.top, (&a.to_string(), &b.to_string()), both);
    let value = Difference {
        schema: 1,
        old_book: a.full(),
        new_book: b.full(),
        changes: &changes,
        old_plan: plans.as_ref().map(|(old, _)| old),
        new_plan: plans.as_ref().map(|(_, new)| new),
    };
    output::print(global, &report, &value)?;
    Ok(Outcome::Found)
}

fn save(global: &Global, folders: &Folders) -> Result<Outcome> {
    let place = books::save(folders, today())?;
    let mut report = Report::default();
    report.answer(format!("The price book is kept in {}.", shown(&place)));
    report.paragraph(format!("`--prices-as-of {}` plans with it.", today()));
    output::print(
        global,
        &report,
        &serde_json::json!({ "schema": 1, "folder": place }),
    )?;
    Ok(Outcome::Found)
}
