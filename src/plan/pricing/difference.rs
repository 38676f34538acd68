//! What changed between two books.

use super::book::PriceBook;
use super::offer::{Offer, Price, Term};
use crate::units::UsdPerHour;
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Whose machine.
    pub provider: String,
    /// Which type.
    pub instance_type: String,
    /// Where.
    pub region: String,
    /// On which term; none where the whole offer came or went.
    pub term: Option<Term>,
    /// What happened.
    #[serde(flatten)]
    pub kind: ChangeKind,
}

/// What happened to an offer or a price.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only the new book has it.
    Added {
        /// The price; none for a whole offer.
        #[serde(rename = "usd_per_hour")]
        price: Option<UsdPerHour>,
    },
    /// Only the old book has it.
    Removed {
        /// The price that it had; none for a whole offer.
        #[serde(rename = "usd_per_hour")]
        price: Option<UsdPerHour>,
    },
    /// Another price.
    Price {
        /// In the old book.
        #[serde(rename = "old_usd_per_hour")]
        old: UsdPerHour,
        /// In the new book.
        #[serde(rename = "new_usd_per_hour")]
        new: UsdPerHour,
        /// New over old, less one.
        relative: f64,
    },
    /// Other facts of the machine: vCPUs, memory, processor or GPU.
    Machine,
}

/// What changed from `old` to `new`, in the order of the offers.
#[must_use]
pub fn difference(old: &PriceBook, new: &PriceBook) -> Vec<Change> {
    let key = |offer: &Offer| {
        (
            offer.provider.clone(),
            offer.instance_type.clone(),
            offer.region.clone(),
        )
    };
    let mut offers = BTreeMap::<_, (Option<&Offer>, Option<&Offer>)>::new();
    for offer in old.all() {
        offers.entry(key(offer)).or_default().0 = Some(offer);
    }
    for offer in new.all() {
        offers.entry(key(offer)).or_default().1 = Some(offer);
    }
    offers
        .into_values()
        .flat_map(|pair| match pair {
            (Some(old), Some(new)) => between(old, new),
            (Some(old), None) => vec![change(old, None, ChangeKind::Removed { price: None })],
            (None, Some(new)) => vec![change(new, None, ChangeKind::Added { price: None })],
            (None, None) => Vec::new(),
        })
        .collect()
}

fn between(old: &Offer, new: &Offer) -> Vec<Change> {
    let mut changes = Vec::new();
    let facts = |o: &Offer| {
        (
            o.vcpus,
            o.memory,
            o.arch.clone(),
            o.cpu.clone(),
            o.gpu.clone(),
        )
    };
    if facts(old) != facts(new) {
        changes.push(change(new, None, ChangeKind::Machine));
    }
    for term in Term::ALL {
        let price = |offer: &Offer| offer.price(term).map(|price: &Price| price.per_hour);
        let kind = match (price(old), price(new)) {
            (Some(old), Some(new)) if old != new => ChangeKind::Price {
                old,
                new,
                relative: new.ratio(old) - 1.0,
            },
            (Some(price), None) => ChangeKind::Removed { price: Some(price) },
            (None, Some(price)) => ChangeKind::Added { price: Some(price) },
            _ => continue,
        };
        changes.push(change(new, Some(term), kind));
    }
    changes
}

fn change(offer: &Offer, term: Option<Term>, kind: ChangeKind) -> Change {
    Change {
        provider: offer.provider.clone(),
        instance_type: offer.instance_type.clone(),
        region: offer.region.clone(),
        term,
        kind,
    }
}
