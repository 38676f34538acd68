//! From a price file to offers: names resolved, currencies converted, and what
//! cannot be so refused with its line.

use super::file::{BillingEntry, Day, MachineEntry, PriceEntry, PriceFile, TermNote};
use super::offer::{Billing, GpuPart, Interruption, Offer, Price, Term};
use crate::error::{Error, Result, nearest};
use crate::profile::hardware_book::HardwareBook;
use crate::profile::toml_text::{Step, TomlText};
use crate::units::{Bytes, Fraction, Time};
use std::collections::BTreeMap;

/// A machine type without place and price.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    vcpus: u32,
    memory: Bytes,
    arch: String,
    cpu: Option<String>,
    cpu_baseline: Option<Fraction>,
    gpu: Option<GpuPart>,
    note: Option<String>,
}

/// Machine types by name.
pub(super) type Shapes = BTreeMap<String, Shape>;

/// A price file and the document it was read from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub text: TomlText<'a>,
    pub file: PriceFile,
    /// US dollars to one unit of the file's currency.
    rate: f64,
    billing: Option<Billing>,
}

impl<'a> Source<'a> {
    /// Checks what stands at the head of the file.
    pub fn new(text: TomlText<'a>, file: PriceFile) -> Result<Self> {
        check_name(text, &file.provider, &[Step::Key("provider")])?;
        let exchange = file.exchange.as_ref();
        let rate = match (file.currency.as_str(), exchange) {
            ("USD", None) => 1.0,
            ("USD", Some(_)) => {
                return Err(text.error_in(
                    &[Step::Key("exchange")],
                    "prices in USD need no rate of exchange",
                ));
            }
            (_, Some(exchange)) => exchange.usd.get(),
            (other, None) => {
                let error = text.error_in(
                    &[Step::Key("currency")],
                    &format!("prices in {other} need a rate of exchange"),
                );
                return Err(error
                    .hint("add `[exchange]` with `usd = 1.08` (dollars to one unit) and `as_of`"));
            }
        };
        let billing = billing(text, file.billing.as_ref())?;
        Ok(Self {
            text,
            file,
            rate,
            billing,
        })
    }

    /// The machine types that the file describes.
    pub fn shapes(&self, hardware: &HardwareBook) -> Result<Shapes> {
        self.file
            .machines
            .iter()
            .map(|(name, entry)| Ok((name.clone(), self.shape(name, entry, hardware)?)))
            .collect()
    }

    /// The offers of the file, with machine types from it or from `earlier` files.
    pub fn offers(&self, own: &Shapes, earlier: Option<&Shapes>) -> Result<Vec<Offer>> {
        for region in self.file.regions.keys() {
            if !self.file.price.contains_key(region) {
                let path = [Step::Key("regions"), Step::Key(region)];
                return Err(self.text.error_in(
                    &path,
                    &format!("no price is given in region `{region}`: is the name right?"),
                ));
            }
        }
        let find = |name: &str, path: &[Step<'_>]| {
            let found = own.get(name).or_else(|| earlier?.get(name));
            found.ok_or_else(|| self.unknown_machine(name, path, own, earlier))
        };
        let mut offers = Vec::new();
        for (region, rows) in &self.file.price {
            check_name(self.text, region, &[Step::Key("price"), Step::Key(region)])?;
            for (name, row) in rows {
                let path = [Step::Key("price"), Step::Key(region), Step::Key(name)];
                offers.push(self.offer((name, region), find(name, &path)?, row)?);
            }
        }
        for (name, cost) in &self.file.owned {
            let path = [Step::Key("owned"), Step::Key(name)];
            let per_hour = cost
                .per_hour()
                .map_err(|why| self.text.error_in(&path, why))?;
            let mut offer = self.bare_offer((name, "*"), find(name, &path)?);
            offer.prices.push(Price {
                term: Term::Owned,
                per_hour: per_hour.scaled(self.rate),
                as_of: self.file.as_of.0,
                estimated: false,
                basis: Some("purchase, upkeep and power over the hours of use".to_owned()),
                interruption: None,
            });
            offers.push(offer);
        }
        Ok(offers)
    }

