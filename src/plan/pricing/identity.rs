//! Which prices a report rests on.

use super::book::PriceBook;
use super::offer::Offer;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};

/// The identity of a price book: SHA-256 over what its offers say, so that neither
/// comments nor the order of lines matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BookHash([u8; 32]);

impl BookHash {
    /// All 64 hexadecimal digits.
    #[must_use]
    pub fn full(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The first twelve hexadecimal digits, enough to tell books apart.
impl fmt::Display for BookHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full().get(..12).unwrap_or_default())
    }
}

impl PriceBook {
    /// The identity of everything in the book that can move a plan: machines, prices,
    /// their dates and terms, billing. Sources and notes are left out.
    #[must_use]
    pub fn hash(&self) -> BookHash {
        let mut canon = Canon(Sha256::new());
        canon.text("advisor price book 1");
        for offer in &self.offers {
            canon.offer(offer);
        }
        BookHash(canon.0.finalize().into())
    }
}

/// Feeds values so that no two different books give the same bytes: texts with their
/// length before them, numbers as eight bytes, optional values after a flag.
struct Canon(Sha256);

impl Canon {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_le_bytes());
    }

    fn float(&mut self, value: f64) {
        self.number(value.to_bits());
    }

    fn text(&mut self, value: &str) {
        self.number(value.len() as u64);
        self.0.update(value.as_bytes());
    }

    fn maybe(&mut self, value: Option<f64>) {
        self.number(u64::from(value.is_some()));
        self.float(value.unwrap_or(0.0));
    }

    fn offer(&mut self, offer: &Offer) {
        for text in [
            &offer.provider,
            &offer.instance_type,
            &offer.region,
            &offer.arch,
        ] {
            self.text(text);
        }
        self.text(offer.cpu.as_deref().unwrap_or(""));
        self.number(u64::from(offer.vcpus));
        self.number(offer.memory.get());
        self.maybe(offer.cpu_baseline.map(Into::into));
        self.number(u64::from(offer.gpu.is_some()));
        if let Some(gpu) = &offer.gpu {
            self.text(&gpu.name);
            self.number(u64::from(gpu.count));
            self.number(gpu.memory.get());
            self.maybe(gpu.share.map(Into::into));
        }
        self.number(offer.prices.len() as u64);
        for price in &offer.prices {
            self.text(price.term.name());
            self.float(price.per_hour.get());
            let date = price.as_of;
            self.number(date.year().unsigned_abs().into());
            self.number(u64::from(date.month().unsigned_abs()));
            self.number(u64::from(date.day().unsigned_abs()));
            self.number(u64::from(price.estimated));
            self.maybe(price.interruption.map(|i| i.low.get()));
            self.maybe(price.interruption.map(|i| i.high.get()));
        }
        self.maybe(offer.full_month.map(Into::into));
        self.maybe(offer.billing.as_ref().map(|b| b.granularity.get()));
        self.maybe(offer.billing.as_ref().map(|b| b.minimum.get()));
    }
}
