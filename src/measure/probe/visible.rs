//! Which GPUs CUDA shows a program, and in what order: what
//! `CUDA_VISIBLE_DEVICES` means.
//!
//! Sources: CUDA Programming Guide, appendix "CUDA Environment Variables" (order
//! of the list, invalid index, abbreviated UUID, one MIG instance alone); NVIDIA
//! MIG User Guide, "CUDA Device Enumeration" (one compute instance, no plain GPU
//! beside it). What they leave open follows what `PyTorch` found CUDA to do
//! (`torch/cuda/__init__.py`, `_parse_visible_devices`): an index is read up to
//! its first character that is no digit, an identity that comes twice hides
//! everything, and the first entry decides whether the list is one of indices or
//! of UUIDs.

/// A GPU as far as visibility depends on it, in NVML's order (that of the PCI bus).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, where known.
    pub name: Option<String>,
    /// Its identity, `GPU-…`, where known.
    pub uuid: Option<String>,
    /// With MIG on: the identities of its instances, `MIG-…`; none with MIG off.
    pub instances: Option<Vec<Option<String>>>,
}

/// One thing that CUDA shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Position among the candidates.
    pub device: usize,
    /// Position among the MIG instances of that device.
    pub instance: Option<usize>,
}

/// What CUDA shows, in the order of its indices, and what is doubtful about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    /// The devices, by CUDA index.
    pub shown: Vec<Shown>,
    /// Sentences for the user, without a final full stop.
    pub notes: Vec<String>,
}

/// By what CUDA numbers its devices (`CUDA_DEVICE_ORDER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOrder {
    /// CUDA's default: the fastest first, by a rule that is not published.
    FastestFirst,
    /// By position on the PCI bus, as NVML numbers them.
    PciBus,
}

impl DeviceOrder {
    /// Reads the value of `CUDA_DEVICE_ORDER`; anything but `PCI_BUS_ID` is the default.
    #[must_use]
    pub fn from_variable(value: Option<&str>) -> Self {
        match value {
            Some("PCI_BUS_ID") => Self::PciBus,
            _ => Self::FastestFirst,
        }
    }
}

/// What CUDA shows of `devices` when `CUDA_VISIBLE_DEVICES` is `value`.
#[must_use]
pub fn visible(value: Option<&str>, order: DeviceOrder, devices: &[Candidate]) -> Visible {
    let mut notes = Vec::new();
    let (chosen, by_index) = match value {
        None => (every(devices), true),
        Some(list) if list.starts_with("GPU-") => (by_uuid(list, devices, &mut notes), false),
        Some(list) if list.starts_with("MIG-") => (by_instance(list, devices, &mut notes), false),
        Some(list) => (by_index(list, devices, &mut notes), true),
    };
    if by_index && !chosen.is_empty() && order == DeviceOrder::FastestFirst && differ(devices) {
        notes.push(
            "CUDA numbers GPUs of different kinds fastest first, which may not be the order shown; set CUDA_DEVICE_ORDER=PCI_BUS_ID to make it so"
                .to_owned(),
        );
    }
    Visible {
        shown: with_instances(chosen, devices, &mut notes),
        notes,
    }
}

fn every(devices: &[Candidate]) -> Vec<Shown> {
    (0..devices.len())
        .map(|device| Shown {
            device,
            instance: None,
        })
        .collect()
}

/// With equal devices any rule of speed leaves the order of the bus.
fn differ(devices: &[Candidate]) -> bool {
    devices
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.name != b.name || a.name.is_none()))
}

fn by_index(list: &str, devices: &[Candidate], notes: &mut Vec<String>) -> Vec<Shown> {
    // An empty variable is the documented way to hide all, no mistake.
    if list.trim().is_empty() {
        return Vec::new();
    }
    let mut chosen: Vec<Shown> = Vec::new();
    for entry in list.split(',') {
        let Some(device) = leading_number(entry).filter(|i| *i < devices.len()) else {
            // `-1` and `NoDevFiles` (Slurm) hide on purpose.
            if !matches!(entry.trim(), "-1" | "NoDevFiles") {
                notes.push(invalid(entry, &format!("there are {} GPUs", devices.len())));
            }
            break;
        };
        if chosen.iter().any(|c| c.device == device) {
            notes.push(twice(entry));
            return Vec::new();
        }
        chosen.push(Shown {
            device,
            instance: None,
        });
    }
    chosen
}

/// The number a text starts with, as C's `strtoul` reads it.
fn leading_number(text: &str) -> Option<usize> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

