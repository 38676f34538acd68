//! Whether a calibration that somebody else made can be true: its fingerprint is
//! that of its machine, and nothing in it is faster than the hardware.

use super::{
    calibration::{Calibration, Device, Fingerprint, Row},
    hardware_book::HardwareBook,
};
use crate::{
    error::{Error, Result},
    units::FlopRate,
};

/// Arithmetic per cycle of one core, and clock in hertz, that no processor in any
/// profile exceeds: for those that are in none.
const ANY_CORE: f64 = 4096.0 * 6e9;

/// How much above a datasheet's peak a run may seem: clocks beyond the all-core
/// clock, and arithmetic that a runtime saves (Winograd saves 2.25 times).
const SLACK: f64 = 2.25 * 1.5;

/// Refuses what cannot be true of a calibration, with file and line.
///
/// # Errors
/// The fingerprint is not that of the machine and model in the file, a row holds
/// no time above 0, or is faster than the hardware can be.
pub fn check(
    calibration: &Calibration,
    hardware: &HardwareBook,
    (name, text): (&str, &str),
) -> Result<()> {
    let at = |key: &str, nth: usize| place(text, key, nth);
    let of_file = Fingerprint::of(
        &calibration.machine,
        &calibration.device,
        &calibration.fingerprint.runtime,
        &calibration.model.hash,
    );
    if let Some(difference) = calibration.fingerprint.difference(&of_file) {
        return Err(Error::bad_input(format!(
            "{name}:{}: the fingerprint is not that of the machine and model in the file ({difference})",
            at("fingerprint", 0)
        ))
        .hint("export it again where it was measured; a calibration is not to be edited"));
    }
    if calibration.rows.iter().all(|row| row.rounds.is_empty()) {
        return Err(Error::bad_input(format!(
            "{name}:{}: no row holds a measurement",
            at("rows", 0)
        )));
    }
    let peak = peak(calibration, hardware);
    for (i, row) in calibration.rows.iter().enumerate() {
        // Keys of rows come before those of starts and idle gaps, which have layouts too.
        let line = at("batch_size", i);
        let refuse = |why: &str| Err(Error::bad_input(format!("{name}:{line}: {why}")));
        let Some(fastest) = row.rounds.iter().map(|round| round.mean).min() else {
            continue;
        };
        if fastest.is_zero() || row.samples.iter().any(|sample| sample.is_zero()) {
            return refuse("an inference that takes no time");
        }
        let reached = reached(calibration, row, fastest.get());
        if reached.get() > peak.get() * SLACK {
            return refuse(&format!(
                "{} × batch {} in {fastest} is {reached}, more than {} can do ({peak}); times must be in seconds",
                row.layout, row.batch_size, calibration.device
            ));
        }
    }
    Ok(())
}

/// Arithmetic per second that a row amounts to.
fn reached(calibration: &Calibration, row: &Row, seconds: f64) -> FlopRate {
    let each = calibration.model.flops_per_item.get() * f64::from(row.batch_size);
    FlopRate::saturating(each * f64::from(row.layout.instances) / seconds)
}

/// The most that the device can do in any number format.
fn peak(calibration: &Calibration, hardware: &HardwareBook) -> FlopRate {
    let threads = f64::from(calibration.machine.usable_threads());
    match &calibration.device {
        Device::Cpu => {
            let each = hardware
                .nearest_cpu(&calibration.machine)
                .map_or(ANY_CORE, |cpu| {
                    let per_cycle = [
                        Some(cpu.fp32_flop_per_cycle),
                        cpu.int8_op_per_cycle,
                        cpu.matrix_bf16_flop_per_cycle,
                        cpu.matrix_int8_op_per_cycle,
                    ];
                    let most = per_cycle.into_iter().flatten().fold(0.0, f64::max);
                    most * cpu.all_core_ghz * 1e9
                });
            FlopRate::saturating(each * threads)
        }
        Device::Cuda { name, .. } => {
            let gpus = calibration.machine.gpus.devices().len().max(1) as f64;
            let known = hardware.gpu_by_nvml_name(name);
            let all = hardware
                .gpus()
                .filter(|gpu| known.is_none_or(|k| k == *gpu));
            let most = all
                .flat_map(|gpu| [Some(gpu.fp32), gpu.tf32, gpu.fp16, gpu.fp8, gpu.int8])
                .flatten()
                .map(FlopRate::get)
                .fold(0.0, f64::max);
            FlopRate::saturating(most * gpus)
        }
    }
}

/// Line and column of the n-th time that a key stands in a JSON text; the first
/// line where it does not stand that often.
fn place(text: &str, key: &str, nth: usize) -> String {
    let quoted = format!("\"{key}\"");
    let found = text.match_indices(&quoted).nth(nth).map(|(at, _)| at);
    let before = text.get(..found.unwrap_or(0)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::calibration::example,
        units::{Flops, Time},
    };

    fn checked(calibration: &Calibration) -> Result<()> {
        let text = serde_json::to_string_pretty(calibration).unwrap();
        check(
            calibration,
            &HardwareBook::shipped().unwrap(),
            ("mine.json", &text),
        )
    }

    #[test]
    fn a_calibration_as_it_was_measured_passes() {
        checked(&example(&[((1, 1), 1, 0.1), ((1, 1), 2, 0.2)])).unwrap();
    }

    #[test]
    fn another_machine_under_the_same_fingerprint_is_refused() {
        let mut one = example(&[((1, 1), 1, 0.1)]);
        one.machine.cpu.logical_cores = 64;
        let error = checked(&one).unwrap_err();
        assert!(error.message().starts_with("mine.json:4:"), "{error}");
        assert!(error.message().contains("usable threads: 2 against 64"));
    }

    #[test]
    fn what_no_hardware_does_is_refused_with_the_row() {
        let mut one = example(&[((1, 1), 1, 0.1), ((1, 1), 2, 1e-6)]);
        one.model.flops_per_item = Flops::new(1e9).unwrap();
        let error = checked(&one).unwrap_err();
        let text = serde_json::to_string_pretty(&one).unwrap();
        let line = error.message().split(':').nth(1).unwrap().parse::<usize>();
        let shown = text.lines().nth(line.unwrap() - 1).unwrap();
        assert_eq!(shown.trim(), "\"batch_size\": 2,", "{error}");
        assert!(error.message().contains("more than CPU can do"), "{error}");
        let mut none = example(&[((1, 1), 1, 0.1)]);
        none.rows[0].samples = vec![Time::ZERO];
        assert!(checked(&none).unwrap_err().message().contains("no time"));
    }
}
