//! From the cells of a row to a machine type and a price, for every format alike.

use super::{
    ImportContext, Imported, ImportedMachine, ImportedPrice, Rows,
    gpu_names::known_gpu,
    table::{Cells, Table},
};
use crate::error::Result as Outcome;
use crate::plan::pricing::offer::Offer;
use crate::units::{Fraction, UsdPerHour};
use std::{collections::BTreeMap, io::Read};

/// Families of Google whose machines cannot be had without their GPUs, while lists
/// price the host alone.
const GPU_BOUND: [&str; 6] = ["a2-", "a3-", "a4-", "a4x-", "g2-", "g4-"];

/// Above this many dollars an hour a price stands for "none": no machine costs it.
const NO_PRICE: f64 = 650.0;

/// A row, its cells read but not yet judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Row<'r> {
    pub machine: &'r str,
    pub region: &'r str,
    pub vcpus: Option<f64>,
    pub memory_gib: Option<f64>,
    pub arch: Option<&'r str>,
    /// Name, number and memory on each in GiB, where that is stated.
    pub gpu: Option<(&'r str, f64, Option<f64>)>,
    pub on_demand: Option<f64>,
    pub spot: Option<f64>,
}

/// Takes rows into an [`Imported`], remembering what was found out of a machine type.
#[derive(Debug)]
pub(super) struct Taker<'c> {
    context: ImportContext<'c>,
    /// Offers of the known book by machine type, and one per family.
    known: BTreeMap<&'c str, &'c Offer>,
    families: BTreeMap<&'c str, &'c Offer>,
    /// What a machine type is, or why it is of no use.
    decided: BTreeMap<String, Result<(), String>>,
    pub imported: Imported,
}

impl<'c> Taker<'c> {
    pub fn new(context: ImportContext<'c>) -> Self {
        let of_provider = || {
            context
                .known
                .all()
                .iter()
                .filter(|offer| offer.provider == context.provider)
        };
        Self {
            context,
            known: of_provider()
                .map(|o| (o.instance_type.as_str(), o))
                .collect(),
            families: of_provider()
                .map(|o| (family(context.provider, &o.instance_type), o))
                .collect(),
            decided: BTreeMap::new(),
            imported: Imported::default(),
        }
    }

    /// Whether a region was asked for.
    pub fn wants_region(&self, region: &str) -> bool {
        self.context.regions.is_empty() || self.context.regions.iter().any(|r| r == region)
    }

    /// Takes a row or says why not.
    pub fn take(&mut self, row: &Row<'_>) -> Result<(), String> {
        if row.machine.is_empty() {
            return Err("the price of a GPU alone, without a machine".to_owned());
        }
        let name = one_word(row.machine);
        let region = if row.region.is_empty() {
            "*".to_owned()
        } else {
            one_word(row.region)
        };
        if !self.wants_region(&region) {
            return Err("another region than asked for".to_owned());
        }
        let price = prices(row)?;
        self.machine(&name, row)?;
        let slot = self
            .imported
            .prices
            .entry(region)
            .or_default()
            .entry(name)
            .or_default();
        // Zones of a region differ in spot prices: the dearest holds anywhere.
        slot.on_demand = slot.on_demand.max(price.on_demand);
        slot.spot = slot.spot.max(price.spot);
        Ok(())
    }

    /// Finds out once what a machine type is.
    pub fn machine(&mut self, name: &str, row: &Row<'_>) -> Result<(), String> {
        if let Some(decided) = self.decided.get(name) {
            return decided.clone();
        }
        let made = self.describe(name, row);
        let decided = made.map(|machine| {
            self.imported.machines.insert(name.to_owned(), machine);
        });
        self.decided.insert(name.to_owned(), decided.clone());
        decided
    }

    /// What was taken, without spot prices that are no lower than the list price:
    /// some lists repeat it where there are none.
    pub fn finish(mut self) -> Imported {
        for prices in self.imported.prices.values_mut() {
            for price in prices.values_mut() {
                price.spot = price
                    .spot
                    .filter(|spot| price.on_demand.is_none_or(|list| *spot < list));
            }
            prices.retain(|_, price| *price != ImportedPrice::default());
        }
        self.imported.prices.retain(|_, prices| !prices.is_empty());
        let priced: std::collections::BTreeSet<&String> = self
            .imported
            .prices
            .values()
            .flat_map(BTreeMap::keys)
            .collect();
        self.imported
            .machines
            .retain(|name, _| priced.contains(name));
        self.imported
    }

