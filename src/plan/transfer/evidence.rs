//! What published systems really reached: looked up by the work that a model
//! is, since names differ from exporter to exporter.

use super::{
    bench::{Benchmarks, MlperfRow},
    fitted::short,
    predict::Work,
    tables::EAGER,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Published results of one network on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Name of the network: `bert-large-384`, `resnet50`.
    pub network: String,
    /// `conv`, `transformer`, …
    pub class: String,
    /// Floating-point operations for one item, in units of 10^9; 0 where unknown.
    pub gflop: f64,
    /// Learnt parameters, in millions; 0 where unknown.
    pub params_m: f64,
    /// Name in the hardware book.
    pub device: String,
    /// `fp32`, `tf32`; `best` where each device ran the precision that suits it.
    pub precision: String,
    /// The software: `tensorflow`, `TensorRT 9.0`.
    pub stack: String,
    /// Who published it: `MLPerf v3.1`.
    pub by: String,
    /// Items per second by batch size; one entry with batch size 0 where the
    /// size is not known, as in `MLPerf`'s `Offline`.
    pub items_per_s: Vec<(u32, f64)>,
}

/// How near arithmetic and parameters must be for two models to be called the same work.
const SAME_WORK: f64 = 0.12;

impl Published {
    /// Whether a model does the same work: class, arithmetic and parameters.
    #[must_use]
    pub fn is_same_work(&self, work: &Work) -> bool {
        let near = |a: f64, b: f64| a > 0.0 && b > 0.0 && (a / b).ln().abs() <= SAME_WORK;
        let class = if work.kind.is_convolutional() {
            "conv"
        } else {
            "transformer"
        };
        self.class == class
            && near(self.gflop * 1e9, work.flops.get())
            && near(self.params_m * 1e6, work.parameters())
    }

    /// `bert-large-384 on L4: 950 items/s, MLPerf v3.1 (TensorRT 9.0, best)`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let best = self
            .items_per_s
            .iter()
            .map(|(_, rate)| *rate)
            .fold(0.0, f64::max);
        format!(
            "{} on {}: {} items/s, {} ({}, {})",
            self.network,
            self.device,
            rounded(best),
            self.by,
            self.stack,
            self.precision
        )
    }

    /// The highest rate among its batch sizes, for a table.
    #[must_use]
    pub fn best(&self) -> String {
        rounded(
            self.items_per_s
                .iter()
                .map(|(_, rate)| *rate)
                .fold(0.0, f64::max),
        )
    }

    /// Whether it is a curve by batch size in single precision, on which an
    /// estimate can rest.
    pub(super) fn is_curve(&self) -> bool {
        matches!(self.precision.as_str(), "fp32" | "tf32") && self.items_per_s.len() > 1
    }

    /// Seconds of a batch: measured sizes as they are, between them along the
    /// line through the neighbours in logarithms, beyond them in proportion.
    pub(super) fn seconds(&self, batch: f64) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .items_per_s
            .iter()
            .filter(|(size, rate)| *size > 0 && *rate > 0.0)
            .map(|(size, rate)| (f64::from(*size), f64::from(*size) / rate))
            .collect();
        let (first, last) = (points.first()?, points.last()?);
        if batch <= first.0 {
            // Smaller batches cost no less than launches do, which is most of it.
            return Some(first.1);
        }
        if batch >= last.0 {
            return Some(last.1 * batch / last.0);
        }
        points.windows(2).find_map(|pair| {
            let [low, high] = pair else { return None };
            (low.0 <= batch && batch <= high.0).then(|| {
                let share = (batch / low.0).ln() / (high.0 / low.0).ln();
                (low.1.ln() + share * (high.1 / low.1).ln()).exp()
            })
        })
    }
}

/// Curves in single precision from NVIDIA's tables, and the newest round of
/// `MLPerf` for each network and device.
pub(super) fn published(bench: &Benchmarks) -> Vec<Published> {
    let mut curves = BTreeMap::<(&str, &str, &str, &str), Vec<(u32, f64)>>::new();
    for row in &bench.tables {
        if matches!(row.precision.as_str(), "fp32" | "tf32") && EAGER.contains(&row.stack.as_str())
        {
            let key = (
                row.network.as_str(),
                row.device.as_str(),
                row.precision.as_str(),
                row.stack.as_str(),
            );
            curves
                .entry(key)
                .or_default()
                .push((row.batch, short(f64::from(row.batch) / row.seconds)));
        }
    }
    let mut out: Vec<Published> = curves
        .into_iter()
        .map(|((network, device, precision, stack), mut items_per_s)| {
            items_per_s.sort_by_key(|(batch, _)| *batch);
            Published {
                items_per_s,
                ..named(
                    bench,
                    network,
                    device,
                    (precision, stack, "NVIDIA DeepLearningExamples"),
                )
            }
        })
        .collect();
    let mut newest = BTreeMap::<(&str, &str), &MlperfRow>::new();
    for row in bench.mlperf.iter().filter(|row| row.scenario == "Offline") {
        let slot = newest
            .entry((row.network.as_str(), row.device.as_str()))
            .or_insert(row);
        if row.round > slot.round {
            *slot = row;
        }
    }
    out.extend(newest.into_values().map(|row| Published {
        items_per_s: vec![(0, short(row.value))],
        ..named(
            bench,
            full_name(&row.network),
            &row.device,
            ("best", &row.software, &format!("MLPerf {}", row.round)),
        )
    }));
    out
}

/// Whole items, or three digits of fewer than ten.
fn rounded(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.2}")
    } else {
        format!("{rate:.0}")
    }
}

/// What `MLPerf` calls a network, as other tables do: its BERT is the large one, on
/// 384 tokens (inference rules of `MLCommons`).
fn full_name(network: &str) -> &str {
    match network {
        "bert" => "bert-large-384",
        other => other,
    }
}

fn named(
    bench: &Benchmarks,
    network: &str,
    device: &str,
    (precision, stack, by): (&str, &str, &str),
) -> Published {
    let known = bench.networks.get(network);
    Published {
        network: network.to_owned(),
        class: known.map_or_else(|| "other".to_owned(), |n| n.class.clone()),
        gflop: known.map_or(0.0, |n| short(n.flops / 1e9)),
        params_m: known.map_or(0.0, |n| short(n.parameters / 1e6)),
        device: device.to_owned(),
        precision: precision.to_owned(),
        stack: stack.to_owned(),
        by: by.to_owned(),
        items_per_s: Vec::new(),
    }
}
