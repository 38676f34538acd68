//! All hardware specifications by name: those shipped, and over them the user's.

use super::hardware::{BandwidthAt, CpuSpec, GpuSpec};
use super::machine::Machine;
use super::microarchitecture::microarchitecture;
use super::toml_text::{Step, TomlText};
use crate::error::{Error, Result, nearest};
use crate::units::{Bandwidth, Bytes};
use include_dir::{Dir, include_dir};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles/hardware");

/// The version of the hardware file format that this program reads.
const SCHEMA: u32 = 1;

/// CPU families and GPUs by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HardwareBook {
    cpus: BTreeMap<String, CpuSpec>,
    /// Family that has no figures of its own → family that has.
    stand_ins: BTreeMap<String, String>,
    gpus: BTreeMap<String, GpuSpec>,
}

/// A hardware file, as it stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HardwareFile {
    schema: u32,
    #[serde(default)]
    cpu: Vec<CpuSpec>,
    #[serde(default)]
    gpu: Vec<GpuSpec>,
    /// Read bandwidth by family: pairs of vCPUs and bytes per second.
    #[serde(default)]
    measured: BTreeMap<String, Vec<(u32, Bandwidth)>>,
    #[serde(default, rename = "source")]
    _source: Option<String>,
    #[serde(default, rename = "license")]
    _license: Option<String>,
}

impl HardwareBook {
    /// What the program ships.
    ///
    /// # Errors
    /// None, unless the program was built from broken files (a test sees to that).
    pub fn shipped() -> Result<Self> {
        Self::load(&[])
    }