fn by_uuid(list: &str, devices: &[Candidate], notes: &mut Vec<String>) -> Vec<Shown> {
    let known: Vec<(Shown, Option<&str>)> = devices
        .iter()
        .enumerate()
        .map(|(device, d)| {
            let shown = Shown {
                device,
                instance: None,
            };
            (shown, d.uuid.as_deref())
        })
        .collect();
    by_prefix(list, &known, notes)
}

fn by_instance(list: &str, devices: &[Candidate], notes: &mut Vec<String>) -> Vec<Shown> {
    let known: Vec<(Shown, Option<&str>)> = devices
        .iter()
        .enumerate()
        .flat_map(|(device, d)| {
            d.instances
                .iter()
                .flatten()
                .enumerate()
                .map(move |(instance, uuid)| {
                    let shown = Shown {
                        device,
                        instance: Some(instance),
                    };
                    (shown, uuid.as_deref())
                })
        })
        .collect();
    by_prefix(list, &known, notes)
}

/// Each entry is the whole of an identity or so much of its start as only one has.
fn by_prefix(list: &str, known: &[(Shown, Option<&str>)], notes: &mut Vec<String>) -> Vec<Shown> {
    let mut chosen: Vec<Shown> = Vec::new();
    for entry in list.split(',') {
        let mut matching = known
            .iter()
            .filter(|(_, uuid)| uuid.is_some_and(|u| !entry.is_empty() && u.starts_with(entry)));
        let (found, more) = (matching.next(), matching.next());
        let Some((shown, _)) = found.filter(|_| more.is_none()) else {
            let why = if more.is_some() {
                "more than one device starts so"
            } else {
                "no device starts so"
            };
            notes.push(invalid(entry, why));
            break;
        };
        if chosen.contains(shown) {
            notes.push(twice(entry));
            return Vec::new();
        }
        chosen.push(*shown);
    }
    chosen
}

fn invalid(entry: &str, why: &str) -> String {
    format!(
        "`{entry}` in CUDA_VISIBLE_DEVICES names no GPU ({why}): it and all after it are hidden"
    )
}

fn twice(entry: &str) -> String {
    format!("`{entry}` comes twice in CUDA_VISIBLE_DEVICES: CUDA then shows no device at all")
}

