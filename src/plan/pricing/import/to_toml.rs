//! What was imported, as a price file.

use super::{Imported, ImportedMachine, ImportedPrice};
use crate::plan::pricing::offer::Billing;
use crate::units::UsdPerHour;
use jiff::civil::Date;

/// What stands at the head of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileHead<'h> {
    /// Whose prices.
    pub provider: &'h str,
    /// The day on which they held.
    pub as_of: Date,
    /// How sure that day is.
    pub as_of_note: Option<&'h str>,
    /// Which list they come from.
    pub source: &'h str,
    /// How the provider rounds use, where that is known.
    pub billing: Option<&'h Billing>,
    /// Whether the shipped prices of the provider are put aside altogether.
    pub shipped: Shipped,
}

/// What becomes of the shipped prices of the same provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// Those of other machines and regions remain.
    Remain,
    /// None remains.
    PutAside,
}

impl Imported {
    /// The price file (`schema/pricing.md`), in a stable order.
    #[must_use]
    pub fn to_toml(&self, head: &FileHead<'_>) -> String {
        let mut text = String::from(
            "# Written by `advisor prices import`; importing again writes it anew.\n\nschema = 1\n",
        );
        text.push_str(&format!("provider = {}\n", quoted(head.provider)));
        text.push_str("currency = \"USD\"\n");
        text.push_str(&format!("as_of = {}\n", head.as_of));
        if let Some(note) = head.as_of_note {
            text.push_str(&format!("as_of_note = {}\n", quoted(note)));
        }
        text.push_str(&format!("source = {}\n", quoted(head.source)));
        if head.shipped == Shipped::PutAside {
            text.push_str("replace = true\n");
        }
        if let Some(billing) = head.billing {
            text.push_str(&format!(
                "\n[billing]\ngranularity_s = {}\nminimum_s = {}\n",
                billing.granularity.get(),
                billing.minimum.get()
            ));
            for (key, value) in [
                ("confidence", &billing.confidence),
                ("stopped", &billing.stopped),
            ] {
                if let Some(value) = value {
                    text.push_str(&format!("{key} = {}\n", quoted(value)));
                }
            }
        }
        let any_spot = self
            .prices
            .values()
            .any(|rows| rows.values().any(|p| p.spot.is_some()));
        if any_spot {
            text.push_str(
                "\n[terms.spot]\nbasis = \"the dearest zone of the region on that day\"\n",
            );
        }
        text.push_str("\n[machines]\n");
        for (name, machine) in &self.machines {
            text.push_str(&format!("{} = {{ {} }}\n", quoted(name), facts(machine)));
        }
        for (region, rows) in &self.prices {
            text.push_str(&format!("\n[price.{}]\n", quoted(region)));
            for (name, price) in rows {
                text.push_str(&format!("{} = {{ {} }}\n", quoted(name), amounts(price)));
            }
        }
        text
    }
}

fn facts(machine: &ImportedMachine) -> String {
    let mut facts = vec![
        format!("vcpus = {}", machine.vcpus),
        format!("memory_gib = {}", machine.memory_gib),
    ];
    for (key, value) in [("arch", &machine.arch), ("cpu", &machine.cpu)] {
        facts.extend(
            value
                .iter()
                .map(|value| format!("{key} = {}", quoted(value))),
        );
    }
    facts.extend(
        machine
            .baseline
            .iter()
            .map(|share| format!("baseline = {share:?}")),
    );
    if let Some((gpu, count)) = &machine.gpu {
        facts.push(format!("gpu = {}, gpus = {count}", quoted(gpu)));
    }
    facts.join(", ")
}

fn amounts(price: &ImportedPrice) -> String {
    let terms: [(&str, Option<UsdPerHour>); 4] = [
        ("on_demand", price.on_demand),
        ("spot", price.spot),
        ("reserved_1y", price.reserved_1y),
        ("reserved_3y", price.reserved_3y),
    ];
    let given: Vec<String> = terms
        .into_iter()
        .filter_map(|(key, price)| Some(format!("{key} = {:?}", price?.get())))
        .collect();
    given.join(", ")
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