    /// What the program ships, and over it the user's files: a name in a later file
    /// replaces that of an earlier one.
    ///
    /// # Errors
    /// A file that is not of this format or has a value that no hardware has, with
    /// its line.
    pub fn load(own: &[TomlText<'_>]) -> Result<Self> {
        let mut book = Self::default();
        for text in shipped_texts() {
            book.add(text)?;
        }
        for text in own {
            book.add(*text)?;
        }
        Ok(book)
    }

    /// The family of that name, or the one that stands for it.
    #[must_use]
    pub fn cpu(&self, name: &str) -> Option<&CpuSpec> {
        self.cpus
            .get(name)
            .or_else(|| self.cpus.get(self.stand_ins.get(name)?))
    }

    /// The GPU of that short name (`L4`).
    #[must_use]
    pub fn gpu(&self, name: &str) -> Option<&GpuSpec> {
        self.gpus.get(name)
    }

    /// The GPU that NVML reports under that name (`NVIDIA L4`).
    #[must_use]
    pub fn gpu_by_nvml_name(&self, nvml_name: &str) -> Option<&GpuSpec> {
        self.gpus.values().find(|gpu| gpu.nvml_name == nvml_name)
    }

    /// A processor of the same design as a machine's; the generic entry for the
    /// design where there is one.
    #[must_use]
    pub fn nearest_cpu(&self, machine: &Machine) -> Option<&CpuSpec> {
        let design = microarchitecture(&machine.cpu)?;
        let same = |spec: &&CpuSpec| spec.microarchitecture == design;
        self.cpus()
            .filter(same)
            .find(|spec| !spec.name.contains('/'))
            .or_else(|| self.cpus().find(same))
    }

    /// All CPU families, by name.
    pub fn cpus(&self) -> impl Iterator<Item = &CpuSpec> {
        self.cpus.values()
    }

    /// All GPUs, by name.
    pub fn gpus(&self) -> impl Iterator<Item = &GpuSpec> {
        self.gpus.values()
    }

    /// The CPU family names that look most like `name`.
    #[must_use]
    pub fn cpus_like(&self, name: &str) -> Vec<&str> {
        let names = self.cpus.keys().chain(self.stand_ins.keys());
        nearest(name, names.map(String::as_str))
    }

    /// The GPU names that look most like `name`, or the one that NVML gives that name.
    #[must_use]
    pub fn gpus_like(&self, name: &str) -> Vec<&str> {
        if let Some(gpu) = self.gpu_by_nvml_name(name) {
            return vec![&gpu.name];
        }
        nearest(name, self.gpus.keys().map(String::as_str))
    }

    fn add(&mut self, text: TomlText<'_>) -> Result<()> {
        let file: HardwareFile =
            text.parse_version("hardware files", SCHEMA, |file: &HardwareFile| file.schema)?;
        let mut seen = BTreeSet::new();
        for (i, cpu) in file.cpu.into_iter().enumerate() {
            let refuse = |key: &str, why: &str| {
                text.error_in(&[Step::Key("cpu"), Step::Index(i), Step::Key(key)], why)
            };
            if !seen.insert(cpu.name.clone()) {
                return Err(refuse("name", &twice(&cpu.name)));
            }
            check_cpu(&cpu, refuse)?;
            for family in &cpu.stands_for {
                self.stand_ins.insert(family.clone(), cpu.name.clone());
            }
            self.cpus.insert(cpu.name.clone(), cpu);
        }
        seen.clear();
        for (i, gpu) in file.gpu.into_iter().enumerate() {
            let refuse = |key: &str, why: &str| {
                text.error_in(&[Step::Key("gpu"), Step::Index(i), Step::Key(key)], why)
            };
            if !seen.insert(gpu.name.clone()) {
                return Err(refuse("name", &twice(&gpu.name)));
            }
            check_gpu(&gpu, refuse)?;
            self.gpus.insert(gpu.name.clone(), gpu);
        }
        self.add_measured(text, file.measured)
    }

    fn add_measured(
        &mut self,
        text: TomlText<'_>,
        measured: BTreeMap<String, Vec<(u32, Bandwidth)>>,
    ) -> Result<()> {
        for (family, pairs) in measured {
            let path = [Step::Key("measured"), Step::Key(&family)];
            let points: Vec<BandwidthAt> = pairs
                .into_iter()
                .map(|(vcpus, bandwidth)| BandwidthAt { vcpus, bandwidth })
                .collect();
            if let Some(why) = unsound(&points) {
                return Err(text.error_in(&path, why));
            }
            let Some(cpu) = self.cpus.get_mut(&family) else {
                let like = self.cpus_like(&family).join("`, `");
                let error =
                    text.error_in(&path, &format!("no CPU family is called `{family}` so far"));
                return Err(if like.is_empty() {
                    error
                } else {
                    error.hint(format!("did you mean `{like}`?"))
                });
            };
            cpu.measured_bandwidth = points;
        }
        Ok(())
    }
}

/// The shipped files, in an order that has specifications before measurements.
fn shipped_texts() -> impl Iterator<Item = TomlText<'static>> {
    ["cpus.toml", "gpus.toml", "cpu_bandwidth.toml"]
        .into_iter()
        .filter_map(|name| {
            let text = SHIPPED.get_file(name)?.contents_utf8()?;
            Some(TomlText::new(name, text))
        })
}

fn twice(name: &str) -> String {
    format!("`{name}` stands twice in this file")
}

/// Why measured bandwidths cannot be right.
fn unsound(points: &[BandwidthAt]) -> Option<&'static str> {
    if points.iter().any(|p| p.vcpus == 0 || p.bandwidth.is_zero()) {
        return Some("a measured bandwidth of 0, or on 0 vCPUs");
    }
    let ascending = points
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.vcpus < b.vcpus));
    (!ascending).then_some("measured bandwidths must be in ascending order of vCPUs")
}

