//! From price lists that others publish to a price file of our format: a parser per
//! format, each from a stream to values. A row that cannot be used is left, counted
//! and reported, and never ends the import.

mod aws_price_list;
mod gpu_names;
mod gpuhunt;
mod offers;
mod skypilot;
mod table;
mod to_toml;

#[cfg(test)]
mod tests;

use super::book::PriceBook;
use crate::error::Result;
use crate::profile::hardware_book::HardwareBook;
use crate::units::UsdPerHour;
use jiff::civil::Date;
use std::{collections::BTreeMap, io::Read};

pub use aws_price_list::aws_price_list;
pub use gpuhunt::gpuhunt;
pub use skypilot::skypilot;
pub use to_toml::{FileHead, Shipped};

/// What an import is told besides the file itself.
#[derive(Debug, Clone, Copy)]
pub struct ImportContext<'c> {
    /// Whose prices they are: `aws`.
    pub provider: &'c str,
    /// Only these regions; all where empty.
    pub regions: &'c [String],
    /// Which GPUs and CPU families are known.
    pub hardware: &'c HardwareBook,
    /// What is known of the provider's machine types; a type in it keeps its
    /// CPU family and GPU.
    pub known: &'c PriceBook,
}

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// A `vms.csv` of the `SkyPilot` catalogue.
    SkyPilot,
    /// A catalogue that `gpuhunt` wrote.
    Gpuhunt,
    /// An `index.json` of the AWS price list for EC2.
    AwsPriceList,
}

impl ImportFormat {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkyPilot => "SkyPilot catalogue",
            Self::Gpuhunt => "gpuhunt catalogue",
            Self::AwsPriceList => "AWS price list",
        }
    }

    /// Reads a file of this format.
    ///
    /// # Errors
    /// The file is not of this format at all, or cannot be read to its end.
    pub fn read(self, from: impl Read, context: ImportContext<'_>) -> Result<Imported> {
        match self {
            Self::SkyPilot => skypilot(from, context),
            Self::Gpuhunt => gpuhunt(from, context),
            Self::AwsPriceList => aws_price_list(from, context),
        }
    }

    /// The format that a file looks to be of, by how it begins.
    #[must_use]
    pub fn guess(beginning: &str) -> Option<Self> {
        let first = beginning.trim_start_matches('\u{feff}').trim_start();
        let line = first.lines().next().unwrap_or_default();
        if first.starts_with('{') && first.contains("\"offerCode\"") {
            Some(Self::AwsPriceList)
        } else if line.contains("InstanceType") && line.contains("Price") {
            Some(Self::SkyPilot)
        } else if line.contains("instance_name") && line.contains("price") {
            Some(Self::Gpuhunt)
        } else {
            None
        }
    }
}

/// What was taken from a price list, and what was left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// Machine types by name.
    pub machines: BTreeMap<String, ImportedMachine>,
    /// Prices by region and machine type.
    pub prices: BTreeMap<String, BTreeMap<String, ImportedPrice>>,
    /// The day that the list itself states.
    pub dated: Option<Date>,
    /// What became of the rows.
    pub rows: Rows,
}

/// A machine type as the price file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedMachine {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Main memory, in GiB.
    pub memory_gib: f64,
    /// `x86_64` or `aarch64`, where the CPU family does not say it.
    pub arch: Option<String>,
    /// CPU family of the hardware book.
    pub cpu: Option<String>,
    /// The share of each vCPU that may be used without end.
    pub baseline: Option<f64>,
    /// GPU of the hardware book, and how many.
    pub gpu: Option<(String, u32)>,
}

/// The prices of a machine type in a region.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ImportedPrice {
    /// By use.
    pub on_demand: Option<UsdPerHour>,
    /// Interruptible: the dearest zone of the region.
    pub spot: Option<UsdPerHour>,
    /// Committed for a year, nothing paid upfront.
    pub reserved_1y: Option<UsdPerHour>,
    /// Committed for three years, nothing paid upfront.
    pub reserved_3y: Option<UsdPerHour>,
}

/// What became of the rows of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Rows read.
    pub read: u64,
    /// Rows of which something was taken.
    pub taken: u64,
    /// Rows left, by reason.
    pub left: BTreeMap<String, LeftRows>,
}

/// Rows left for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftRows {
    /// How many.
    pub count: u64,
    /// The first of them: its line, or its name where lines mean nothing.
    pub first: String,
}

impl Rows {
    /// Counts a row as left.
    pub(super) fn leave(&mut self, why: impl Into<String>, place: impl FnOnce() -> String) {
        let left = self.left.entry(why.into()).or_default();
        if left.count == 0 {
            left.first = place();
        }
        left.count += 1;
    }

    /// Rows left, all reasons together.
    #[must_use]
    pub fn left_count(&self) -> u64 {
        self.left.values().map(|left| left.count).sum()
    }
}

impl Imported {
    /// How many prices there are, over all regions and terms.
    #[must_use]
    pub fn price_count(&self) -> usize {
        let count = |price: &ImportedPrice| {
            [
                price.on_demand,
                price.spot,
                price.reserved_1y,
                price.reserved_3y,
            ]
            .iter()
            .flatten()
            .count()
        };
        self.prices
            .values()
            .flat_map(BTreeMap::values)
            .map(count)
            .sum()
    }
}
