//! Published measurements, read from CSV texts: what the fit learns from.

use super::csv_text::{Record, Table};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// The files of a benchmark folder, by their paths in it.
pub const FILES: [&str; 6] = [
    "timm_infer.csv",
    "nvidia_tables.csv",
    "mlperf.csv",
    "openvino_cpu.csv",
    "networks.csv",
    "cc-by-sa-4.0/llamacpp_cpu.csv",
];

/// A CSV file's path in the benchmark folder, and its text.
#[derive(Debug, Clone, Copy)]
pub struct BenchText<'t> {
    /// One of [`FILES`].
    pub name: &'t str,
    /// What is in it.
    pub text: &'t str,
}

/// All published measurements.
#[derive(Debug, Clone, Default)]
pub struct Benchmarks {
    pub(super) images: Vec<ImageRow>,
    pub(super) tables: Vec<TableRow>,
    pub(super) mlperf: Vec<MlperfRow>,
    pub(super) openvino: Vec<OpenvinoRow>,
    pub(super) cloud: Vec<CloudRow>,
    pub(super) networks: BTreeMap<String, Network>,
    /// What was read: name, SHA-256 and rows of each file.
    pub sources: Vec<SourceFile>,
}

/// One file that a fit rests on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its path in the benchmark folder.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Rows of measurements in it.
    pub rows: usize,
}

/// An image model of timm at the largest batch that its author's sweep kept.
#[derive(Debug, Clone)]
pub(super) struct ImageRow {
    /// Architecture, without the name of the weights.
    pub architecture: String,
    /// `conv`, `dwconv`, `hybrid`, `vit`, `mlp`.
    pub kind: String,
    /// Floating-point operations for one image.
    pub flops: f64,
    /// Elements that convolutions and matrix products write for one image.
    pub activations: f64,
    /// Learnt parameters.
    pub parameters: f64,
    /// Pixels along one side.
    pub side: u32,
    /// Name in the hardware book, or of the one CPU.
    pub device: String,
    /// Precision, layout, torch version, compiled or not.
    pub stack: String,
    /// Images per batch.
    pub batch: f64,
    /// Seconds per image.
    pub seconds: f64,
}

/// A row of NVIDIA's published tables.
#[derive(Debug, Clone)]
pub(super) struct TableRow {
    pub stack: String,
    pub network: String,
    pub precision: String,
    pub device: String,
    pub batch: u32,
    /// Seconds per batch.
    pub seconds: f64,
}

/// The median of the `MLPerf` results of one network on one accelerator in one round.
#[derive(Debug, Clone)]
pub(super) struct MlperfRow {
    pub round: String,
    pub device: String,
    pub network: String,
    /// `Offline` (samples per second) or `SingleStream` (p90 in milliseconds).
    pub scenario: String,
    pub value: f64,
    pub software: String,
}

/// A row of `OpenVINO`'s table; every inference has batch size 1.
#[derive(Debug, Clone)]
pub(super) struct OpenvinoRow {
    pub platform: String,
    pub network: String,
    /// Precision and metric: never mixed.
    pub key: String,
    /// Cores of all sockets; an efficiency core counts half.
    pub cores: f64,
    pub instruction_set: String,
    /// Rated power of all sockets.
    pub watts: f64,
    /// Seconds per inference (latency, or the inverse of throughput).
    pub seconds: f64,
}

/// A run of llama.cpp on all cores of a cloud machine.
#[derive(Debug, Clone)]
pub(super) struct CloudRow {
    /// Name in the hardware book.
    pub family: String,
    pub vcpus: f64,
    pub threads: f64,
    pub model: String,
    pub test: String,
    pub seconds: f64,
}

/// What is known of a network by its name.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// `conv`, `transformer`, …
    pub class: String,
    pub flops: f64,
    pub activations: f64,
    pub parameters: f64,
    /// Kernels of one pass.
    pub kernels: f64,
}