    fn shape(&self, name: &str, entry: &MachineEntry, hardware: &HardwareBook) -> Result<Shape> {
        let refuse = |key, why: &str| {
            let path = [Step::Key("machines"), Step::Key(name), Step::Key(key)];
            self.text.error_in(&path, why)
        };
        check_name(self.text, name, &[Step::Key("machines"), Step::Key(name)])?;
        if !(1..=10_000).contains(&entry.vcpus) {
            return Err(refuse("vcpus", "a machine has between 1 and 10,000 vCPUs"));
        }
        if !(entry.memory_gib > 0.0 && entry.memory_gib <= 100_000.0) {
            return Err(refuse(
                "memory_gib",
                "a machine has more than 0 and at most 100,000 GiB of memory",
            ));
        }
        if entry.baseline.is_some_and(|b| b.get() <= 0.0) {
            return Err(refuse("baseline", "a share of 0 leaves no CPU to use"));
        }
        let spec = match &entry.cpu {
            None => None,
            Some(cpu) => Some(hardware.cpu(cpu).ok_or_else(|| {
                let error = refuse("cpu", &format!("no CPU family is called `{cpu}`"));
                like(error, &hardware.cpus_like(cpu)).unwrap_or_else(|error| {
                    error.hint("leave `cpu` out, or describe it in a hardware file of your own")
                })
            })?),
        };
        let arch = match (spec, entry.arch.as_deref()) {
            (Some(spec), None) => spec.arch.clone(),
            (Some(spec), Some(arch)) if arch == spec.arch => spec.arch.clone(),
            (None, None | Some("x86_64")) => "x86_64".to_owned(),
            (None, Some("aarch64")) => "aarch64".to_owned(),
            (Some(spec), Some(_)) => {
                return Err(refuse("arch", &format!("{} is {}", spec.name, spec.arch)));
            }
            (None, Some(_)) => {
                return Err(refuse(
                    "arch",
                    "the architectures are `x86_64` and `aarch64`",
                ));
            }
        };
        Ok(Shape {
            vcpus: entry.vcpus,
            memory: Bytes::from_gib(entry.memory_gib),
            arch,
            cpu: entry.cpu.clone(),
            cpu_baseline: entry.baseline,
            gpu: gpu_part(entry, hardware, refuse)?,
            note: entry.note.clone(),
        })
    }

    fn unknown_machine(
        &self,
        name: &str,
        path: &[Step<'_>],
        own: &Shapes,
        earlier: Option<&Shapes>,
    ) -> Error {
        let error = self.text.error_in(
            path,
            &format!(
                "`{name}` has a price but stands in no `[machines]` of {}",
                self.file.provider
            ),
        );
        let names = own.keys().chain(earlier.into_iter().flat_map(Shapes::keys));
        like(error, &nearest(name, names.map(String::as_str))).unwrap_or_else(|error| error)
    }

    /// An offer without prices.
    fn bare_offer(&self, (name, region): (&str, &str), shape: &Shape) -> Offer {
        let file = &self.file;
        let place = file.regions.get(region);
        let source = place.and_then(|r| r.source.as_ref());
        let mut notes: Vec<String> = shape.note.iter().cloned().collect();
        let dated = place.map_or(&file.as_of_note, |r| &r.as_of_note);
        notes.extend(dated.iter().map(|note| format!("date: {note}")));
        if let Some(exchange) = &file.exchange {
            notes.push(format!(
                "converted at {} USD to 1 {} ({})",
                self.rate, file.currency, exchange.as_of.0
            ));
        }
        Offer {
            provider: file.provider.clone(),
            instance_type: name.to_owned(),
            region: region.to_owned(),
            vcpus: shape.vcpus,
            memory: shape.memory,
            arch: shape.arch.clone(),
            cpu: shape.cpu.clone(),
            cpu_baseline: shape.cpu_baseline,
            gpu: shape.gpu.clone(),
            prices: Vec::new(),
            full_month: None,
            billing: self.billing.clone(),
            source: source.unwrap_or(&file.source).clone(),
            file: self.text.name.to_owned(),
            notes,
        }
    }

    fn offer(&self, at: (&str, &str), shape: &Shape, row: &PriceEntry) -> Result<Offer> {
        let refuse = |key, why: &str| {
            let path = [
                Step::Key("price"),
                Step::Key(at.1),
                Step::Key(at.0),
                Step::Key(key),
            ];
            self.text.error_in(&path, why)
        };
        let interruption = match (&row.interruption, row.spot) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(refuse(
                    "interruption",
                    "a rate of interruption without a spot price",
                ));
            }
            (Some(text), Some(_)) => Some(
                text.parse::<Interruption>()
                    .map_err(|why| refuse("interruption", &why))?,
            ),
        };
        let terms = &self.file.terms;
        let given = [
            (Term::OnDemand, row.on_demand, &terms.on_demand),
            (Term::Spot, row.spot, &terms.spot),
            (Term::Reserved1y, row.reserved_1y, &terms.reserved_1y),
            (Term::Reserved3y, row.reserved_3y, &terms.reserved_3y),
            (Term::Owned, row.owned, &None),
        ];
        let mut offer = self.bare_offer(at, shape);
        for (term, amount, note) in given {
            let Some(amount) = amount else { continue };
            offer.prices.push(Price {
                term,
                per_hour: amount.at(self.rate),
                as_of: self.day_of(at.1, row, note.as_ref()),
                estimated: row.estimated || note.as_ref().is_some_and(|n| n.estimated),
                basis: note.as_ref().and_then(|n| n.basis.clone()),
                interruption: interruption.filter(|_| term == Term::Spot),
            });
        }
        if offer.prices.is_empty() {
            return Err(refuse(
                "",
                "a row without a price: leave it out where the price is unknown",
            ));
        }
        let on_demand = offer.price(Term::OnDemand).map(|p| p.per_hour);
        offer.full_month = row.full_month.map(|amount| amount.at(self.rate));
        if offer.full_month > on_demand {
            return Err(refuse(
                "full_month",
                "a month in full costs more per hour than `on_demand`",
            ));
        }
        offer.notes.extend(row.note.iter().cloned());
        Ok(offer)
    }

    /// The nearest date wins: the row's, the term's, the region's, the file's.
    fn day_of(&self, region: &str, row: &PriceEntry, term: Option<&TermNote>) -> jiff::civil::Date {
        let place = self.file.regions.get(region);
        let Day(date) = row
            .as_of
            .or(term.and_then(|t| t.as_of))
            .or(place.and_then(|r| r.as_of))
            .unwrap_or(self.file.as_of);
        date
    }
}

