//! All offers: those shipped, and over them the user's.

use super::assemble::{Shapes, Source};
use super::file::{PriceFile, SCHEMA};
use super::offer::Offer;
use crate::error::{Error, Result};
use crate::profile::hardware_book::HardwareBook;
use crate::profile::toml_text::TomlText;
use include_dir::{Dir, include_dir};
use std::collections::{BTreeMap, BTreeSet};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/pricing");

/// The offers of all providers, sorted by provider, instance type and region; no
/// two are the same in all three.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PriceBook {
    pub(super) offers: Vec<Offer>,
}

impl PriceBook {
    /// What the program ships.
    ///
    /// # Errors
    /// None, unless the program was built from broken files (a test sees to that).
    pub fn shipped(hardware: &HardwareBook) -> Result<Self> {
        Self::load(&[], hardware)
    }

    /// What the program ships, and over it the user's files: their offer of a machine
    /// in a region takes the place of the shipped one, with all its terms.
    ///
    /// # Errors
    /// A file that is not of this format, names what is not known, or has a price
    /// that is none, with its line; the same offer in two of the user's files.
    pub fn load(own: &[TomlText<'_>], hardware: &HardwareBook) -> Result<Self> {
        Self::from_texts(&Self::shipped_texts(), own, hardware)
    }

    /// The price files that the program ships, by name.
    #[must_use]
    pub fn shipped_texts() -> Vec<TomlText<'static>> {
        let mut texts: Vec<TomlText<'static>> = SHIPPED
            .files()
            .filter_map(|file| {
                let name = file.path().to_str()?;
                Some(TomlText::new(name, file.contents_utf8()?))
            })
            .collect();
        texts.sort_unstable_by_key(|text| text.name);
        texts
    }

    /// A book from `base` files and, over them, the user's `own`.
    ///
    /// # Errors
    /// Those of [`PriceBook::load`].
    pub fn from_texts(
        base: &[TomlText<'_>],
        own: &[TomlText<'_>],
        hardware: &HardwareBook,
    ) -> Result<Self> {
        let mut layers = Layers::default();
        layers.add(base, hardware)?;
        layers.add(own, hardware)?;
        Ok(Self {
            offers: layers.offers,
        })
    }

    /// All offers, sorted by provider, instance type and region.
    #[must_use]
    pub fn all(&self) -> &[Offer] {
        &self.offers
    }

    /// The names of the providers, sorted.
    #[must_use]
    pub fn providers(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.offers.iter().map(|o| o.provider.as_str()).collect();
        names.into_iter().collect()
    }
}

/// What tells offers apart: provider, instance type and region.
fn key(offer: &Offer) -> (&str, &str, &str) {
    (&offer.provider, &offer.instance_type, &offer.region)
}

/// What the files read so far come to.
#[derive(Default)]
struct Layers {
    /// Sorted by [`key`], each key once.
    offers: Vec<Offer>,
    shapes: BTreeMap<String, Shapes>,
}

impl Layers {
    /// Adds files that are equals: none of them replaces what another has.
    fn add(&mut self, texts: &[TomlText<'_>], hardware: &HardwareBook) -> Result<()> {
        let sources = texts
            .iter()
            .map(|text| read(*text))
            .collect::<Result<Vec<_>>>()?;
        for source in sources.iter().filter(|source| source.file.replace) {
            let provider = &source.file.provider;
            self.offers.retain(|offer| offer.provider != *provider);
            self.shapes.remove(provider);
        }
        let mut added = Vec::new();
        for source in &sources {
            let provider = &source.file.provider;
            let shapes = source.shapes(hardware)?;
            added.append(&mut source.offers(&shapes, self.shapes.get(provider))?);
            self.shapes
                .entry(provider.clone())
                .or_default()
                .extend(shapes);
        }
        added.sort_by(|a, b| key(a).cmp(&key(b)));
        for pair in added.windows(2) {
            if let [a, b] = pair
                && key(a) == key(b)
            {
                return Err(twice(a, b));
            }
        }
        let replaced = |old: &Offer| {
            added
                .binary_search_by(|new| key(new).cmp(&key(old)))
                .is_ok()
        };
        self.offers.retain(|old| !replaced(old));
        self.offers.append(&mut added);
        // Two sorted runs, which a stable sort merges in one pass.
        self.offers.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(())
    }
}

fn read(text: TomlText<'_>) -> Result<Source<'_>> {
    let file: PriceFile =
        text.parse_version("price files", SCHEMA, |file: &PriceFile| file.schema)?;
    Source::new(text, file)
}

fn twice(a: &Offer, b: &Offer) -> Error {
    let places = if a.file == b.file {
        format!("twice in {} (as owned and with a price)", a.file)
    } else {
        format!("in {} and in {}", a.file, b.file)
    };
    Error::bad_input(format!("{a} has a price {places}"))
        .hint("which of them holds cannot be known: take one out")
}
