//! Power, energy and carbon of machines under a load.

use super::book::EnergyBook;
use crate::{
    estimate::{Estimate, Source},
    profile::hardware::GpuSpec,
    units::{Bytes, Carbon, Energy, Fraction, GridIntensity, Power, Rate},
};
use serde::Serialize;

/// What one machine is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'p> {
    /// Who runs it.
    pub provider: &'p str,
    /// Where.
    pub region: &'p str,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Main memory.
    pub memory: Bytes,
    /// The processor's microarchitecture, where it is known.
    pub microarchitecture: Option<&'p str>,
    /// Its GPUs and how many.
    pub gpu: Option<(&'p GpuSpec, u32)>,
    /// What the processors (or, with GPUs, these) were measured to draw while the
    /// model ran on them.
    pub measured: Option<Power>,
}

/// What is done with the machines.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// How many machines.
    pub replicas: u64,
    /// Share of time that the vCPUs are busy.
    pub processor: Fraction,
    /// Share of time that the GPUs are busy.
    pub gpu: Fraction,
    /// Requests per second, of all machines.
    pub rate: Rate,
    /// The grid's emissions, where the user knows better.
    pub grid: Option<GridIntensity>,
}

/// What serving takes, with all that the building adds.
///
/// The interval is not one of chance: its ends are what the parts draw idle and at
/// full load, and so hold what is drawn if the figures per part are right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Consumption {
    /// Drawn by all machines and their share of the building.
    #[serde(rename = "power_w")]
    pub power: Estimate<Power>,
    /// Per million requests.
    #[serde(rename = "energy_kwh_per_million")]
    pub energy_per_million: Option<Energy>,
    /// Emissions of the grid.
    #[serde(rename = "grid_gco2e_per_kwh")]
    pub grid: GridIntensity,
    /// Per hour.
    #[serde(rename = "carbon_g_per_hour")]
    pub carbon_per_hour: Carbon,
    /// Per million requests.
    #[serde(rename = "carbon_g_per_million")]
    pub carbon_per_million: Option<Carbon>,
    /// Where the figures come from, one sentence each.
    pub basis: Vec<String>,
}

/// The level of an interval that is a bound.
const BOUND: f64 = 1.0;

/// What machines draw and emit under a load: linear between idle and full load for
/// processors and memory (the method of Cloud Carbon Footprint); a GPU between its
/// share of busy time of its power limit and the whole of it. None where the region
/// has no grid, which the world's average rules out for the shipped book.
#[must_use]
pub fn consumption(book: &EnergyBook, parts: &Parts<'_>, used: &Use) -> Option<Consumption> {
    let site = book.grid(parts.provider, parts.region)?;
    let mut basis = Vec::new();
    let vcpus = f64::from(parts.vcpus);
    let gigabytes = parts.memory.get() as f64 / 1e9;
    let (any_idle, any_full) = book.any_processor();
    let processor = parts
        .microarchitecture
        .and_then(|name| Some((name, book.processor(parts.provider, name)?)));
    let (idle, value, full, memory) = if let Some((name, power)) = processor {
        let value = between(power.idle, power.full, used.processor);
        if power.stand_in {
            basis.push(format!(
                "{name} has no published power; {} stands in, with the interval of all processors",
                power.row
            ));
            (any_idle, value, any_full, power.memory)
        } else {
            basis.push(format!(
                "power per vCPU of {} (Cloud Carbon Footprint, 2023)",
                power.row
            ));
            (power.idle, value, power.full, power.memory)
        }
    } else {
        basis.push("the processor is not known; the interval is that of all processors".to_owned());
        let value = between(any_idle, any_full, used.processor);
        (any_idle, value, any_full, Power::ZERO)
    };
    let on_gpu = parts.gpu.is_some();
    let (value, full) = match parts.measured.filter(|_| !on_gpu) {
        Some(measured) => {
            basis.push(format!("{measured} of the processors, measured"));
            let full = measured.scaled(1.0 / vcpus.max(1.0)).max(idle);
            (between(idle, full, used.processor), full)
        }
        None => (value, full),
    };
    let host = |per_vcpu: Power| per_vcpu.scaled(vcpus) + memory.scaled(gigabytes);
    let (mut low, mut middle, mut high) = (host(idle), host(value), host(full));
    if let Some((gpu, count)) = parts.gpu {
        let cards = f64::from(count);
        let (drawn, word) = match parts.measured {
            Some(measured) => (measured, "measured"),
            None => (Power::saturating(gpu.power_watts?), "its power limit"),
        };
        let drawn_by_all = drawn.scaled(cards);
        let busy = drawn_by_all.scaled(used.gpu.get());
        low = low + busy;
        middle = middle + busy.scaled(0.5) + drawn_by_all.scaled(0.5);
        high = high + drawn_by_all;
        basis.push(format!(
            "{} between its busy share and the whole of {drawn}, {word}",
            gpu.name
        ));
    }
    let all = used.replicas as f64 * site.overhead;
    let power = Estimate::new(
        middle.scaled(all),
        (low.scaled(all), high.scaled(all)),
        Fraction::saturating(BOUND),
        Source::Profile {
            name: "energy".to_owned(),
        },
    );
    let grid = used.grid.unwrap_or(site.intensity);
    basis.push(match used.grid {
        Some(_) => "the grid's emissions as given".to_owned(),
        None => format!("grid: {}", site.basis),
    });
    basis.push(format!("PUE {}", site.overhead));
    let energy_per_million = power.value.per_million(used.rate);
    Some(Consumption {
        carbon_per_hour: grid.of(power.value.during(crate::units::Time::saturating(3600.0))),
        carbon_per_million: energy_per_million.map(|energy| grid.of(energy)),
        energy_per_million,
        grid,
        power,
        basis,
    })
}