fn gpu_part(
    entry: &MachineEntry,
    hardware: &HardwareBook,
    refuse: impl Fn(&'static str, &str) -> Error,
) -> Result<Option<GpuPart>> {
    let Some(name) = &entry.gpu else {
        let keys = [
            ("gpus", entry.gpus.is_some()),
            ("gpu_memory_gib", entry.gpu_memory_gib.is_some()),
            ("gpu_share", entry.gpu_share.is_some()),
        ];
        return match keys.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(refuse(key, "which GPU? give its name as `gpu`")),
            None => Ok(None),
        };
    };
    let Some(spec) = hardware.gpu(name) else {
        let error = refuse("gpu", &format!("no GPU is called `{name}`"));
        return Err(like(error, &hardware.gpus_like(name))
            .unwrap_or_else(|error| error.hint("describe it in a hardware file of your own")));
    };
    let count = match entry.gpus {
        Some(count @ 1..=1024) => count,
        Some(_) => return Err(refuse("gpus", "a machine has between 1 and 1,024 GPUs")),
        None => {
            return Err(refuse("gpu", "how many of them? give the number as `gpus`"));
        }
    };
    if entry.gpu_share.is_some_and(|s| s.get() <= 0.0) {
        return Err(refuse("gpu_share", "a share of 0 is no GPU"));
    }
    let whole = spec.memory_bytes;
    let memory = match entry.gpu_memory_gib {
        None => whole.scaled(entry.gpu_share.map_or(1.0, Fraction::get)),
        Some(gib) if gib > 0.0 && gib <= 4096.0 => Bytes::from_gib(gib).min(whole),
        Some(_) => {
            return Err(refuse(
                "gpu_memory_gib",
                "a GPU has more than 0 and at most 4,096 GiB of memory",
            ));
        }
    };
    Ok(Some(GpuPart {
        name: name.clone(),
        count,
        memory,
        share: entry.gpu_share.filter(|s| s.get() < 1.0),
    }))
}

fn billing(text: TomlText<'_>, entry: Option<&BillingEntry>) -> Result<Option<Billing>> {
    let Some(entry) = entry else { return Ok(None) };
    let seconds = |key, value| {
        Time::new(value).map_err(|error| {
            text.error_in(&[Step::Key("billing"), Step::Key(key)], &error.to_string())
        })
    };
    Ok(Some(Billing {
        granularity: seconds("granularity_s", entry.granularity_s)?,
        minimum: seconds("minimum_s", entry.minimum_s)?,
        stopped: entry.stopped.clone(),
        confidence: entry.confidence.clone(),
    }))
}

/// A name is one word without control characters: it stands in tables and commands.
fn check_name(text: TomlText<'_>, name: &str, path: &[Step<'_>]) -> Result<()> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(text.error_in(path, &format!("{name:?} cannot be a name: write one word")));
    }
    Ok(())
}

/// Adds the names that were perhaps meant; gives the error back where there are none.
fn like(error: Error, names: &[&str]) -> Result<Error, Error> {
    if names.is_empty() {
        return Err(error);
    }
    Ok(error.hint(format!("did you mean `{}`?", names.join("` or `"))))
}
