//! A price file, as it stands: the strict reading of `schema/pricing.md`.

use super::owned::OwnedCost;
use crate::units::{Fraction, UsdPerHour};
use jiff::civil::Date;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::value::Datetime;

/// The version of the format that this program reads.
pub(super) const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceFile {
    pub schema: u32,
    pub provider: String,
    pub currency: String,
    pub as_of: Day,
    pub as_of_note: Option<String>,
    pub source: String,
    #[serde(rename = "license")]
    pub _license: Option<String>,
    /// Whether nothing of the provider that an earlier file had remains.
    #[serde(default)]
    pub replace: bool,
    pub exchange: Option<Exchange>,
    pub billing: Option<BillingEntry>,
    #[serde(default)]
    pub terms: TermNotes,
    #[serde(default)]
    pub regions: BTreeMap<String, RegionEntry>,
    #[serde(default)]
    pub machines: BTreeMap<String, MachineEntry>,
    #[serde(default)]
    pub price: BTreeMap<String, BTreeMap<String, PriceEntry>>,
    #[serde(default)]
    pub owned: BTreeMap<String, OwnedCost>,
}

/// What one unit of the file's currency is worth.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    pub usd: Amount,
    pub as_of: Day,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BillingEntry {
    pub granularity_s: f64,
    pub minimum_s: f64,
    pub stopped: Option<String>,
    pub confidence: Option<String>,
}

/// What holds for all prices of a term in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TermNotes {
    pub on_demand: Option<TermNote>,
    pub spot: Option<TermNote>,
    pub reserved_1y: Option<TermNote>,
    pub reserved_3y: Option<TermNote>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TermNote {
    pub basis: Option<String>,
    pub as_of: Option<Day>,
    #[serde(default)]
    pub estimated: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionEntry {
    pub as_of: Option<Day>,
    pub as_of_note: Option<String>,
    pub source: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineEntry {
    pub vcpus: u32,
    pub memory_gib: f64,
    pub arch: Option<String>,
    pub cpu: Option<String>,
    pub baseline: Option<Fraction>,
    pub gpu: Option<String>,
    pub gpus: Option<u32>,
    pub gpu_memory_gib: Option<f64>,
    pub gpu_share: Option<Fraction>,
    pub note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceEntry {
    pub on_demand: Option<Amount>,
    pub full_month: Option<Amount>,
    pub spot: Option<Amount>,
    pub interruption: Option<String>,
    pub reserved_1y: Option<Amount>,
    pub reserved_3y: Option<Amount>,
    pub owned: Option<Amount>,
    pub as_of: Option<Day>,
    #[serde(default)]
    pub estimated: bool,
    pub note: Option<String>,
}

/// An amount of the file's currency: more than zero.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Amount(f64);

impl Amount {
    /// In US dollars per hour, at that many dollars to the unit.
    pub fn at(self, rate: f64) -> UsdPerHour {
        UsdPerHour::saturating(self.0 * rate)
    }

    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Amount {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if value.is_nan() {
            Err("a price cannot be NaN: leave it out where it is unknown")
        } else if value == 0.0 {
            Err("a price of 0 would mean free: leave it out where it is unknown")
        } else if value < 0.0 {
            Err("a price cannot be negative")
        } else if value.is_infinite() {
            Err("a price cannot be infinite: leave it out where it is unknown")
        } else {
            Ok(Self(value))
        }
    }
}

/// A day, written as a TOML date.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Datetime")]
pub(super) struct Day(pub Date);

impl TryFrom<Datetime> for Day {
    type Error = String;

    fn try_from(value: Datetime) -> Result<Self, String> {
        let refused = || format!("`{value}` is not a day: write it as 2026-07-20, without quotes");
        let (Some(date), None) = (value.date, value.time) else {
            return Err(refused());
        };
        let year = i16::try_from(date.year).map_err(|_| refused())?;
        let month = i8::try_from(date.month).map_err(|_| refused())?;
        let day = i8::try_from(date.day).map_err(|_| refused())?;
        Date::new(year, month, day).map(Self).map_err(|_| refused())
    }
}
