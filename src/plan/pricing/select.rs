//! Which offers come into question.

use super::book::PriceBook;
use super::offer::{Offer, Term};
use crate::error::{Error, Result, nearest};
use std::collections::BTreeSet;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferFilter {
    /// Only these providers; all where empty.
    pub providers: Vec<String>,
    /// Only these regions, by their exact names; all where empty.
    pub regions: Vec<String>,
    /// Only machines whose price on this term is known.
    pub term: Term,
    /// Only machines of this kind.
    pub kind: Option<OfferKind>,
}

/// Whether a machine has a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferKind {
    /// Without a GPU.
    Cpu,
    /// With at least one GPU, whole or in part.
    Gpu,
}

impl OfferKind {
    /// The kind of an offer.
    #[must_use]
    pub fn of(offer: &Offer) -> Self {
        if offer.gpu.is_some() {
            Self::Gpu
        } else {
            Self::Cpu
        }
    }
}

impl PriceBook {
    /// The offers that `filter` lets through, at least one.
    ///
    /// # Errors
    /// A provider or region that the book does not have, with those of a like name;
    /// a filter that leaves nothing, with what there is instead.
    pub fn offers(&self, filter: &OfferFilter) -> Result<Vec<&Offer>> {
        let providers: BTreeSet<&str> = self.providers().into_iter().collect();
        for name in &filter.providers {
            if !providers.contains(name.as_str()) {
                return Err(unknown("provider", name, &providers, ""));
            }
        }
        let of_provider = |offer: &&Offer| {
            filter.providers.is_empty() || filter.providers.contains(&offer.provider)
        };
        let regions: BTreeSet<&str> = self
            .offers
            .iter()
            .filter(of_provider)
            .map(|o| o.region.as_str())
            .collect();
        let whose = match filter.providers.as_slice() {
            [] => String::new(),
            some => format!(" of {}", some.join(", ")),
        };
        for name in &filter.regions {
            if !regions.contains(name.as_str()) {
                return Err(unknown("region", name, &regions, &whose));
            }
        }
        let of_place: Vec<&Offer> = self
            .offers
            .iter()
            .filter(of_provider)
            .filter(|o| filter.regions.is_empty() || filter.regions.contains(&o.region))
            .collect();
        let found: Vec<&Offer> = of_place
            .iter()
            .copied()
            .filter(|o| o.price(filter.term).is_some())
            .filter(|o| filter.kind.is_none_or(|kind| kind == OfferKind::of(o)))
            .collect();
        if found.is_empty() {
            return Err(nothing_left(filter, &of_place, &whose));
        }
        Ok(found)
    }
}

fn unknown(what: &str, name: &str, known: &BTreeSet<&str>, whose: &str) -> Error {
    let error = Error::bad_input(format!(
        "no {what}{whose} in the price book is called `{name}`"
    ));
    let like = nearest(name, known.iter().copied());
    if !like.is_empty() {
        return error.hint(format!("did you mean `{}`?", like.join("` or `")));
    }
    let all: Vec<&str> = known.iter().copied().collect();
    let some = all.get(..24).unwrap_or(&all);
    let more = if some.len() < all.len() { ", …" } else { "" };
    error.hint(format!("the {what}s are {}{more}", some.join(", ")))
}

/// Says which part of the filter it was that left nothing.
fn nothing_left(filter: &OfferFilter, of_place: &[&Offer], whose: &str) -> Error {
    let place = match filter.regions.as_slice() {
        [] => String::new(),
        some => format!(" in {}", some.join(", ")),
    };
    let kind = match filter.kind {
        None => "machine",
        Some(OfferKind::Cpu) => "machine without a GPU",
        Some(OfferKind::Gpu) => "machine with a GPU",
    };
    let error = Error::bad_input(format!(
        "no {kind}{whose}{place} has a known {} price",
        filter.term
    ));
    let terms: Vec<&str> = Term::ALL
        .into_iter()
        .filter(|term| {
            of_place.iter().any(|o| {
                o.price(*term).is_some() && filter.kind.is_none_or(|kind| kind == OfferKind::of(o))
            })
        })
        .map(Term::name)
        .collect();
    match terms.as_slice() {
        [] => error.hint("ask for another region or provider, or for the other kind of machine"),
        some => error.hint(format!("the terms with prices there: {}", some.join(", "))),
    }
}