/// Refuses what no processor has: the bounds lie a factor of two or more beyond
/// anything sold, so that they catch a wrong unit and nothing else.
fn check_cpu(cpu: &CpuSpec, refuse: impl Fn(&str, &str) -> Error) -> Result<()> {
    let outside = |v: f64, low: f64, high: f64| !(v >= low && v <= high);
    if outside(cpu.all_core_ghz, 0.4, 10.0) {
        return Err(refuse(
            "all_core_ghz",
            "a clock must lie between 0.4 and 10 GHz",
        ));
    }
    if !(1..=8).contains(&cpu.threads_per_core) {
        return Err(refuse(
            "threads_per_core",
            "a core has between 1 and 8 threads",
        ));
    }
    let peaks = [
        (
            "fp32_flop_per_cycle",
            Some(cpu.fp32_flop_per_cycle),
            1.0,
            1024.0,
        ),
        ("int8_op_per_cycle", cpu.int8_op_per_cycle, 1.0, 4096.0),
        (
            "matrix_bf16_flop_per_cycle",
            cpu.matrix_bf16_flop_per_cycle,
            1.0,
            8192.0,
        ),
        (
            "matrix_int8_op_per_cycle",
            cpu.matrix_int8_op_per_cycle,
            1.0,
            16384.0,
        ),
    ];
    for (key, value, low, high) in peaks {
        if value.is_some_and(|v| outside(v, low, high)) {
            return Err(refuse(
                key,
                &format!("a core does between {low} and {high} of these per cycle"),
            ));
        }
    }
    if cpu
        .socket_bandwidth
        .is_some_and(|b| outside(b.get(), 1e9, 1e13))
    {
        return Err(refuse(
            "socket_bandwidth_bytes_per_s",
            "a socket moves between 1e9 and 1e13 bytes per second: give bytes, not gigabytes",
        ));
    }
    match unsound(&cpu.measured_bandwidth) {
        Some(why) => Err(refuse("measured_bandwidth", why)),
        None => Ok(()),
    }
}

