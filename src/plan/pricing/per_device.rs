//! What one device costs with its share of the machine round it: what questions
//! of regret are paid with.

use super::{Offer, PriceBook, Term};
use crate::{
    plan::transfer::{PROCESSORS, Prices},
    profile::hardware_book::HardwareBook,
};

/// The cheapest on-demand price of one GPU, and of a whole processor of those in
/// [`PROCESSORS`], in machines that one provider (or any) sells.
#[must_use]
pub fn prices_per_device(
    book: &PriceBook,
    hardware: &HardwareBook,
    provider: Option<&str>,
) -> Prices {
    let mut out = Prices::new();
    let mut offer_at = |name: &str, offer: &Offer, share: f64| {
        if let Some(price) = offer.price(Term::OnDemand) {
            let each = price.per_hour.scaled(share);
            let slot = out.entry(name.to_owned()).or_insert(each);
            *slot = each.min(*slot);
        }
    };
    let sold = |offer: &&Offer| provider.is_none_or(|provider| offer.provider == provider);
    for offer in book.all().iter().filter(sold) {
        match &offer.gpu {
            Some(gpu) if gpu.share.is_none() => {
                offer_at(&gpu.name, offer, 1.0 / f64::from(gpu.count.max(1)));
            }
            None if offer.sustains_full_load() => {
                let cpu = offer.cpu.as_deref().and_then(|family| hardware.cpu(family));
                for (name, design, threads) in PROCESSORS {
                    if cpu.is_some_and(|cpu| cpu.microarchitecture == design) {
                        let share = f64::from(threads) / f64::from(offer.vcpus.max(1));
                        offer_at(name, offer, share);
                    }
                }
            }
            _ => {}
        }
    }
    out
}
