//! Prices: what a machine costs, where, on which term, as of when and says who.
//!
//! A price covers the whole machine. A price that is not known is absent: such a
//! machine is not offered on that term, and never free. The format of the files is
//! described in `schema/pricing.md`.

mod assemble;
mod book;
mod caveats;
mod check;
mod difference;
mod discount;
mod file;
mod identity;
pub mod import;
mod offer;
mod owned;
mod per_device;
mod select;

pub use book::PriceBook;
pub use caveats::{AGE_CAVEAT_DAYS, AGE_LOUD_DAYS, price_caveats};
pub use check::{check, implausibly_cheap};
pub use difference::{Change, ChangeKind, difference};
pub use discount::{Discount, DiscountScope};
pub use identity::BookHash;
pub use offer::{Billing, GpuPart, Interruption, Offer, Price, Term};
pub use owned::OwnedCost;
pub use per_device::prices_per_device;
pub use select::{OfferFilter, OfferKind};

#[cfg(test)]
mod tests;
