//! The guard on memory: a child that takes more than measuring may take is
//! stopped before the system has to choose whom to stop.
//!
//! The resident set is watched from outside. A limit on the address space
//! (`RLIMIT_AS`) would not do: runtimes map far more than they use.

use crate::units::{Bytes, Time};

/// How often a busy child is looked at: often enough that a load at a few
/// gigabytes per second is caught, rarely enough to disturb nothing. A visit is
/// usually over before the first look.
pub(super) const LOOK_EVERY: f64 = 0.050;

/// Share of the memory that measuring may take.
const SHARE: f64 = 0.9;

/// What one question to a child may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time until the answer.
    pub time: Time,
    /// Resident set of the child; none without a limit.
    pub memory: Option<Bytes>,
}

/// What all children together may take: nine tenths of what the machine or
/// container has and of what is free now, unless the user says otherwise.
#[must_use]
pub(crate) fn room(asked: Option<Bytes>, usable: Option<Bytes>) -> Option<Bytes> {
    asked.or_else(|| {
        [usable, available()]
            .into_iter()
            .flatten()
            .min()
            .map(|bytes| bytes.scaled(SHARE))
    })
}

/// Memory that can be had without swapping, as the kernel reckons it.
fn available() -> Option<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(&text, "MemAvailable:")
}

/// Resident set of a process; none where the system does not tell or it is gone.
pub(super) fn resident_set(process: u32) -> Option<Bytes> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    kibibytes(&text, "VmRSS:")
}

/// A field that is given in kB, as in `/proc/meminfo` and `/proc/<pid>/status`.
pub(super) fn kibibytes(text: &str, field: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes::new(kib.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_kilobytes_are_read() {
        let text = "MemTotal:       24684100 kB\nMemAvailable:   23047544 kB\nHugePages:  3\n";
        assert_eq!(
            kibibytes(text, "MemAvailable:"),
            Some(Bytes::new(23_047_544 * 1024))
        );
        assert_eq!(kibibytes(text, "HugePages:"), None);
        assert_eq!(kibibytes(text, "Nothing:"), None);
    }

    #[test]
    fn what_the_user_allows_stands_over_what_there_is() {
        let asked = Some(Bytes::from_mib(100));
        assert_eq!(room(asked, Some(Bytes::from_mib(1))), asked);
        let one = room(None, Some(Bytes::from_mib(1)));
        assert_eq!(one, Some(Bytes::from_mib(1).scaled(0.9)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_resident_set() {
        assert!(resident_set(std::process::id()).is_some_and(|b| b > Bytes::from_mib(1)));
        assert_eq!(resident_set(u32::MAX), None);
    }
}
