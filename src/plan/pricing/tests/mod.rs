//! What the tests of this module share.

mod own_files;
mod questions;
mod shipped;

use super::*;
use crate::caveat::CaveatKind;
use crate::error::ErrorKind;
use crate::profile::hardware_book::HardwareBook;
use crate::profile::toml_text::TomlText;
use crate::units::{Bytes, Fraction, Time, UsdPerHour};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

static HARDWARE: LazyLock<HardwareBook> = LazyLock::new(|| HardwareBook::shipped().unwrap());
static SHIPPED: LazyLock<PriceBook> = LazyLock::new(|| PriceBook::shipped(&HARDWARE).unwrap());

const TODAY: Date = date(2026, 11, 21);

/// A user's file of one machine with and one without a GPU.
const MINE: &str = r#"
schema = 1
provider = "mine"
currency = "USD"
as_of = 2026-11-01
source = "my contract"

[machines]
"box" = { vcpus = 8, memory_gib = 32, cpu = "aws/c7i" }
"gpu-box" = { vcpus = 8, memory_gib = 32, gpu = "L4", gpus = 1 }

[price.office]
"box" = { on_demand = 0.25, spot = 0.1, interruption = "<5%" }
"gpu-box" = { on_demand = 0.75 }
"#;

fn with_mine(text: &str) -> PriceBook {
    PriceBook::load(&[TomlText::new("mine.toml", text)], &HARDWARE).unwrap()
}

fn only_mine(text: &str) -> PriceBook {
    PriceBook::from_texts(&[], &[TomlText::new("mine.toml", text)], &HARDWARE).unwrap()
}

fn refusal(text: &str) -> String {
    PriceBook::load(&[TomlText::new("mine.toml", text)], &HARDWARE)
        .unwrap_err()
        .to_string()
}

fn find<'b>(book: &'b PriceBook, provider: &str, instance: &str, region: &str) -> &'b Offer {
    book.all()
        .iter()
        .find(|o| o.provider == provider && o.instance_type == instance && o.region == region)
        .unwrap_or_else(|| panic!("{provider} {instance} {region}"))
}

fn usd(offer: &Offer, term: Term) -> Option<f64> {
    offer.price(term).map(|price| price.per_hour.get())
}

fn everything(term: Term) -> OfferFilter {
    OfferFilter {
        providers: vec![],
        regions: vec![],
        term,
        kind: None,
    }
}
