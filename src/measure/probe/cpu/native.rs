//! The processor where there is no `/proc/cpuinfo`: asked through CPUID, the
//! standard library's feature detection and the operating system.

use crate::profile::machine::{Cpu, CpuSignature, InstructionSet, Reading};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// Reads the processor this program runs on.
pub(super) fn read() -> Cpu {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let (brand, vendor, logical) = match &system {
        Ok(system) => {
            let first = system.cpus().first();
            (
                first.map(|c| c.brand().trim().to_owned()),
                first.map(|c| c.vendor_id().trim().to_owned()),
                system.cpus().len() as u32,
            )
        }
        Err(_) => (None, None, 0),
    };
    let given = |text: Option<String>, what: &str| {
        text.filter(|t| !t.is_empty()).map_or_else(
            || Reading::unknown(format!("the operating system gives no {what}")),
            Reading::Known,
        )
    };
    Cpu {
        model: given(brand, "brand string"),
        vendor: given(cpuid_vendor().or(vendor), "vendor"),
        arch: std::env::consts::ARCH.to_owned(),
        signature: signature(),
        physical_cores: System::physical_core_count().map_or_else(
            |e| Reading::unknown(e.to_string()),
            |n| Reading::Known(n as u32),
        ),
        logical_cores: if logical == 0 {
            super::threads_offered()
        } else {
            logical
        },
        instruction_sets: instruction_sets(),
    }
}

#[cfg(target_arch = "x86_64")]
fn cpuid_vendor() -> Option<String> {
    let leaf = std::arch::x86_64::__cpuid(0);
    // The twelve letters stand in this order of registers.
    let bytes: Vec<u8> = [leaf.ebx, leaf.edx, leaf.ecx]
        .iter()
        .flat_map(|r| r.to_le_bytes())
        .collect();
    String::from_utf8(bytes).ok()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid_vendor() -> Option<String> {
    None
}

#[cfg(target_arch = "x86_64")]
fn signature() -> Reading<CpuSignature> {
    Reading::Known(signature_of(std::arch::x86_64::__cpuid(1).eax))
}

#[cfg(not(target_arch = "x86_64"))]
fn signature() -> Reading<CpuSignature> {
    Reading::unknown("this operating system does not show the processor's numbers")
}

/// Family, model and stepping out of CPUID leaf 1, register EAX (Intel Software
/// Developer's Manual, volume 2A, CPUID, figure 3-6; AMD APM volume 3, E.3.2).
#[cfg(any(target_arch = "x86_64", test))]
fn signature_of(eax: u32) -> CpuSignature {
    let base_family = eax >> 8 & 0xf;
    let base_model = eax >> 4 & 0xf;
    let family = if base_family == 0xf {
        base_family + (eax >> 20 & 0xff)
    } else {
        base_family
    };
    let model = if matches!(base_family, 0x6 | 0xf) {
        base_model | (eax >> 16 & 0xf) << 4
    } else {
        base_model
    };
    CpuSignature {
        family,
        model,
        stepping: eax & 0xf,
    }
}

/// AMX is missing here: the standard library does not detect it yet.
#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<InstructionSet> {
    use std::arch::is_x86_feature_detected as has;
    [
        (has!("avx"), InstructionSet::Avx),
        (has!("avx2"), InstructionSet::Avx2),
        (has!("fma"), InstructionSet::Fma),
        (has!("avx512f"), InstructionSet::Avx512f),
        (has!("avx512bw"), InstructionSet::Avx512bw),
        (has!("avxvnni"), InstructionSet::AvxVnni),
        (has!("avx512vnni"), InstructionSet::Avx512Vnni),
        (has!("avx512bf16"), InstructionSet::Avx512Bf16),
        (has!("avx512fp16"), InstructionSet::Avx512Fp16),
    ]
    .into_iter()
    .filter_map(|(there, set)| there.then_some(set))
    .collect()
}

/// SME is missing here: the standard library does not detect it yet.
#[cfg(target_arch = "aarch64")]
fn instruction_sets() -> Vec<InstructionSet> {
    use std::arch::is_aarch64_feature_detected as has;
    [
        (has!("neon"), InstructionSet::Neon),
        (has!("dotprod"), InstructionSet::DotProd),
        (has!("fp16"), InstructionSet::Fp16),
        (has!("bf16"), InstructionSet::Bf16),
        (has!("i8mm"), InstructionSet::I8mm),
        (has!("sve"), InstructionSet::Sve),
        (has!("sve2"), InstructionSet::Sve2),
    ]
    .into_iter()
    .filter_map(|(there, set)| there.then_some(set))
    .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instruction_sets() -> Vec<InstructionSet> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuid_numbers_unfold_as_the_manuals_say() {
        for (eax, family, model, stepping) in [
            // EPYC Turin, Emerald Rapids, Cascade Lake, Core 2 (no extended model).
            (0x00b0_0f21, 26, 2, 1),
            (0x000c_06f8, 6, 0xcf, 8),
            (0x0005_0657, 6, 85, 7),
            (0x0000_06f6, 6, 15, 6),
        ] {
            let s = signature_of(eax);
            assert_eq!((s.family, s.model, s.stepping), (family, model, stepping));
        }
    }
}