    fn describe(&self, name: &str, row: &Row<'_>) -> Result<ImportedMachine, String> {
        let known = self.known.get(name).copied();
        let relative = self
            .families
            .get(family(self.context.provider, name))
            .copied();
        let vcpus = row
            .vcpus
            .filter(|n| (1.0..=10_000.0).contains(n) && n.fract() == 0.0)
            .map(|n| n as u32)
            .or(known.map(|o| o.vcpus))
            .ok_or("no number of vCPUs")?;
        let memory_gib = row
            .memory_gib
            .filter(|gib| *gib > 0.0 && *gib <= 100_000.0)
            .or(known.map(|o| o.memory.as_gib()))
            .ok_or("no memory")?;
        let gpu = self.gpu(name, row, known, relative)?;
        let cpu = known.or(relative).and_then(|o| o.cpu.clone()).or_else(|| {
            let guess = format!(
                "{}/{}",
                self.context.provider,
                family(self.context.provider, name)
            );
            self.context.hardware.cpu(&guess).map(|_| guess)
        });
        if cpu.is_none() && gpu.is_none() {
            return Err(
                "neither its CPU family nor a GPU is known, so no plan could be made for it"
                    .to_owned(),
            );
        }
        let arch = match row.arch {
            _ if cpu.is_some() => None,
            Some("arm64" | "aarch64" | "arm") => Some("aarch64".to_owned()),
            _ => None,
        };
        Ok(ImportedMachine {
            vcpus,
            memory_gib,
            arch,
            cpu,
            baseline: known
                .or(relative)
                .and_then(|o| o.cpu_baseline)
                .map(Fraction::get),
            gpu,
        })
    }

    fn gpu(
        &self,
        name: &str,
        row: &Row<'_>,
        known: Option<&Offer>,
        relative: Option<&Offer>,
    ) -> Result<Option<(String, u32)>, String> {
        let Some((gpu, count, memory)) = row.gpu else {
            let bound = self.context.provider == "gcp"
                && GPU_BOUND.iter().any(|prefix| name.starts_with(prefix));
            if bound {
                return Err("the price leaves out the GPUs that the machine comes with".to_owned());
            }
            return match known.or(relative).and_then(|o| o.gpu.as_ref()) {
                Some(_) => {
                    Err("its GPUs are not in the row, so the price may leave them out".to_owned())
                }
                None => Ok(None),
            };
        };
        if !(1.0..=1024.0).contains(&count) || count.fract() != 0.0 {
            return Err("a part of a GPU, whose speed is not known".to_owned());
        }
        // Some lists state the memory of all GPUs together.
        let found = if gpu.is_empty() {
            relative
                .and_then(|o| o.gpu.as_ref())
                .map(|part| part.name.as_str())
        } else {
            known_gpu(self.context.hardware, gpu, memory)
                .or_else(|| known_gpu(self.context.hardware, gpu, memory.map(|m| m / count)))
        };
        found
            .map(|name| Some((name.to_owned(), count as u32)))
            .ok_or_else(|| {
                let memory = memory.map_or_else(String::new, |gib| format!(" with {gib:.0} GiB"));
                format!("no GPU `{gpu}`{memory} in the hardware book")
            })
    }
}

/// Takes all rows of a table, each as `read` understands it.
pub(super) fn take_all<R: Read>(
    mut table: Table<R>,
    context: ImportContext<'_>,
    read: for<'r> fn(&'r Cells<'_>) -> Result<Row<'r>, String>,
) -> Outcome<Imported> {
    let mut taker = Taker::new(context);
    let mut rows = Rows::default();
    while let Some(cells) = table.next(&mut rows)? {
        match read(&cells).and_then(|row| taker.take(&row)) {
            Ok(()) => rows.taken += 1,
            Err(why) => rows.leave(why, || format!("line {}", cells.line)),
        }
    }
    taker.imported.rows = rows;
    Ok(taker.finish())
}

/// `c7i` of `c7i.2xlarge`, `n2` of `n2-standard-8`.
fn family<'n>(provider: &str, name: &'n str) -> &'n str {
    let end = match provider {
        "aws" => '.',
        "gcp" => '-',
        _ => return name,
    };
    name.split(end).next().unwrap_or(name)
}

/// The prices of a row that are prices.
fn prices(row: &Row<'_>) -> Result<ImportedPrice, String> {
    let usable = |price: f64| price.is_finite() && price > 0.0 && price < NO_PRICE;
    let on_demand = match row.on_demand {
        Some(0.0) => None,
        Some(price) if price < 0.0 => return Err("a negative price".to_owned()),
        Some(price) if !price.is_finite() => return Err("a price that is no number".to_owned()),
        Some(price) if price >= NO_PRICE => {
            return Err("a placeholder instead of a price".to_owned());
        }
        other => other,
    };
    // Zero stands for "none" here as well.
    let spot = row.spot.filter(|spot| usable(*spot));
    if on_demand.is_none() && spot.is_none() {
        return Err("no price (or 0, which is none)".to_owned());
    }
    Ok(ImportedPrice {
        on_demand: on_demand.map(UsdPerHour::saturating),
        spot: spot.map(UsdPerHour::saturating),
        ..ImportedPrice::default()
    })
}

/// Names are one word in price files: blanks and commas become `-`.
pub(super) fn one_word(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c.is_control() || c == ',');
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