/// A GPU in MIG mode is not a device itself: CUDA takes its first instance, and
/// where it shows an instance it shows nothing else.
fn with_instances(
    chosen: Vec<Shown>,
    devices: &[Candidate],
    notes: &mut Vec<String>,
) -> Vec<Shown> {
    let mut resolved = Vec::new();
    for shown in chosen {
        match devices.get(shown.device).map(|d| d.instances.as_deref()) {
            None => {}
            Some(None) => resolved.push(shown),
            Some(Some([])) => notes.push(format!(
                "GPU {} is in MIG mode without an instance: CUDA cannot use it; create one with `nvidia-smi mig -cgi … -C`",
                shown.device
            )),
            Some(Some(_)) => resolved.push(Shown {
                instance: shown.instance.or(Some(0)),
                ..shown
            }),
        }
    }
    match resolved.iter().find(|s| s.instance.is_some()).copied() {
        Some(first) if resolved.len() > 1 => {
            notes.push(
                "CUDA shows a program one MIG instance and no GPU beside it: only the first is listed; choose another with CUDA_VISIBLE_DEVICES=MIG-…"
                    .to_owned(),
            );
            vec![first]
        }
        _ => resolved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6";
    const B: &str = "GPU-89aa0000-d72c-4106-c12f-20bd9faed9f6";
    const C: &str = "GPU-deadbeef-d72c-4106-c12f-20bd9faed9f6";

    fn gpu(uuid: &str) -> Candidate {
        Candidate {
            name: Some("NVIDIA L4".into()),
            uuid: Some(uuid.into()),
            instances: None,
        }
    }

    fn three() -> Vec<Candidate> {
        [A, B, C].map(gpu).to_vec()
    }

    fn shown(value: Option<&str>, devices: &[Candidate]) -> Vec<usize> {
        let seen = visible(value, DeviceOrder::FastestFirst, devices);
        seen.shown.iter().map(|s| s.device).collect()
    }

    #[test]
    fn unset_shows_all() {
        assert_eq!(shown(None, &three()), [0, 1, 2]);
    }

    #[test]
    fn empty_minus_one_and_nodevfiles_hide_all_without_complaint() {
        for value in ["", " ", "-1", "NoDevFiles"] {
            let seen = visible(Some(value), DeviceOrder::PciBus, &three());
            assert_eq!(seen, Visible::default(), "{value:?}");
        }
    }

    /// The two examples of the CUDA Programming Guide.
    #[test]
    fn the_guides_examples_hold() {
        assert_eq!(shown(Some("2,1"), &three()), [2, 1]);
        assert_eq!(shown(Some("0,2,-1,1"), &three()), [0, 2]);
    }

    #[test]
    fn an_invalid_index_hides_itself_and_what_follows() {
        for (value, expected) in [
            ("0,7,1", vec![0]),
            ("7", vec![]),
            ("x,0", vec![]),
            ("1,,0", vec![1]),
            ("99999999999999999999", vec![]),
        ] {
            let seen = visible(Some(value), DeviceOrder::PciBus, &three());
            let devices: Vec<usize> = seen.shown.iter().map(|s| s.device).collect();
            assert_eq!(devices, expected, "{value}");
            assert!(seen.notes[0].contains("names no GPU"), "{value}");
        }
    }

    #[test]
    fn an_index_is_read_as_far_as_it_has_digits() {
        assert_eq!(shown(Some(" 1gpu2 , 2ampere"), &three()), [1, 2]);
    }

    #[test]
    fn an_identity_may_be_cut_short_while_it_is_the_only_one() {
        assert_eq!(shown(Some(A), &three()), [0]);
        assert_eq!(shown(Some("GPU-8932f937"), &three()), [0]);
        assert_eq!(shown(Some("GPU-dead,GPU-8932"), &three()), [2, 0]);
        let seen = visible(Some("GPU-dead,GPU-89"), DeviceOrder::PciBus, &three());
        assert_eq!(seen.shown.len(), 1);
        assert!(seen.notes[0].contains("more than one"));
        assert!(shown(Some("GPU-0000"), &three()).is_empty());
    }

    #[test]
    fn the_first_entry_decides_between_indices_and_identities() {
        assert_eq!(shown(Some("GPU-dead,0"), &three()), [2]);
        assert_eq!(shown(Some("0,GPU-dead"), &three()), [0]);
    }

    #[test]
    fn a_device_named_twice_hides_all() {
        for value in ["0,0", "1,0,1", "GPU-8932f937,GPU-8932"] {
            let seen = visible(Some(value), DeviceOrder::PciBus, &three());
            assert!(seen.shown.is_empty(), "{value}");
            assert!(seen.notes[0].contains("twice"));
        }
    }

    #[test]
    fn unlike_gpus_make_the_default_order_doubtful() {
        let mut devices = three();
        devices[1].name = Some("NVIDIA H100 PCIe".into());
        let doubtful = |value, order| !visible(value, order, &devices).notes.is_empty();
        assert!(doubtful(None, DeviceOrder::FastestFirst));
        assert!(doubtful(Some("1"), DeviceOrder::FastestFirst));
        assert!(!doubtful(Some("1"), DeviceOrder::PciBus));
        assert!(!doubtful(Some(C), DeviceOrder::FastestFirst));
        assert_eq!(
            DeviceOrder::from_variable(Some("PCI_BUS_ID")),
            DeviceOrder::PciBus
        );
        assert_eq!(DeviceOrder::from_variable(None), DeviceOrder::FastestFirst);
    }

    fn mig(instances: &[&str]) -> Candidate {
        Candidate {
            instances: Some(instances.iter().map(|i| Some((*i).to_owned())).collect()),
            ..gpu(A)
        }
    }

    #[test]
    fn one_mig_instance_is_shown_and_nothing_beside_it() {
        let devices = [gpu(C), mig(&["MIG-11", "MIG-22"])];
        let at = |value| visible(value, DeviceOrder::PciBus, &devices).shown;
        let first = Shown {
            device: 1,
            instance: Some(0),
        };
        let second = Shown {
            device: 1,
            instance: Some(1),
        };
        assert_eq!(at(None), [first]);
        assert_eq!(at(Some("1")), [first]);
        assert_eq!(at(Some("MIG-22")), [second]);
        assert_eq!(at(Some("MIG-22,MIG-11")), [second]);
        assert_eq!(at(Some("MIG-3")), []);
        assert_eq!(at(Some("0")).len(), 1);
    }

    #[test]
    fn mig_mode_without_an_instance_is_no_device() {
        let seen = visible(None, DeviceOrder::PciBus, &[mig(&[]), gpu(C)]);
        assert_eq!(seen.shown.len(), 1);
        assert!(seen.notes[0].contains("without an instance"));
    }

    proptest! {
        #[test]
        fn whatever_is_shown_exists_and_comes_once(value in "([0-9]|,|-|GPU-|MIG-|89|\\PC)*") {
            let devices = [gpu(A), gpu(B), mig(&["MIG-89"])];
            let seen = visible(Some(&value), DeviceOrder::FastestFirst, &devices);
            for (i, s) in seen.shown.iter().enumerate() {
                prop_assert!(s.device < devices.len());
                prop_assert!(!seen.shown[..i].contains(s));
            }
        }
    }
}
