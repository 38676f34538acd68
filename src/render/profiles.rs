//! Profiles as reports.

use super::{Report, Table, calibration_report};
use crate::profile::calibration::Calibration;

/// A profile in a list.
#[derive(Debug, Clone, Copy)]
pub struct ProfileRow<'p> {
    /// What it is called.
    pub name: &'p str,
    /// Whether it was brought in from another machine.
    pub elsewhere: bool,
    /// What is in it.
    pub calibration: &'p Calibration,
}

/// A table of profiles; `which` says of those from elsewhere what they are.
#[must_use]
pub fn profiles_report(which: &str, rows: &[ProfileRow<'_>]) -> Report {
    let mut report = Report::default();
    let brought = rows.iter().filter(|row| row.elsewhere).count();
    let own = match rows.len() - brought {
        0 => String::new(),
        n => format!(", {n} measured here"),
    };
    let plural = if brought == 1 { "" } else { "s" };
    report.answer(format!("{brought} profile{plural} {which}{own}."));
    let mut table = Table::new(&[
        "name", "model", "machine", "device", "taken on", "with", ">rows",
    ]);
    for row in rows {
        let one = row.calibration;
        let machine = match (&one.machine_type, row.elsewhere) {
            (Some(machine), _) => machine.clone(),
            (None, true) => "elsewhere, type not said".to_owned(),
            (None, false) => "this machine".to_owned(),
        };
        table.push([
            row.name.to_owned(),
            one.model.name.clone(),
            machine,
            one.device.to_string(),
            one.taken_at.get(..10).unwrap_or(&one.taken_at).to_owned(),
            one.fingerprint.runtime.clone(),
            one.rows.len().to_string(),
        ]);
    }
    report.table(table);
    report
}

/// One profile: where it lies, what it is of, what was measured.
#[must_use]
pub fn profile_report(calibration: &Calibration, file: &str) -> Report {
    let mut report = calibration_report(std::slice::from_ref(calibration));
    report.facts([
        ("file", file.to_owned()),
        (
            "machine type",
            calibration
                .machine_type
                .clone()
                .unwrap_or_else(|| "not said".to_owned()),
        ),
        ("fingerprint", calibration.fingerprint.short()),
    ]);
    report
}
