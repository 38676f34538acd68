//! What the user has negotiated.

use super::book::PriceBook;
use super::offer::{Offer, Price, Term};
use crate::error::{Error, Result, nearest};
use crate::units::Fraction;
use std::{fmt, str::FromStr};

/// A part of the list price that the user need not pay.
#[derive(Debug, Clone, PartialEq)]
pub struct Discount {
    /// Whose prices.
    pub provider: String,
    /// Which of them.
    pub scope: DiscountScope,
    /// The part that is taken off; less than all.
    pub off: Fraction,
}

/// Which prices of a provider a discount is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscountScope {
    /// All but those of owned hardware.
    All,
    /// Those on one term.
    Term(Term),
    /// Those of one instance type.
    Instance(String),
}

impl FromStr for Discount {
    type Err = Error;

    /// `aws=18%`, `aws/spot=5%`, `aws/c7i.2xlarge=0.1`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| {
            Error::bad_input(format!("`{text}` is not a discount: {why}"))
                .hint("write `aws=18%`, `aws/reserved-1y=5%` or `aws/c7i.2xlarge=10%`")
        };
        let (whose, off) = text
            .rsplit_once('=')
            .ok_or_else(|| refused("`=` is missing"))?;
        let off: Fraction = off.trim().parse().map_err(|e| refused(&format!("{e}")))?;
        if off.get() >= 1.0 {
            return Err(refused("nothing would be left to pay"));
        }
        let (provider, scope) = match whose.trim().split_once('/') {
            None => (whose.trim(), DiscountScope::All),
            Some((provider, of)) => match of.parse() {
                Ok(term) => (provider, DiscountScope::Term(term)),
                Err(_) if of.is_empty() => return Err(refused("nothing stands after `/`")),
                Err(_) => (provider, DiscountScope::Instance(of.to_owned())),
            },
        };
        if provider.is_empty() {
            return Err(refused("whose prices?"));
        }
        Ok(Self {
            provider: provider.to_owned(),
            scope,
            off,
        })
    }
}

/// As it is typed.
impl fmt::Display for Discount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.provider)?;
        match &self.scope {
            DiscountScope::All => {}
            DiscountScope::Term(term) => write!(f, "/{term}")?,
            DiscountScope::Instance(name) => write!(f, "/{name}")?,
        }
        write!(f, "={}%", (self.off.get() * 1e4).round() / 1e2)
    }
}

impl Discount {
    /// How closely it names a price; none where it is not for it.
    fn closeness(&self, offer: &Offer, price: &Price) -> Option<u8> {
        if self.provider != offer.provider {
            return None;
        }
        match &self.scope {
            DiscountScope::All => (price.term != Term::Owned).then_some(0),
            DiscountScope::Term(term) => (price.term == *term).then_some(1),
            DiscountScope::Instance(name) => (*name == offer.instance_type).then_some(2),
        }
    }
}

impl PriceBook {
    /// The book with the user's discounts taken off. Where several are for a price,
    /// the one that names it most closely counts (instance type before term before
    /// provider), alone: discounts do not add up.
    ///
    /// # Errors
    /// A discount for a provider or an instance type that the book does not have, or
    /// two for the same prices.
    pub fn discounted(&self, discounts: &[Discount]) -> Result<Self> {
        for (i, discount) in discounts.iter().enumerate() {
            let rest = discounts.iter().skip(i + 1);
            let same = |d: &&Discount| d.provider == discount.provider && d.scope == discount.scope;
            if let Some(other) = rest.clone().find(same) {
                return Err(Error::bad_input(format!(
                    "`{discount}` and `{other}` are for the same prices: give one"
                )));
            }
            self.check_known(discount)?;
        }
        let mut book = self.clone();
        for offer in &mut book.offers {
            let mut prices = std::mem::take(&mut offer.prices);
            for price in &mut prices {
                let best = discounts
                    .iter()
                    .filter_map(|d| Some((d.closeness(offer, price)?, d)))
                    .max_by_key(|(closeness, _)| *closeness);
                let Some((_, discount)) = best else { continue };
                price.per_hour = price.per_hour.scaled(1.0 - discount.off.get());
                let basis = price.basis.get_or_insert_with(|| "list price".to_owned());
                *basis = format!("{basis}, less your discount {discount}");
                if price.term == Term::OnDemand {
                    let rest = 1.0 - discount.off.get();
                    offer.full_month = offer.full_month.map(|p| p.scaled(rest));
                }
            }
            offer.prices = prices;
        }
        Ok(book)
    }

    fn check_known(&self, discount: &Discount) -> Result<()> {
        let providers = self.providers();
        let (what, given, known): (&str, &str, Vec<&str>) = match &discount.scope {
            _ if !providers.contains(&discount.provider.as_str()) => {
                ("provider", &discount.provider, providers)
            }
            DiscountScope::Instance(name) => {
                let of_provider = self
                    .offers
                    .iter()
                    .filter(|o| o.provider == discount.provider);
                let mut types: Vec<&str> = of_provider.map(|o| o.instance_type.as_str()).collect();
                types.dedup();
                ("instance type or term", name, types)
            }
            _ => return Ok(()),
        };
        if known.contains(&given) {
            return Ok(());
        }
        let error = Error::bad_input(format!(
            "`{discount}`: no {what} in the price book is called `{given}`"
        ));
        let like = nearest(given, known.iter().copied());
        Err(if like.is_empty() {
            error
        } else {
            error.hint(format!("did you mean `{}`?", like.join("` or `")))
        })
    }
}
