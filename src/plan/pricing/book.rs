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
                let text = file.contents_utf8()?;
                name.ends_with(".toml").then(|| TomlText::new(name, text))
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
        let mut offers: Vec<Offer> = layers.offers.into_values().collect();
        offers.shrink_to_fit();
        Ok(Self { offers })
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

/// Provider, instance type and region.
type OfferKey = (String, String, String);

/// What the files read so far come to.
#[derive(Default)]
struct Layers {
    offers: BTreeMap<OfferKey, Offer>,
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
            self.offers.retain(|(of, _, _), _| of != provider);
            self.shapes.remove(provider);
        }
        let mut added: BTreeMap<OfferKey, &str> = BTreeMap::new();
        for source in &sources {
            let provider = &source.file.provider;
            let shapes = source.shapes(hardware)?;
            let offers = source.offers(&shapes, self.shapes.get(provider))?;
            for offer in offers {
                let key = (
                    offer.provider.clone(),
                    offer.instance_type.clone(),
                    offer.region.clone(),
                );
                if let Some(other) = added.insert(key.clone(), source.text.name) {
                    return Err(twice(&offer, other));
                }
                self.offers.insert(key, offer);
            }
            self.shapes
                .entry(provider.clone())
                .or_default()
                .extend(shapes);
        }
        Ok(())
    }
}

fn read(text: TomlText<'_>) -> Result<Source<'_>> {
    let file: PriceFile =
        text.parse_version("price files", SCHEMA, |file: &PriceFile| file.schema)?;
    Source::new(text, file)
}

fn twice(offer: &Offer, other: &str) -> Error {
    let places = if offer.file == other {
        format!("twice in {other} (as owned and with a price)")
    } else {
        format!("in {other} and in {}", offer.file)
    };
    Error::bad_input(format!("{offer} has a price {places}"))
        .hint("which of them holds cannot be known: take one out")
}
