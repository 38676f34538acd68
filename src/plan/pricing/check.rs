//! What looks wrong in a book of prices that all can be read.

use super::book::PriceBook;
use super::offer::{Offer, Price, Term};
use crate::caveat::{Caveat, CaveatKind};
use crate::profile::hardware_book::HardwareBook;
use crate::units::Fraction;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// How many times a price may lie above or below the middle of comparable offers.
const ABSURD_FACTOR: f64 = 10.0;

/// Fewer comparable offers than this tell nothing about what is usual.
const FEWEST_COMPARABLE: usize = 4;

/// How far the memory of a GPU may be from its specification before it looks like
/// another GPU: a driver shows up to 7 % less than the label.
const MEMORY_TOLERANCE: f64 = 0.15;

/// What looks wrong: prices far from those of comparable machines, a commitment or
/// spot price above the on-demand price, a date to come, a GPU whose memory is not
/// that of its name. The order is that of the offers.
#[must_use]
pub fn check(book: &PriceBook, hardware: &HardwareBook, today: Date) -> Vec<Caveat> {
    let usual = usual_prices(book);
    let mut found = Vec::new();
    for offer in book.all() {
        for price in &offer.prices {
            let doubts = [
                absurd(offer, price, &usual),
                dearer_than_on_demand(offer, price),
                from_the_future(offer, price, today),
            ];
            found.extend(doubts.into_iter().flatten());
        }
        found.extend(odd_gpu_memory(offer, hardware));
    }
    found
        .into_iter()
        .map(|message| Caveat::new(CaveatKind::Price, message))
        .collect()
}

/// Offers whose price on a term is so far below that of comparable ones that it is
/// more likely a mistake than a bargain. A plan should not rest on them unseen.
#[must_use]
pub fn implausibly_cheap(book: &PriceBook, term: Term) -> Vec<&Offer> {
    let usual = usual_prices(book);
    book.all()
        .iter()
        .filter(|offer| {
            let cheap = |price: &Price| {
                let (class, units) = class_of(offer, price)?;
                let (median, count) = *usual.get(&class)?;
                let each = price.per_hour.get() / units;
                Some(count >= FEWEST_COMPARABLE && median > ABSURD_FACTOR * each)
            };
            offer.price(term).and_then(cheap).unwrap_or(false)
        })
        .collect()
}

/// What makes offers comparable: the same GPU, or the same CPU architecture without
/// one, on the same term.
type Class<'o> = (&'o str, Term);

/// The class of an offer, and how many of the priced thing (GPUs or vCPUs) it has. A
/// vCPU that may be used for a part of the time only counts for that part.
fn class_of<'o>(offer: &'o Offer, price: &Price) -> Option<(Class<'o>, f64)> {
    match &offer.gpu {
        Some(gpu) if gpu.share.is_some() => None,
        Some(gpu) => Some(((&gpu.name, price.term), f64::from(gpu.count))),
        None => {
            let baseline = offer.cpu_baseline.map_or(1.0, Fraction::get);
            let vcpus = f64::from(offer.vcpus) * baseline;
            Some(((&offer.arch, price.term), vcpus))
        }
    }
}

/// The median price per GPU or vCPU and the number of offers, by class.
fn usual_prices(book: &PriceBook) -> BTreeMap<Class<'_>, (f64, usize)> {
    let mut by_class: BTreeMap<Class<'_>, Vec<f64>> = BTreeMap::new();
    for offer in book.all() {
        for price in &offer.prices {
            if let Some((class, units)) = class_of(offer, price) {
                let each = price.per_hour.get() / units;
                by_class.entry(class).or_default().push(each);
            }
        }
    }
    by_class
        .into_iter()
        .filter_map(|(class, mut prices)| {
            prices.sort_by(f64::total_cmp);
            let median = *prices.get(prices.len() / 2)?;
            Some((class, (median, prices.len())))
        })
        .collect()
}

fn absurd(
    offer: &Offer,
    price: &Price,
    usual: &BTreeMap<Class<'_>, (f64, usize)>,
) -> Option<String> {
    let (class, units) = class_of(offer, price)?;
    let (median, count) = *usual.get(&class)?;
    if count < FEWEST_COMPARABLE {
        return None;
    }
    let each = price.per_hour.get() / units;
    let (factor, side) = if each > median {
        (each / median, "above")
    } else {
        (median / each, "below")
    };
    let unit = if offer.gpu.is_some() { "GPU" } else { "vCPU" };
    (factor > ABSURD_FACTOR).then(|| {
        format!(
            "{offer}: {} {} is {factor:.0} times {side} the usual ${median:.3} per {} {unit} and hour",
            price.per_hour, price.term, class.0
        )
    })
}

fn dearer_than_on_demand(offer: &Offer, price: &Price) -> Option<String> {
    let list = offer.price(Term::OnDemand)?;
    let cheaper = matches!(price.term, Term::Spot | Term::Reserved1y | Term::Reserved3y);
    (cheaper && price.per_hour > list.per_hour).then(|| {
        format!(
            "{offer}: {} {} is above the on-demand price of {}",
            price.per_hour, price.term, list.per_hour
        )
    })
}

fn from_the_future(offer: &Offer, price: &Price, today: Date) -> Option<String> {
    (price.as_of > today).then(|| {
        format!(
            "{offer}: the {} price is dated {}, which is still to come",
            price.term, price.as_of
        )
    })
}

fn odd_gpu_memory(offer: &Offer, hardware: &HardwareBook) -> Option<String> {
    let gpu = offer.gpu.as_ref().filter(|gpu| gpu.share.is_none())?;
    let spec = hardware.gpu(&gpu.name)?;
    let ratio = gpu.memory.get() as f64 / spec.memory_bytes.get() as f64;
    (ratio < 1.0 - MEMORY_TOLERANCE).then(|| {
        format!(
            "{offer}: {} on each {}, which has {}",
            gpu.memory, gpu.name, spec.memory_bytes
        )
    })
}
