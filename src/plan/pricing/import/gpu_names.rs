//! Which GPU of the hardware book a price list means.

use crate::profile::{hardware::GpuSpec, hardware_book::HardwareBook};

/// How far a stated memory may be from the specification: drivers show up to 7 %
/// less than the label, and some lists count in powers of ten.
const MEMORY_TOLERANCE: f64 = 0.10;

/// What may follow the bare name of a GPU to tell its variants apart.
const VARIANTS: [&str; 12] = [
    "16GB", "32GB", "40GB", "80GB", "PCIE", "NVL", "SXM", "SXM2", "SXM4", "SXM5", "40GBPCIE",
    "80GBPCIE",
];

/// The GPU of that name; where the name has variants, the one with that much memory
/// (per GPU, in GiB), and the slower one of two that fit. None where it is not known.
#[must_use]
pub(super) fn known_gpu<'h>(
    hardware: &'h HardwareBook,
    name: &str,
    memory_gib: Option<f64>,
) -> Option<&'h str> {
    let wanted = bare(name);
    let fits = |spec: &GpuSpec| {
        memory_gib
            .is_none_or(|gib| (gib / spec.memory_bytes.as_gib() - 1.0).abs() <= MEMORY_TOLERANCE)
    };
    let same = |spec: &GpuSpec, wanted: &str| bare(&spec.name) == *wanted;
    let variant = |spec: &GpuSpec| {
        let name = bare(&spec.name);
        let of = |long: &str, short: &str| {
            long.strip_prefix(short)
                .is_some_and(|rest| VARIANTS.contains(&rest))
        };
        of(&name, &wanted) || of(&wanted, &name)
    };
    let exact = [wanted.clone(), format!("RTX{wanted}")]
        .into_iter()
        .find_map(|wanted| {
            hardware
                .gpus()
                .find(|spec| same(spec, &wanted) && fits(spec))
        });
    exact
        .or_else(|| {
            hardware
                .gpus()
                .filter(|spec| variant(spec) && fits(spec))
                .min_by(|a, b| a.bandwidth.cmp(&b.bandwidth).then(a.name.cmp(&b.name)))
        })
        .map(|spec| spec.name.as_str())
}

/// `NVIDIA Tesla T4` and `T4` are the same: letters and digits in capitals, without
/// the maker.
fn bare(name: &str) -> String {
    let upper: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let mut rest = upper.as_str();
    for maker in ["NVIDIA", "AMD", "TESLA"] {
        rest = rest.strip_prefix(maker).unwrap_or(rest);
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_price_lists_lead_to_the_hardware_book() {
        let book = HardwareBook::shipped().unwrap();
        let known = |name, memory| known_gpu(&book, name, memory);
        assert_eq!(known("L4", Some(22.35)), Some("L4"));
        assert_eq!(known("V100", Some(16.0)), Some("V100"));
        assert_eq!(known("V100", Some(32.0)), Some("V100-32GB"));
        assert_eq!(known("A100", Some(40.0)), Some("A100-40GB"));
        assert_eq!(known("A100-80GB", Some(80.0)), Some("A100-80GB"));
        assert_eq!(known("A6000", Some(48.0)), Some("RTX-A6000"));
        assert_eq!(known("RTX4090", Some(24.0)), Some("RTX-4090"));
        assert_eq!(known("H100", Some(93.6)), Some("H100-NVL"));
        assert_eq!(known("NVIDIA Tesla T4", None), Some("T4"));
        // A GPU with another memory is another GPU.
        assert_eq!(known("RTX4090", Some(48.0)), None);
        assert_eq!(known("A10", Some(80.0)), None);
        assert_eq!(known("tpu-v5e", None), None);
    }
}