fn between(idle: Power, full: Power, busy: Fraction) -> Power {
    idle + (full - idle).scaled(busy.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::hardware_book::HardwareBook;
    use proptest::prelude::*;

    fn parts(gpu: Option<(&GpuSpec, u32)>) -> Parts<'_> {
        Parts {
            provider: "azure",
            region: "nowhere",
            vcpus: 8,
            memory: Bytes::new(32_000_000_000),
            microarchitecture: Some("AMD EPYC Milan (Zen3)"),
            gpu,
            measured: None,
        }
    }

    fn used(processor: f64, gpu: f64) -> Use {
        Use {
            replicas: 2,
            processor: Fraction::saturating(processor),
            gpu: Fraction::saturating(gpu),
            rate: Rate::saturating(100.0),
            grid: None,
        }
    }

    /// By hand: 8 vCPU between 0.4454 W and 2.0193 W, half busy, and 32 GB at
    /// 0.392 W: 8 × 1.23235 + 12.544 = 22.4028 W; two machines, PUE 1.58: 70.793 W;
    /// at 475 g/kWh 33.627 g an hour.
    #[test]
    fn a_processor_draws_what_the_method_says() {
        let book = EnergyBook::shipped().unwrap();
        let found = consumption(&book, &parts(None), &used(0.5, 0.0)).unwrap();
        assert!((found.power.value.get() - 70.793).abs() < 0.001);
        assert!((found.carbon_per_hour.get() - 33.627).abs() < 0.001);
        // 100 requests a second: a million takes 2.7778 hours.
        let million = found.energy_per_million.unwrap().get();
        assert!((million - 0.070_793 * 2.777_78).abs() < 1e-5);
        let own = Use {
            grid: Some(GridIntensity::ZERO),
            ..used(0.5, 0.0)
        };
        let green = consumption(&book, &parts(None), &own).unwrap();
        assert!(green.carbon_per_hour.is_zero());
    }

    #[test]
    fn what_was_measured_takes_the_place_of_the_table() {
        let book = EnergyBook::shipped().unwrap();
        let measured = Parts {
            measured: Some(Power::saturating(40.0)),
            ..parts(None)
        };
        let found = consumption(&book, &measured, &used(1.0, 0.0)).unwrap();
        // 40 W and 32 GB of memory, two machines, PUE 1.58.
        let by_hand = (40.0 + 12.544) * 2.0 * 1.58;
        assert!((found.power.value.get() - by_hand).abs() < 1e-6);
        assert!(found.basis.iter().any(|b| b.contains("measured")));
    }

    #[test]
    fn a_gpu_draws_at_most_its_power_limit() {
        let book = EnergyBook::shipped().unwrap();
        let hardware = HardwareBook::shipped().unwrap();
        let l4 = hardware.gpu("L4").unwrap();
        let without = consumption(&book, &parts(None), &used(0.0, 0.0)).unwrap();
        let with = consumption(&book, &parts(Some((l4, 1))), &used(0.0, 1.0)).unwrap();
        let drawn = (with.power.high - without.power.high).get();
        // 72 W, twice, times 1.58.
        assert!((drawn - 72.0 * 2.0 * 1.58).abs() < 1e-6, "{drawn}");
        assert!(with.power.value <= with.power.high && with.power.low <= with.power.value);
    }

    proptest! {
        #[test]
        fn more_load_never_draws_less(
            a in 0.0..1.0f64,
            b in 0.0..1.0f64,
            gpu in any::<bool>(),
        ) {
            let book = EnergyBook::shipped().unwrap();
            let hardware = HardwareBook::shipped().unwrap();
            let card = gpu.then(|| (hardware.gpu("L4").unwrap(), 1));
            let (low, high) = (a.min(b), a.max(b));
            let less = consumption(&book, &parts(card), &used(low, low)).unwrap();
            let more = consumption(&book, &parts(card), &used(high, high)).unwrap();
            prop_assert!(less.power.value <= more.power.value);
            prop_assert!(more.power.low <= more.power.value && more.power.value <= more.power.high);
        }
    }
}
