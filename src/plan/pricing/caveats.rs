//! What to doubt about the prices that a plan rests on.

use super::offer::{Offer, Price, Term};
use crate::caveat::{Caveat, CaveatKind};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// A price older than this many days is mentioned.
pub const AGE_CAVEAT_DAYS: i32 = 30;

/// A price older than this many days should not decide anything unseen.
pub const AGE_LOUD_DAYS: i32 = 180;

impl Price {
    /// Whole days from the date of the price to `today`; negative for a date to come.
    #[must_use]
    pub fn age_days(&self, today: Date) -> i32 {
        self.as_of.until(today).map_or(0, |span| span.get_days())
    }
}

/// The doubts about the prices of these offers on a term: their age, and whether they
/// were read or estimated. One of each kind per provider, for its worst price.
#[must_use]
pub fn price_caveats<'o>(
    offers: impl IntoIterator<Item = &'o Offer>,
    term: Term,
    today: Date,
) -> Vec<Caveat> {
    let mut by_provider: BTreeMap<&str, Vec<(&Offer, &Price)>> = BTreeMap::new();
    for offer in offers {
        if let Some(price) = offer.price(term) {
            by_provider
                .entry(&offer.provider)
                .or_default()
                .push((offer, price));
        }
    }
    by_provider
        .into_iter()
        .flat_map(|(provider, prices)| {
            let age = age_caveat(provider, &prices, term, today);
            age.into_iter()
                .chain(estimate_caveat(provider, &prices, term))
        })
        .collect()
}

fn age_caveat(
    provider: &str,
    prices: &[(&Offer, &Price)],
    term: Term,
    today: Date,
) -> Option<Caveat> {
    let (offer, oldest) = prices.iter().min_by_key(|(_, price)| price.as_of)?;
    let days = oldest.age_days(today);
    if days <= AGE_CAVEAT_DAYS {
        return None;
    }
    let all_alike = prices.iter().all(|(_, price)| price.as_of == oldest.as_of);
    let which = if prices.len() > 1 && !all_alike {
        format!("the oldest {term} price of {provider} here ({offer})")
    } else {
        format!("the {term} price of {offer}")
    };
    let message = if days > AGE_LOUD_DAYS {
        format!(
            "OLD PRICE: {which} is {days} days old ({}): it may well have changed since",
            oldest.as_of
        )
    } else {
        format!("{which} is {days} days old ({})", oldest.as_of)
    };
    let hint = "look the price up before you decide, and put it in a price file of your own";
    Some(Caveat::new(CaveatKind::Price, message).hint(hint))
}

fn estimate_caveat(provider: &str, prices: &[(&Offer, &Price)], term: Term) -> Option<Caveat> {
    let mut estimated = prices.iter().filter(|(_, price)| price.estimated);
    let (offer, price) = estimated.next()?;
    let count = 1 + estimated.count();
    let how = price
        .basis
        .as_deref()
        .map_or_else(|| offer.notes.join("; "), ToOwned::to_owned);
    let which = if count == 1 {
        format!("the {term} price of {offer} is an estimate")
    } else {
        format!("{count} {term} prices of {provider} are estimates")
    };
    let message = if how.is_empty() {
        which
    } else {
        format!("{which} ({how})")
    };
    Some(Caveat::new(CaveatKind::Price, message))
}
