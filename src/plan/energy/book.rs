//! Figures for power and grids, as published: `profiles/energy`.

use crate::{
    error::{Error, Result},
    units::{GridIntensity, Power},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a processor draws, per vCPU.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessorPower {
    /// Per vCPU, when nothing runs.
    pub idle: Power,
    /// Per vCPU, when all are busy.
    pub full: Power,
    /// Per gigabyte (10⁹ bytes) of memory, always.
    pub memory: Power,
    /// The row it was taken from, for people.
    pub row: String,
    /// Whether the row stands in for a processor that is not in the table.
    pub stand_in: bool,
}

/// The grid and the building of a region.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Emissions of the grid, location-based.
    pub intensity: GridIntensity,
    /// What the building draws over what its computers draw (PUE), at least 1.
    pub overhead: f64,
    /// Where the figure comes from.
    pub basis: String,
}

/// All figures.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyBook {
    processors: Vec<PowerRow>,
    rows_by_microarchitecture: BTreeMap<String, (String, bool)>,
    grids: Vec<GridRow>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct PowerRow {
    cloud: String,
    microarchitecture: String,
    min_watts_per_vcpu: Power,
    max_watts_per_vcpu: Power,
    watts_per_gb_memory: Power,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct NameRow {
    microarchitecture: String,
    cpu_power_row: String,
    relation: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct GridRow {
    cloud: String,
    region: String,
    gco2e_per_kwh: GridIntensity,
    basis: String,
    pue_default: f64,
}

static PROCESSORS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/energy/cpu_power.csv"
));
static NAMES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/energy/microarchitectures.csv"
));
static GRIDS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/energy/grid.csv"
));

impl EnergyBook {
    /// The figures that come with the program.
    ///
    /// # Errors
    /// A shipped file is damaged, which a test rules out.
    pub fn shipped() -> Result<Self> {
        Self::parse(PROCESSORS, NAMES, GRIDS)
    }

    /// Reads the three tables: power by processor, which row of it belongs to which
    /// microarchitecture, and grids by region.
    ///
    /// # Errors
    /// A row that is not of the form, a power above full load when idle, a PUE below
    /// 1, a name that points to no row: each with its table and line.
    pub fn parse(processors: &str, names: &str, grids: &str) -> Result<Self> {
        let processors: Vec<PowerRow> = rows("cpu_power.csv", processors)?;
        for (line, row) in (2..).zip(&processors) {
            if row.min_watts_per_vcpu > row.max_watts_per_vcpu {
                return Err(refused(
                    "cpu_power.csv",
                    line,
                    "idle draws more than full load",
                ));
            }
        }
        let mut rows_by_microarchitecture = BTreeMap::new();
        for (line, name) in (2..).zip(rows::<NameRow>("microarchitectures.csv", names)?) {
            let known = processors
                .iter()
                .any(|row| row.microarchitecture == name.cpu_power_row);
            let stand_in = match name.relation.as_str() {
                "same" => false,
                "stand-in" => true,
                _ => {
                    return Err(refused(
                        "microarchitectures.csv",
                        line,
                        "`relation` is neither `same` nor `stand-in`",
                    ));
                }
            };
            if !known {
                return Err(refused(
                    "microarchitectures.csv",
                    line,
                    &format!("no row of power is called `{}`", name.cpu_power_row),
                ));
            }
            rows_by_microarchitecture
                .insert(name.microarchitecture, (name.cpu_power_row, stand_in));
        }
        let grids: Vec<GridRow> = rows("grid.csv", grids)?;
        for (line, grid) in (2..).zip(&grids) {
            if grid.pue_default.is_nan() || grid.pue_default < 1.0 {
                return Err(refused("grid.csv", line, "the PUE is below 1"));
            }
        }
        Ok(Self {
            processors,
            rows_by_microarchitecture,
            grids,
        })
    }

    /// What a vCPU of that microarchitecture draws at a provider; the figures of
    /// another provider where it has none of its own.
    #[must_use]
    pub fn processor(&self, provider: &str, microarchitecture: &str) -> Option<ProcessorPower> {
        let (wanted, stand_in) = self.rows_by_microarchitecture.get(microarchitecture)?;
        let of = |provider: Option<&str>| {
            self.processors.iter().find(|row| {
                row.microarchitecture == *wanted && provider.is_none_or(|p| p == row.cloud)
            })
        };
        let row = of(Some(provider)).or_else(|| of(None))?;
        Some(ProcessorPower {
            idle: row.min_watts_per_vcpu,
            full: row.max_watts_per_vcpu,
            memory: row.watts_per_gb_memory,
            row: format!("{} at {}", row.microarchitecture, row.cloud),
            stand_in: *stand_in,
        })
    }

