//! Which processor design a CPU is: looked up by vendor, family, model and
//! stepping, which a hypervisor does not hide, in a table that ships.

use crate::profile::machine::{Cpu, CpuSignature};
use serde::Deserialize;
use std::sync::LazyLock;

/// Parsed once; the text is part of the program, so a failure is a broken build
/// and is caught by the tests, not by a user.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    toml::from_str(include_str!(
        "../../profiles/hardware/microarchitectures.toml"
    ))
    .unwrap_or_default()
});

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    design: Vec<Design>,
    arm_vendor: Vec<ArmVendor>,
    arm_core: Vec<ArmCore>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Design {
    name: String,
    vendor: String,
    family: Option<u32>,
    #[serde(default)]
    models: Vec<[u32; 2]>,
    steppings: Option<[u32; 2]>,
    brand: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmVendor {
    implementer: u32,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmCore {
    implementer: u32,
    part: u32,
    name: String,
}

impl Design {
    fn fits(&self, cpu: &Cpu) -> bool {
        cpu.vendor.known().is_some_and(|v| *v == self.vendor)
            && self.signature_fits(cpu.signature.known())
            && self.brand_fits(cpu.model.known())
    }

    fn signature_fits(&self, signature: Option<&CpuSignature>) -> bool {
        let asks_nothing =
            self.family.is_none() && self.models.is_empty() && self.steppings.is_none();
        let Some(s) = signature else {
            return asks_nothing;
        };
        let within = |[low, high]: [u32; 2], value: u32| (low..=high).contains(&value);
        self.family.is_none_or(|family| family == s.family)
            && (self.models.is_empty() || self.models.iter().any(|r| within(*r, s.model)))
            && self.steppings.is_none_or(|range| within(range, s.stepping))
    }

    fn brand_fits(&self, model: Option<&String>) -> bool {
        self.brand.as_ref().is_none_or(|brand| {
            model.is_some_and(|m| m.to_lowercase().contains(&brand.to_lowercase()))
        })
    }
}

/// The name of a processor's design, `AMD EPYC Turin (Zen5)`, or none where the
/// table does not know it.
///
/// The names are those that hardware profiles use for their `microarchitecture`.
#[must_use]
pub fn microarchitecture(cpu: &Cpu) -> Option<&'static str> {
    TABLE
        .design
        .iter()
        .find(|design| design.fits(cpu))
        .map(|design| design.name.as_str())
}

/// Every design name the table can give, in the table's order; a name may come twice.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.design.iter().map(|design| design.name.as_str())
}

/// The maker of an Arm core by its implementer number, named as CPUID names x86
/// vendors: `ARM`, `Apple`.
#[must_use]
pub fn arm_vendor(implementer: u32) -> Option<&'static str> {
    TABLE
        .arm_vendor
        .iter()
        .find(|v| v.implementer == implementer)
        .map(|v| v.name.as_str())
}

