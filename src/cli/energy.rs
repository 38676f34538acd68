//! What the options of a plan draw and emit: parts from the price and hardware books.

use crate::{
    error::Result,
    plan::{
        advise::{Kind, Plan, ServingOption},
        energy::{Consumption, EnergyBook, Parts, Use, consumption},
        pricing::{Offer, PriceBook},
    },
    profile::{
        calibration::{Calibration, Device},
        hardware::CpuSpec,
        hardware_book::HardwareBook,
        machine::Machine,
    },
    units::{Fraction, GridIntensity, Rate},
};

/// What an option's machines are known from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    pub hardware: &'k HardwareBook,
    pub book: &'k PriceBook,
    /// This machine with its nearest specification, for options here.
    pub here: (&'k Machine, Option<&'k CpuSpec>),
    pub calibrations: &'k [Calibration],
    /// The grid's emissions as the user gives them.
    pub grid: Option<GridIntensity>,
}

/// The consumption of every option of a plan, in their order; none where the parts
/// are not known.
///
/// # Errors
/// The shipped figures are damaged.
pub(super) fn of_plan(plan: &Plan, known: Known<'_>) -> Result<Vec<Option<Consumption>>> {
    let energy = EnergyBook::shipped()?;
    Ok(plan
        .options
        .iter()
        .map(|option| {
            let parts = if option.machine.provider == "here" {
                here(option, known)
            } else {
                offered(option, known)
            }?;
            consumption(
                &energy,
                &parts,
                &load(option, parts.vcpus, (plan.question.rate, known.grid)),
            )
        })
        .collect())
}

fn load(option: &ServingOption, vcpus: u32, (rate, grid): (Rate, Option<GridIntensity>)) -> Use {
    let layout = option.setup.layout;
    let busy = option.utilisation.get();
    // A GPU's instances each keep one thread of the host busy with handing over.
    let threads = match option.machine.kind {
        Kind::Cpu => layout.instances.saturating_mul(layout.intra_op_threads),
        Kind::Gpu => layout.instances,
    };
    Use {
        replicas: option.replicas,
        processor: Fraction::saturating(busy * f64::from(threads) / f64::from(vcpus.max(1))),
        gpu: Fraction::saturating(busy),
        rate,
        grid,
    }
}

fn offered<'k>(option: &'k ServingOption, known: Known<'k>) -> Option<Parts<'k>> {
    let machine = &option.machine;
    let offer: &Offer = known.book.all().iter().find(|offer| {
        offer.provider == machine.provider
            && offer.instance_type == machine.instance_type
            && offer.region == machine.region
    })?;
    let spec = offer
        .cpu
        .as_deref()
        .and_then(|name| known.hardware.cpu(name));
    let gpu = match &offer.gpu {
        Some(part) => Some((known.hardware.gpu(&part.name)?, part.count)),
        None => None,
    };
    Some(Parts {
        provider: &machine.provider,
        region: &machine.region,
        vcpus: offer.vcpus,
        memory: offer.memory,
        microarchitecture: spec.map(|spec| spec.microarchitecture.as_str()),
        gpu,
        measured: None,
    })
}

fn here<'k>(option: &'k ServingOption, known: Known<'k>) -> Option<Parts<'k>> {
    let (machine, spec) = known.here;
    let gpu = match option.machine.kind {
        Kind::Cpu => None,
        Kind::Gpu => Some((
            known.hardware.gpu_by_nvml_name(&option.machine.hardware)?,
            1,
        )),
    };
    Some(Parts {
        provider: "here",
        region: "here",
        vcpus: machine.usable_threads(),
        memory: machine.usable_memory().unwrap_or_default(),
        microarchitecture: spec.map(|spec| spec.microarchitecture.as_str()),
        gpu,
        measured: known
            .calibrations
            .iter()
            .filter(|calibration| (calibration.device == Device::Cpu) == (gpu.is_none()))
            .flat_map(|calibration| &calibration.rows)
            .filter(|row| row.layout == option.setup.layout)
            .filter(|row| row.batch_size <= option.setup.max_batch)
            .filter_map(|row| row.power)
            .max(),
    })
}