/// Refuses what no accelerator has, as [`check_cpu`] does.
fn check_gpu(gpu: &GpuSpec, refuse: impl Fn(&str, &str) -> Error) -> Result<()> {
    let outside = |v: f64, low: f64, high: f64| !(v >= low && v <= high);
    if gpu.memory_bytes < Bytes::from_mib(512) || gpu.memory_bytes > Bytes::from_gib(4096.0) {
        return Err(refuse(
            "memory_bytes",
            "a GPU has between 512 MiB and 4 TiB: give bytes, not gigabytes",
        ));
    }
    if outside(gpu.bandwidth.get(), 1e10, 1e14) {
        return Err(refuse(
            "bandwidth_bytes_per_s",
            "a GPU moves between 1e10 and 1e14 bytes per second: give bytes, not gigabytes",
        ));
    }
    let peaks = [
        ("fp32_flop_per_s", Some(gpu.fp32)),
        ("tf32_flop_per_s", gpu.tf32),
        ("fp16_flop_per_s", gpu.fp16),
        ("fp8_flop_per_s", gpu.fp8),
        ("int8_op_per_s", gpu.int8),
    ];
    for (key, peak) in peaks {
        if peak.is_some_and(|p| outside(p.get(), 1e11, 1e17)) {
            return Err(refuse(
                key,
                "a GPU does between 1e11 and 1e17 operations per second: give 30.3e12 for 30.3 TFLOPS",
            ));
        }
    }
    if let (Some(tf32), Some(fp16)) = (gpu.tf32, gpu.fp16)
        && tf32 > fp16
    {
        return Err(refuse(
            "tf32_flop_per_s",
            "a TF32 peak above that of FP16: one of them is wrong or sparse",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_specifications_load() {
        let book = HardwareBook::shipped().unwrap();
        // Every file but the table of designs by CPU signature, which is no book of figures.
        assert_eq!(shipped_texts().count() + 1, SHIPPED.files().count());
        assert!(book.cpus().count() > 90 && book.gpus().count() > 50);
        let l4 = book.gpu("L4").unwrap();
        assert!((l4.bandwidth.get() - 300e9).abs() < 1.0);
        assert_eq!(l4.memory_bytes, Bytes::from_mib(23034));
        assert_eq!(book.gpu_by_nvml_name("NVIDIA A10G").unwrap().name, "A10G");
        // The A10G's tensor peak is half of what is often copied from the A10.
        let fp16 = |name| book.gpu(name).unwrap().fp16.unwrap().get();
        assert!((fp16("A10G") - 70e12).abs() < 1e6 && (fp16("A10") - 125e12).abs() < 1e6);
        let c7i = book.cpu("aws/c7i").unwrap();
        assert_eq!(c7i.threads_per_core, 2);
        assert_eq!(
            c7i.measured_bandwidth
                .iter()
                .map(|p| p.vcpus)
                .collect::<Vec<_>>(),
            [4, 8, 16, 192]
        );
    }

    #[test]
    fn a_family_without_figures_has_another_stand_for_it() {
        let book = HardwareBook::shipped().unwrap();
        assert_eq!(book.cpu("azure/Dls_v5").unwrap().name, "azure/Ds_v5");
        assert!(book.cpu("azure/Zs_v9").is_none());
        assert_eq!(book.cpus_like("aws/c7ii")[0], "aws/c7i");
    }

    #[test]
    fn an_ambiguous_family_has_what_all_its_processors_have() {
        use crate::profile::machine::InstructionSet::{Avx512Vnni, Avx512f};
        let book = HardwareBook::shipped().unwrap();
        let c5 = book.cpu("aws/c5").unwrap();
        assert!(c5.ambiguous.is_some());
        assert!(c5.instruction_sets.contains(&Avx512f));
        assert!(!c5.instruction_sets.contains(&Avx512Vnni));
        assert_eq!(c5.int8_op_per_cycle, None);
    }

    fn refusal(text: &str) -> String {
        HardwareBook::load(&[TomlText::new("mine.toml", text)])
            .unwrap_err()
            .to_string()
    }

    const GPU: &str = r#"
schema = 1
[[gpu]]
name = "X1"
nvml_name = "X1"
vendor = "nvidia"
architecture = "X"
memory_bytes = 25769803776
memory_as_reported = false
bandwidth_bytes_per_s = 300e9
fp32_flop_per_s = 30e12
confidence = "low"
source = "mine"
"#;

    #[test]
    fn the_users_own_hardware_is_added_and_mistakes_have_a_line() {
        let book = HardwareBook::load(&[TomlText::new("mine.toml", GPU)]).unwrap();
        assert!(book.gpu("X1").is_some() && book.gpu("L4").is_some());

        let gigabytes = GPU.replace("300e9", "300");
        assert!(refusal(&gigabytes).starts_with(
            "mine.toml:10:25: a GPU moves between 1e10 and 1e14 bytes per second: give bytes, not gigabytes"
        ));
        let tflops = GPU.replace("30e12", "30");
        assert!(refusal(&tflops).contains("mine.toml:11:19: a GPU does between"));
        let negative = GPU.replace("30e12", "-1.0");
        assert!(
            refusal(&negative).contains("mine.toml:11:19"),
            "{}",
            refusal(&negative)
        );
        let typo = GPU.replace("fp32_flop_per_s", "fp32_flops_per_s");
        assert!(refusal(&typo).contains("hint: did you mean `fp32_flop_per_s`?"));
        let schema = GPU.replace("schema = 1", "schema = 9");
        assert!(refusal(&schema).contains("mine.toml:2:10: hardware files of schema 9"));
        let unknown = "schema = 1\n[measured]\n\"aws/c7x\" = [[4, 1e9]]\n";
        assert!(refusal(unknown).contains("no CPU family is called `aws/c7x`"));
        let disordered = "schema = 1\n[measured]\n\"aws/c7i\" = [[8, 1e9], [4, 1e9]]\n";
        assert!(refusal(disordered).contains("mine.toml:3:13: measured bandwidths must be"));
    }
}