/// The name of an Arm core by implementer and part number: `Neoverse-N1`.
#[must_use]
pub fn arm_core(implementer: u32, part: u32) -> Option<&'static str> {
    TABLE
        .arm_core
        .iter()
        .find(|c| (c.implementer, c.part) == (implementer, part))
        .map(|c| c.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::machine::Reading;

    fn cpu(vendor: &str, signature: (u32, u32, u32), model: Option<&str>) -> Cpu {
        let (family, design, stepping) = signature;
        Cpu {
            model: model.map_or_else(|| Reading::unknown("hidden"), |m| Reading::Known(m.into())),
            vendor: Reading::Known(vendor.into()),
            arch: "x86_64".into(),
            signature: Reading::Known(CpuSignature {
                family,
                model: design,
                stepping,
            }),
            physical_cores: Reading::unknown("test"),
            logical_cores: 1,
            instruction_sets: vec![],
        }
    }

    #[test]
    fn the_table_that_ships_parses() {
        let text = include_str!("../../profiles/hardware/microarchitectures.toml");
        let table: Table = toml::from_str(text).unwrap();
        assert!(table.design.len() > 50);
        for design in &table.design {
            for [low, high] in design.models.iter().chain(&design.steppings) {
                assert!(low <= high, "{}", design.name);
            }
        }
    }

    #[test]
    fn a_hidden_brand_is_told_by_family_and_model() {
        for (vendor, signature, name) in [
            ("AuthenticAMD", (23, 1, 2), "AMD EPYC Naples (Zen1)"),
            ("AuthenticAMD", (23, 49, 0), "AMD EPYC Rome (Zen2)"),
            ("AuthenticAMD", (25, 1, 1), "AMD EPYC Milan (Zen3)"),
            ("AuthenticAMD", (25, 17, 1), "AMD EPYC Genoa (Zen4)"),
            ("AuthenticAMD", (26, 2, 1), "AMD EPYC Turin (Zen5)"),
            ("AuthenticAMD", (26, 68, 0), "AMD Ryzen 9000 (Zen5)"),
            ("GenuineIntel", (6, 79, 1), "Intel Broadwell"),
            ("GenuineIntel", (6, 106, 6), "Intel Ice Lake-SP"),
            ("GenuineIntel", (6, 143, 8), "Intel Sapphire Rapids"),
            ("GenuineIntel", (6, 207, 2), "Intel Emerald Rapids"),
            ("GenuineIntel", (6, 173, 1), "Intel Granite Rapids"),
            ("GenuineIntel", (6, 183, 1), "Intel Raptor Lake"),
        ] {
            let found = microarchitecture(&cpu(vendor, signature, None));
            assert_eq!(found, Some(name), "{signature:?}");
        }
        assert_eq!(
            microarchitecture(&cpu("AuthenticAMD", (99, 1, 1), None)),
            None
        );
        assert_eq!(
            microarchitecture(&cpu("GenuineIntel", (26, 2, 1), None)),
            None
        );
    }

    #[test]
    fn stepping_tells_parts_that_share_a_model() {
        for (stepping, name) in [
            (4, "Intel Skylake-SP"),
            (7, "Intel Cascade Lake"),
            (11, "Intel Cooper Lake"),
        ] {
            let found = microarchitecture(&cpu("GenuineIntel", (6, 85, stepping), None));
            assert_eq!(found, Some(name));
        }
    }

    #[test]
    fn brand_and_platform_tell_who_sells_the_same_core() {
        let arm = |model| microarchitecture(&cpu("ARM", (0x41, 0xd0c, 49), model));
        assert_eq!(arm(Some("Neoverse-N1")), Some("Arm Neoverse N1"));
        assert_eq!(
            arm(Some("Neoverse-N1 (Amazon EC2)")),
            Some("AWS Graviton2 (Neoverse N1)")
        );
        assert_eq!(
            arm(Some("Neoverse-N1 (Microsoft Corporation)")),
            Some("Ampere Altra (Neoverse N1)")
        );
        let ryzen = cpu(
            "AuthenticAMD",
            (23, 1, 1),
            Some("AMD Ryzen 7 1700 Eight-Core Processor"),
        );
        assert_eq!(microarchitecture(&ryzen), Some("AMD Ryzen 1000 (Zen1)"));
        let mut apple = cpu("Apple", (0, 0, 0), Some("Apple M2 Pro"));
        apple.signature = Reading::unknown("macOS");
        assert_eq!(microarchitecture(&apple), Some("Apple M2"));
    }

    #[test]
    fn arm_numbers_have_names() {
        assert_eq!(arm_vendor(0x41), Some("ARM"));
        assert_eq!(arm_core(0x41, 0xd40), Some("Neoverse-V1"));
        assert_eq!(arm_core(0x41, 0xfff), None);
        assert_eq!(arm_vendor(0), None);
    }

    /// The names by which the cloud CPU table calls its designs, so that a probed
    /// machine finds its row.
    #[test]
    fn the_designs_that_clouds_sell_are_all_in_the_table() {
        let known: Vec<&str> = names().collect();
        for name in [
            "AMD EPYC Genoa (Zen4)",
            "AMD EPYC Milan (Zen3)",
            "AMD EPYC Naples (Zen1)",
            "AMD EPYC Rome (Zen2)",
            "AMD EPYC Turin (Zen5)",
            "AWS Graviton2 (Neoverse N1)",
            "AWS Graviton3 (Neoverse V1)",
            "AWS Graviton4 (Neoverse V2)",
            "AWS Graviton5 (Neoverse V3)",
            "Ampere Altra (Neoverse N1)",
            "Azure Cobalt 100 (Neoverse N2)",
            "Google Axion (Neoverse N3)",
            "Google Axion (Neoverse V2)",
            "Intel Broadwell",
            "Intel Cascade Lake",
            "Intel Emerald Rapids",
            "Intel Granite Rapids",
            "Intel Ice Lake-SP",
            "Intel Sapphire Rapids",
        ] {
            assert!(known.contains(&name), "{name}");
        }
    }
}