    /// The least and the most that a vCPU of any processor in use draws: what can
    /// be said of one for which there are no figures.
    #[must_use]
    pub fn any_processor(&self) -> (Power, Power) {
        let used = || {
            self.processors.iter().filter(|row| {
                self.rows_by_microarchitecture
                    .values()
                    .any(|(name, _)| *name == row.microarchitecture)
            })
        };
        (
            used()
                .map(|r| r.min_watts_per_vcpu)
                .min()
                .unwrap_or_default(),
            used()
                .map(|r| r.max_watts_per_vcpu)
                .max()
                .unwrap_or_default(),
        )
    }

    /// The grid of a provider's region: its own row, one for several regions
    /// (`IN*`), or the world's average.
    #[must_use]
    pub fn grid(&self, provider: &str, region: &str) -> Option<Grid> {
        let covers = |row: &&GridRow| {
            row.cloud == provider
                && row.region.strip_suffix('*').map_or_else(
                    || row.region == region,
                    |start| !start.is_empty() && region.starts_with(start),
                )
        };
        let row = self
            .grids
            .iter()
            .find(covers)
            .or_else(|| self.grids.iter().find(|row| row.cloud == "*"))?;
        Some(Grid {
            intensity: row.gco2e_per_kwh,
            overhead: row.pue_default,
            basis: row.basis.clone(),
        })
    }
}

fn rows<T: for<'d> Deserialize<'d>>(name: &str, text: &str) -> Result<Vec<T>> {
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .map(|row| row.map_err(|error| Error::bad_input(format!("{name}: {error}"))))
        .collect()
}

fn refused(name: &str, line: usize, why: &str) -> Error {
    Error::bad_input(format!("{name}, line {line}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::hardware_book::HardwareBook;

    #[test]
    fn every_microarchitecture_of_the_hardware_book_has_a_power() {
        let book = EnergyBook::shipped().unwrap();
        for cpu in HardwareBook::shipped().unwrap().cpus() {
            let name = &cpu.microarchitecture;
            assert!(book.processor("aws", name).is_some(), "{name}");
        }
    }

    #[test]
    fn published_values_are_found_by_region() {
        let book = EnergyBook::shipped().unwrap();
        let grid = book.grid("gcp", "europe-west9").unwrap();
        assert_eq!(grid.intensity, GridIntensity::saturating(16.3));
        assert!((grid.overhead - 1.1).abs() < 1e-12);
        // One row for all regions of a country, and the world for an unknown one.
        let india = book.grid("jarvislabs", "IN2").unwrap();
        assert_eq!(india.intensity, GridIntensity::saturating(713.441));
        let nowhere = book.grid("somebody", "somewhere").unwrap();
        assert_eq!(nowhere.intensity, GridIntensity::saturating(475.0));
        let milan = book.processor("azure", "AMD EPYC Milan (Zen3)").unwrap();
        assert_eq!(milan.full, Power::saturating(2.0193));
        assert!(!milan.stand_in);
        assert!(
            book.processor("aws", "AMD EPYC Turin (Zen5)")
                .unwrap()
                .stand_in
        );
        assert!(book.processor("aws", "Intel 8086").is_none());
    }

    #[test]
    fn damaged_tables_are_refused_with_their_line() {
        let power =
            "cloud,microarchitecture,min_watts_per_vcpu,max_watts_per_vcpu,watts_per_gb_memory\n";
        let names = "microarchitecture,cpu_power_row,relation\n";
        let grid = "cloud,region,gco2e_per_kwh,basis,pue_default\n";
        let error = |p: &str, n: &str, g: &str| {
            EnergyBook::parse(
                &format!("{power}{p}"),
                &format!("{names}{n}"),
                &format!("{grid}{g}"),
            )
            .unwrap_err()
            .to_string()
        };
        assert!(error("aws,X,3,2,0.4\n", "", "").contains("line 2"));
        assert!(error("aws,X,NaN,2,0.4\n", "", "").contains("line: 2"));
        assert!(error("aws,X,-1,2,0.4\n", "", "").contains("negative"));
        assert!(error("aws,X,1,2,0.4\n", "A,Y,same\n", "").contains("`Y`"));
        assert!(error("aws,X,1,2,0.4\n", "A,X,like\n", "").contains("relation"));
        assert!(error("aws,X,1,2,0.4\n", "A,X,same\n", "aws,r,1,b,0.9\n").contains("PUE"));
    }
}
