//! `/proc/cpuinfo`, as x86 and Arm kernels write it.

use crate::profile::machine::{Cpu, CpuSignature, InstructionSet, Reading};
use crate::profile::microarchitecture::{arm_core, arm_vendor};
use std::collections::BTreeSet;

/// What the kernel calls the instruction sets that matter: x86 `flags` (Linux
/// arch/x86/include/asm/cpufeatures.h) and Arm `Features`
/// (arch/arm64/kernel/cpuinfo.c), where `asimd` is NEON.
const FLAGS: [(&str, InstructionSet); 22] = [
    ("avx", InstructionSet::Avx),
    ("avx2", InstructionSet::Avx2),
    ("fma", InstructionSet::Fma),
    ("avx512f", InstructionSet::Avx512f),
    ("avx512bw", InstructionSet::Avx512bw),
    ("avx_vnni", InstructionSet::AvxVnni),
    ("avx512_vnni", InstructionSet::Avx512Vnni),
    ("avx512_bf16", InstructionSet::Avx512Bf16),
    ("avx512_fp16", InstructionSet::Avx512Fp16),
    ("amx_tile", InstructionSet::AmxTile),
    ("amx_int8", InstructionSet::AmxInt8),
    ("amx_bf16", InstructionSet::AmxBf16),
    ("amx_fp16", InstructionSet::AmxFp16),
    ("asimd", InstructionSet::Neon),
    ("neon", InstructionSet::Neon),
    ("asimddp", InstructionSet::DotProd),
    ("asimdhp", InstructionSet::Fp16),
    ("bf16", InstructionSet::Bf16),
    ("i8mm", InstructionSet::I8mm),
    ("sve", InstructionSet::Sve),
    ("sve2", InstructionSet::Sve2),
    ("sme", InstructionSet::Sme),
];

/// One processor's paragraph: keys and values in the order they stand.
type Record<'t> = Vec<(&'t str, &'t str)>;

/// Reads the text of `/proc/cpuinfo`.
///
/// `arch` is what the kernel runs on; `platform` the vendor of the machine, as
/// firmware gives it (`Amazon EC2`), which on Arm tells who made a core that
/// several makers sell. With processors of several kinds, identity is that of
/// the first and instruction sets are those that all of them have.
/// `logical_cores` is 0 where the text names no processor.
#[must_use]
pub fn from_cpuinfo(text: &str, arch: &str, platform: Option<&str>) -> Cpu {
    let records = records(text);
    let is_arm = first(&records, "CPU implementer").is_some();
    let signature = if is_arm {
        arm_signature(&records)
    } else {
        x86_signature(&records)
    };
    let (vendor, model) = if is_arm {
        arm_identity(signature, platform)
    } else {
        (
            present(first(&records, "vendor_id"), "vendor"),
            present(first(&records, "model name"), "brand string"),
        )
    };
    Cpu {
        model,
        vendor,
        arch: arch.to_owned(),
        signature: signature.map_or_else(
            || Reading::unknown("`/proc/cpuinfo` gives no family, model and stepping"),
            Reading::Known,
        ),
        physical_cores: physical_cores(&records),
        logical_cores: records.iter().filter(|r| is_processor(r)).count() as u32,
        instruction_sets: instruction_sets(&records),
    }
}

fn records(text: &str) -> Vec<Record<'_>> {
    let mut records = vec![Record::new()];
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                records.push(Record::new());
            }
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        // Some kernels leave no empty line between two processors.
        if key == "processor" && records.last().is_some_and(|r| is_processor(r)) {
            records.push(Record::new());
        }
        if let Some(record) = records.last_mut() {
            record.push((key, value));
        }
    }
    records.retain(|record| !record.is_empty());
    records
}

fn is_processor(record: &Record<'_>) -> bool {
    get(record, "processor").is_some_and(|n| n.parse::<u32>().is_ok())
}

fn get<'t>(record: &Record<'t>, key: &str) -> Option<&'t str> {
    record.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
}

fn first<'t>(records: &[Record<'t>], key: &str) -> Option<&'t str> {
    records.iter().find_map(|record| get(record, key))
}

fn present(value: Option<&str>, what: &str) -> Reading<String> {
    match value {
        Some(text) if !text.is_empty() && text != "unknown" => Reading::Known(text.to_owned()),
        _ => Reading::unknown(format!("`/proc/cpuinfo` gives no {what}")),
    }
}

