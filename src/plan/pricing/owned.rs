//! What an hour of hardware that one owns costs.

use crate::units::{Fraction, Usd, UsdPerHour};
use serde::Deserialize;

/// Hours in a year of 365 days.
const HOURS_PER_YEAR: f64 = 8760.0;

/// The costs of a machine that was bought.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnedCost {
    /// What it cost to buy.
    pub purchase: Usd,
    /// Over how many years that is written off.
    pub years: f64,
    /// What it draws while it serves, in watts, with cooling.
    #[serde(default)]
    pub power_watts: f64,
    /// What electricity costs, per kilowatt hour.
    #[serde(default)]
    pub per_kwh: Usd,
    /// Space, people, repair, per year.
    #[serde(default)]
    pub upkeep_per_year: Usd,
    /// The share of all hours in which it is of use to anybody: an idle machine
    /// makes each hour of use dearer.
    #[serde(default = "always")]
    pub utilisation: Fraction,
}

fn always() -> Fraction {
    Fraction::saturating(1.0)
}

impl OwnedCost {
    /// Straight-line depreciation and upkeep, spread over the hours of use, and
    /// the electricity of an hour of use.
    ///
    /// # Errors
    /// Says which figure leaves the price without a meaning.
    pub fn per_hour(&self) -> Result<UsdPerHour, &'static str> {
        if !(self.years.is_finite() && self.years > 0.0) {
            return Err("`years` must be more than 0");
        }
        if !(self.power_watts.is_finite() && self.power_watts >= 0.0) {
            return Err("`power_watts` must not be negative");
        }
        if self.utilisation.get() <= 0.0 {
            return Err("`utilisation` must be more than 0");
        }
        if self.power_watts > 0.0 && self.per_kwh.is_zero() {
            return Err("`power_watts` needs `per_kwh`, the price of electricity");
        }
        let yearly = self.purchase.get() / self.years + self.upkeep_per_year.get();
        let fixed = yearly / (HOURS_PER_YEAR * self.utilisation.get());
        let energy = self.power_watts / 1000.0 * self.per_kwh.get();
        let price = UsdPerHour::saturating(fixed + energy);
        if price.is_zero() {
            return Err("these costs come to 0 per hour: give `purchase`");
        }
        Ok(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_owned_hardware_costs_depreciation_upkeep_and_power() {
        // 8,760 over one year is 1.00 an hour; half used doubles it; 500 W at 0.40.
        let mut cost = OwnedCost {
            purchase: Usd::new(8760.0).unwrap(),
            years: 1.0,
            power_watts: 0.0,
            per_kwh: Usd::ZERO,
            upkeep_per_year: Usd::ZERO,
            utilisation: Fraction::new(1.0).unwrap(),
        };
        assert!((cost.per_hour().unwrap().get() - 1.0).abs() < 1e-12);
        cost.utilisation = Fraction::new(0.5).unwrap();
        cost.upkeep_per_year = Usd::new(876.0).unwrap();
        cost.power_watts = 500.0;
        assert!(cost.per_hour().unwrap_err().contains("per_kwh"));
        cost.per_kwh = Usd::new(0.4).unwrap();
        assert!((cost.per_hour().unwrap().get() - 2.4).abs() < 1e-12);
        cost.years = 0.0;
        assert!(cost.per_hour().unwrap_err().contains("years"));
    }
}