impl Benchmarks {
    /// Reads the files of a benchmark folder; all of [`FILES`] must be there.
    ///
    /// # Errors
    /// A file is missing, lacks a column, or has a row that is none, with its line.
    pub fn parse(texts: &[BenchText<'_>]) -> Result<Self> {
        let mut all = Self::default();
        for name in FILES {
            let Some(found) = texts.iter().find(|text| text.name == name) else {
                return Err(
                    Error::bad_input(format!("the benchmark folder has no `{name}`"))
                        .hint(format!("it must hold {}", FILES.join(", "))),
                );
            };
            let table = Table::parse(name, found.text)?;
            let mut rows = 0;
            for record in table.records() {
                rows += 1;
                all.add(name, &record)?;
            }
            all.sources.push(SourceFile {
                file: name.to_owned(),
                sha256: sha256(found.text),
                rows,
            });
        }
        Ok(all)
    }

    fn add(&mut self, file: &str, record: &Record<'_>) -> Result<()> {
        match file {
            "timm_infer.csv" => self.images.push(image(record)?),
            "nvidia_tables.csv" => self.tables.push(table_row(record)?),
            "mlperf.csv" => self.mlperf.push(MlperfRow {
                round: record.text("round")?.to_owned(),
                device: record.text("device")?.to_owned(),
                network: record.text("network")?.to_owned(),
                scenario: record.text("scenario")?.to_owned(),
                value: record.positive("value")?,
                software: record.text("software")?.to_owned(),
            }),
            "openvino_cpu.csv" => self.openvino.push(openvino(record)?),
            "networks.csv" => {
                self.networks.insert(
                    record.text("network")?.to_owned(),
                    Network {
                        class: record.text("class")?.to_owned(),
                        flops: record.number("gflop")? * 1e9,
                        activations: record.number("activations_m")? * 1e6,
                        parameters: record.number("params_m")? * 1e6,
                        kernels: record.number("kernels")?,
                    },
                );
            }
            _ => self.cloud.push(CloudRow {
                family: record.text("family")?.to_owned(),
                vcpus: record.positive("vcpus")?,
                threads: record.positive("threads")?,
                model: record.text("model")?.to_owned(),
                test: record.text("test")?.to_owned(),
                seconds: record.positive("ms")? * 1e-3,
            }),
        }
        Ok(())
    }
}

fn sha256(text: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn image(record: &Record<'_>) -> Result<ImageRow> {
    let model = record.text("model")?;
    let compiled = if record.text("compile")? == "1" {
        "compiled"
    } else {
        "eager"
    };
    Ok(ImageRow {
        architecture: model.split('.').next().unwrap_or(model).to_owned(),
        kind: record.text("family")?.to_owned(),
        // A multiply-add is two operations.
        flops: record.positive("gmacs")? * 2e9,
        activations: record.positive("macts_m")? * 1e6,
        parameters: record.positive("params_m")? * 1e6,
        side: record.positive("img_size")? as u32,
        device: record.text("device")?.to_owned(),
        stack: format!(
            "torch {} {} {} {compiled}",
            record.text("torch")?,
            record.text("precision")?,
            record.text("layout")?
        ),
        batch: record.positive("batch")?,
        seconds: 1.0 / record.positive("img_per_s")?,
    })
}

fn table_row(record: &Record<'_>) -> Result<TableRow> {
    let batch = record.positive("batch")?;
    Ok(TableRow {
        stack: record.text("stack")?.to_owned(),
        network: record.text("network")?.to_owned(),
        precision: record.text("precision")?.to_owned(),
        device: record.text("device")?.to_owned(),
        batch: batch as u32,
        seconds: batch / record.positive("items_per_s")?,
    })
}

fn openvino(record: &Record<'_>) -> Result<OpenvinoRow> {
    let value = record.positive("value")?;
    let metric = record.text("metric")?;
    let seconds = match metric {
        "throughput" => 1.0 / value,
        "latency" => value * 1e-3,
        other => return Err(record.refuse(&format!("no metric is called `{other}`"))),
    };
    let Some(per_socket) = cores(record.text("cores_per_socket")?) else {
        return Err(record.refuse("`cores_per_socket` is not of the form `6P+8E` or `16C`"));
    };
    Ok(OpenvinoRow {
        platform: record.text("platform")?.to_owned(),
        network: record.text("model")?.to_owned(),
        key: format!("{} {metric}", record.text("precision")?),
        cores: per_socket * record.positive("sockets")?,
        instruction_set: record.text("isa")?.to_owned(),
        watts: record.positive("tdp_w_total")?,
        seconds,
    })
}

/// `16C` is 16 cores, `6P+8E+2LPE` is 6 and half of 8: efficiency cores have
/// about half the throughput, low-power ones do not take part.
fn cores(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split('+') {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let count: f64 = digits.parse().ok()?;
        total += match part.get(digits.len()..)? {
            "C" | "P" => count,
            "E" => count / 2.0,
            "LPE" => 0.0,
            _ => return None,
        };
    }
    (total > 0.0).then_some(total)
}

/// The family of architectures that a timm name belongs to: what stands before
/// the first digit or underscore, without the prefix for ported weights. Whole
/// families are held out together, or the next size of the same design would
/// give the answer away.
pub(super) fn architecture_family(architecture: &str) -> &str {
    let name = ["tf_", "legacy_", "gluon_", "ssl_", "swsl_", "test_"]
        .iter()
        .find_map(|prefix| architecture.strip_prefix(prefix))
        .unwrap_or(architecture);
    let end = name
        .find(|c: char| c == '_' || c.is_ascii_digit())
        .filter(|end| *end > 0);
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_architectures() {
        for (name, family) in [
            ("resnet50", "resnet"),
            ("tf_efficientnet_b0", "efficientnet"),
            ("vit_base_patch16_224", "vit"),
            ("convnext", "convnext"),
        ] {
            assert_eq!(architecture_family(name), family);
        }
    }

    #[test]
    fn cores_are_counted_by_kind() {
        assert_eq!(cores("16C"), Some(16.0));
        assert_eq!(cores("6P+8E+2LPE"), Some(10.0));
        assert_eq!(cores("many"), None);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Benchmarks::parse(&[]).unwrap_err();
        assert!(error.message().contains("timm_infer.csv"));
    }
}