fn x86_signature(records: &[Record<'_>]) -> Option<CpuSignature> {
    let number = |key| first(records, key)?.parse().ok();
    Some(CpuSignature {
        family: number("cpu family")?,
        model: number("model")?,
        stepping: number("stepping")?,
    })
}

fn arm_signature(records: &[Record<'_>]) -> Option<CpuSignature> {
    let number = |key| {
        let text = first(records, key)?;
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    };
    let variant: u32 = number("CPU variant").unwrap_or(0);
    let revision: u32 = number("CPU revision").unwrap_or(0);
    Some(CpuSignature {
        family: number("CPU implementer")?,
        model: number("CPU part")?,
        stepping: variant.saturating_mul(16).saturating_add(revision),
    })
}

/// An Arm core has no brand string: its name and the platform stand for one.
fn arm_identity(
    signature: Option<CpuSignature>,
    platform: Option<&str>,
) -> (Reading<String>, Reading<String>) {
    let Some(CpuSignature { family, model, .. }) = signature else {
        let why = "`/proc/cpuinfo` gives an implementer without a part";
        return (Reading::unknown(why), Reading::unknown(why));
    };
    let vendor = arm_vendor(family).map_or_else(
        || Reading::unknown(format!("Arm implementer {family:#04x} is not in the table")),
        |name| Reading::Known(name.to_owned()),
    );
    let platform = platform.map(str::trim).filter(|p| !p.is_empty());
    let model = match (arm_core(family, model), platform) {
        (Some(core), Some(platform)) => Reading::Known(format!("{core} ({platform})")),
        (Some(core), None) => Reading::Known(core.to_owned()),
        (None, _) => Reading::unknown(format!(
            "an Arm processor gives no brand string, and part {model:#05x} of implementer {family:#04x} is not in the table"
        )),
    };
    (vendor, model)
}

/// Counts distinct pairs of package and core.
fn physical_cores(records: &[Record<'_>]) -> Reading<u32> {
    let cores: BTreeSet<_> = records
        .iter()
        .filter_map(|r| Some((get(r, "physical id").unwrap_or("0"), get(r, "core id")?)))
        .collect();
    if cores.is_empty() {
        Reading::unknown("`/proc/cpuinfo` does not tell which processors share a core")
    } else {
        Reading::Known(cores.len() as u32)
    }
}

fn instruction_sets(records: &[Record<'_>]) -> Vec<InstructionSet> {
    records
        .iter()
        .filter_map(|r| get(r, "flags").or_else(|| get(r, "Features")))
        .map(|flags| {
            let words: BTreeSet<&str> = flags.split_whitespace().collect();
            FLAGS
                .iter()
                .filter(|(flag, _)| words.contains(flag))
                .map(|(_, set)| *set)
                .collect::<BTreeSet<_>>()
        })
        .reduce(|a, b| &a & &b)
        .unwrap_or_default()
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::microarchitecture::microarchitecture;
    use InstructionSet as I;
    use proptest::prelude::*;

    /// A virtual machine on an EPYC Turin that hides its brand; flags cut to
    /// some before and after those that matter.
    const HIDDEN_TURIN: &str = "\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 2596.122
physical id\t: 0
siblings\t: 2
core id\t\t: 0
cpu cores\t: 2
flags\t\t: fpu vme sse4_2 hypervisor fma aes avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni avx512_vp2intersect
power management:

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 2596.122
physical id\t: 0
siblings\t: 2
core id\t\t: 1
cpu cores\t: 2
flags\t\t: fpu vme sse4_2 hypervisor fma aes avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni avx512_vp2intersect
power management:
";

    fn x86(model: u32, stepping: u32, name: &str, flags: &str) -> String {
        format!(
            "processor : 0\nvendor_id : GenuineIntel\ncpu family : 6\nmodel : {model}\nmodel name : {name}\nstepping : {stepping}\nphysical id : 0\ncore id : 0\nflags : {flags}\n"
        )
    }

    fn arm(features: &str, implementer: &str, variant: &str, part: &str) -> String {
        let record = |n| {
            format!(
                "processor\t: {n}\nBogoMIPS\t: 2100.00\nFeatures\t: {features}\nCPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
            )
        };
        format!("{}{}", record(0), record(1))
    }

    #[test]
    fn a_virtual_turin_with_a_hidden_brand_is_known_by_its_numbers() {
        let cpu = from_cpuinfo(HIDDEN_TURIN, "x86_64", None);
        assert_eq!(cpu.model, Reading::Known("AMD EPYC".into()));
        assert_eq!(cpu.vendor, Reading::Known("AuthenticAMD".into()));
        assert_eq!(
            (cpu.logical_cores, cpu.physical_cores.known()),
            (2, Some(&2))
        );
        let s = *cpu.signature.known().unwrap();
        assert_eq!((s.family, s.model, s.stepping), (26, 2, 1));
        assert_eq!(microarchitecture(&cpu), Some("AMD EPYC Turin (Zen5)"));
        assert_eq!(
            cpu.instruction_sets,
            [
                I::Avx,
                I::Avx2,
                I::Fma,
                I::Avx512f,
                I::Avx512bw,
                I::AvxVnni,
                I::Avx512Vnni,
                I::Avx512Bf16
            ]
        );
    }

    /// Signatures and telling flags as public recordings of these processors
    /// show them.
    #[test]
    fn intel_servers_are_told_apart() {
        let skylake = "fma avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl";
        let cascade = format!("{skylake} avx512_vnni");
        let sapphire =
            format!("{cascade} avx_vnni avx512_bf16 amx_bf16 avx512_fp16 amx_tile amx_int8");
        for (model, stepping, name, flags, design, sets) in [
            (
                79,
                1,
                "Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz",
                "fma avx avx2",
                "Intel Broadwell",
                3,
            ),
            (
                85,
                4,
                "Intel(R) Xeon(R) Gold 6132 CPU @ 2.60GHz",
                skylake,
                "Intel Skylake-SP",
                5,
            ),
            (
                85,
                7,
                "Intel(R) Xeon(R) Platinum 8260M CPU @ 2.40GHz",
                &cascade,
                "Intel Cascade Lake",
                6,
            ),
            (
                143,
                8,
                "Intel(R) Xeon(R) Platinum 8488C",
                &sapphire,
                "Intel Sapphire Rapids",
                12,
            ),
        ] {
            let cpu = from_cpuinfo(&x86(model, stepping, name, flags), "x86_64", None);
            assert_eq!(microarchitecture(&cpu), Some(design));
            assert_eq!(cpu.instruction_sets.len(), sets, "{design}");
            assert_eq!(cpu.model, Reading::Known(name.into()));
        }
    }

    #[test]
    fn gravitons_are_known_by_part_and_platform() {
        let n1 = "fp asimd evtstrm aes atomics fphp asimdhp cpuid asimdrdm asimddp ssbs";
        let v1 =
            "fp asimd fphp asimdhp asimddp sha512 sve asimdfhm svei8mm svebf16 i8mm bf16 dgh rng";
        let v2 = "fp asimd fphp asimdhp asimddp sha512 sve sve2 sveaes svei8mm svebf16 i8mm bf16";
        for (features, variant, part, design, sets) in [
            (
                n1,
                "0x3",
                "0xd0c",
                "AWS Graviton2 (Neoverse N1)",
                vec![I::Neon, I::DotProd, I::Fp16],
            ),
            (
                v1,
                "0x1",
                "0xd40",
                "AWS Graviton3 (Neoverse V1)",
                vec![I::Neon, I::DotProd, I::Fp16, I::Bf16, I::I8mm, I::Sve],
            ),
            (
                v2,
                "0x0",
                "0xd4f",
                "AWS Graviton4 (Neoverse V2)",
                vec![
                    I::Neon,
                    I::DotProd,
                    I::Fp16,
                    I::Bf16,
                    I::I8mm,
                    I::Sve,
                    I::Sve2,
                ],
            ),
        ] {
            let text = arm(features, "0x41", variant, part);
            let cpu = from_cpuinfo(&text, "aarch64", Some("Amazon EC2"));
            assert_eq!(microarchitecture(&cpu), Some(design));
            assert_eq!(cpu.instruction_sets, sets, "{design}");
            assert_eq!(cpu.vendor, Reading::Known("ARM".into()));
            assert_eq!(cpu.logical_cores, 2);
            assert!(cpu.physical_cores.known().is_none());
        }
        let cpu = from_cpuinfo(&arm(n1, "0x41", "0x3", "0xd0c"), "aarch64", None);
        assert_eq!(cpu.signature.known().unwrap().stepping, 0x31);
    }

    #[test]
    fn cobalt_is_known_in_a_virtual_machine_and_on_metal() {
        let f = "fp asimd asimdhp asimddp sve sve2 i8mm bf16";
        let guest = from_cpuinfo(
            &arm(f, "0x41", "0x0", "0xd49"),
            "aarch64",
            Some("Microsoft Corporation"),
        );
        let metal = from_cpuinfo(&arm(f, "0x6d", "0x0", "0xd49"), "aarch64", None);
        for cpu in [guest, metal] {
            assert_eq!(
                microarchitecture(&cpu),
                Some("Azure Cobalt 100 (Neoverse N2)")
            );
        }
    }

    #[test]
    fn mixed_cores_offer_what_all_of_them_have() {
        let big = "processor : 1\nFeatures : asimd asimddp sve\nCPU implementer : 0x41\nCPU part : 0xd82\n";
        let small =
            "processor : 0\nFeatures : asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd46\n";
        let cpu = from_cpuinfo(&format!("{small}{big}"), "aarch64", None);
        assert_eq!(cpu.instruction_sets, [I::Neon, I::DotProd]);
        assert_eq!(cpu.logical_cores, 2);
        assert!(cpu.model.to_string().contains("0xd46"));
    }

    #[test]
    fn a_strange_text_gives_reasons() {
        let cpu = from_cpuinfo("hart : 0\nisa : rv64imafdc\n", "riscv64", None);
        assert!(cpu.model.to_string().starts_with("unknown ("));
        assert!(cpu.signature.known().is_none());
        assert!(cpu.instruction_sets.is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(processor|flags|CPU part|CPU implementer|model|[a-z]|:|\t|\n|0x|[0-9])*") {
            let cpu = from_cpuinfo(&text, "x86_64", Some(""));
            prop_assert!(cpu.instruction_sets.is_sorted());
        }
    }
}
