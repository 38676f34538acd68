use super::{Rate, Time, UnitError, float_quantity, split_number, write_significant};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Electric power, in watts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Power(f64);

float_quantity!(Power, "a power", "watts");

impl Power {
    /// The energy drawn in some time.
    #[must_use]
    pub fn during(self, time: Time) -> Energy {
        Energy::saturating(self.0 / 1000.0 * time.get() / 3600.0)
    }

    /// The energy of a million requests at that rate; none at a rate of zero.
    #[must_use]
    pub fn per_million(self, rate: Rate) -> Option<Energy> {
        rate.interval()
            .map(|interval| self.during(interval.scaled(1e6)))
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = if self.0 >= 1000.0 {
            (self.0 / 1000.0, "kW")
        } else {
            (self.0, "W")
        };
        write_significant(f, value)?;
        write!(f, " {unit}")
    }
}

/// An amount of energy, in kilowatt-hours.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Energy(f64);

float_quantity!(Energy, "an amount of energy", "kilowatt-hours");

impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = if self.0 < 1.0 && self.0 > 0.0 {
            (self.0 * 1000.0, "Wh")
        } else {
            (self.0, "kWh")
        };
        write_significant(f, value)?;
        write!(f, " {unit}")
    }
}

/// What a grid emits for a unit of energy, in grams of CO₂ equivalent per kilowatt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct GridIntensity(f64);

float_quantity!(
    GridIntensity,
    "a grid intensity",
    "grams of CO2e per kilowatt-hour"
);

impl GridIntensity {
    /// What an amount of energy emits.
    #[must_use]
    pub fn of(self, energy: Energy) -> Carbon {
        Carbon::saturating(self.0 * energy.get())
    }
}

impl FromStr for GridIntensity {
    type Err = UnitError;

    /// `350`, `350g`: grams of CO₂ equivalent per kWh.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("grid intensity", text)?;
        match unit {
            "" | "g" | "g/kWh" => Self::new(value),
            _ => Err(UnitError::new(format!(
                "`{text}` is not a grid intensity: write grams of CO2e per kWh, as `350`"
            ))),
        }
    }
}

impl fmt::Display for GridIntensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_significant(f, self.0)?;
        f.write_str(" g/kWh")
    }
}

/// An amount of greenhouse gas, in grams of CO₂ equivalent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Carbon(f64);

float_quantity!(Carbon, "an amount of CO2e", "grams");

impl fmt::Display for Carbon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            v if v >= 1e6 => (v / 1e6, "t"),
            v if v >= 1000.0 => (v / 1000.0, "kg"),
            v => (v, "g"),
        };
        write_significant(f, value)?;
        write!(f, " {unit} CO2e")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilowatt_for_an_hour_is_a_kilowatt_hour() {
        let energy = Power::saturating(1000.0).during(Time::saturating(3600.0));
        assert!((energy.get() - 1.0).abs() < 1e-12);
        let carbon = GridIntensity::saturating(350.0).of(energy);
        assert_eq!(carbon.to_string(), "350 g CO2e");
        // 100 W at 100 requests a second: a million takes 10,000 s, 0.2778 kWh.
        let million = Power::saturating(100.0)
            .per_million(Rate::saturating(100.0))
            .unwrap();
        assert_eq!(million.to_string(), "278 Wh");
        assert!(Power::saturating(1.0).per_million(Rate::ZERO).is_none());
    }

    #[test]
    fn a_grid_intensity_is_grams_per_kilowatt_hour() {
        assert_eq!("350g/kWh".parse(), GridIntensity::new(350.0));
        assert!("350lb".parse::<GridIntensity>().is_err());
        assert!("-1".parse::<GridIntensity>().is_err());
        assert!("NaN".parse::<GridIntensity>().is_err());
    }
}
