//! Does a serving configuration fit into the machine's memory, judged by the
//! model's graph and by what the calibration measured.

use crate::{
    caveat::{Caveat, CaveatKind},
    plan::memory::OnnxFootprint,
    profile::calibration::{Calibration, GraphMemory, ModelSummary, SessionLayout},
    units::Bytes,
};
use serde::Serialize;

/// What a CUDA context, cuBLAS and cuDNN take on the device before any tensor:
/// 300–600 MiB were reported for recent drivers, more on larger GPUs.
const GPU_CONTEXT: Bytes = Bytes::from_mib(800);

/// The share of memory that may be filled: the rest is for the system, the
/// server itself and fragmentation.
const FILLABLE: f64 = 0.85;

/// The process without a model: the runtime's library and the server.
const PROCESS: Bytes = Bytes::from_mib(150);

/// Whether a configuration fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// With room to spare.
    Fits,
    /// More than 85 % of the memory is needed.
    Tight,
    /// More than there is.
    DoesNotFit,
    /// The machine's memory is not known.
    Unknown,
}

/// Memory needed and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryFit {
    /// What all instances need at the largest batch.
    #[serde(rename = "needed_bytes")]
    pub needed: Bytes,
    /// What there is.
    #[serde(rename = "available_bytes")]
    pub available: Bytes,
    /// The judgement.
    pub fit: Fit,
}

impl MemoryFit {
    fn judge(needed: Bytes, available: Bytes) -> Self {
        let fit = if available == Bytes::ZERO {
            Fit::Unknown
        } else if needed > available {
            Fit::DoesNotFit
        } else if needed > available.scaled(FILLABLE) {
            Fit::Tight
        } else {
            Fit::Fits
        };
        Self {
            needed,
            available,
            fit,
        }
    }
}

/// What instances hold and what batches add on the CPU: from the graph and from
/// the resident sets of a calibration, whichever is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse<'m> {
    /// None where the graph tells and nothing was measured.
    per_instance: Option<Bytes>,
    per_item: Bytes,
    graph: Option<&'m GraphMemory>,
}

impl<'m> MemoryUse<'m> {
    /// Takes the model's graph, and reads the use off the resident sets of a
    /// calibration; what neither tells is reckoned from the model's size.
    #[must_use]
    pub fn of(model: &'m ModelSummary, calibration: Option<&Calibration>) -> Self {
        let graph = model.memory.as_ref();
        let measured = calibration.and_then(per_instance);
        // A session keeps weights as loaded and as packed for its kernels.
        let guessed = || model.weight_bytes.scaled(2.0);
        let per_item = calibration.and_then(per_item).unwrap_or_else(|| {
            Bytes::new(
                model.activation_bytes_per_item.get() / u64::from(model.operators.max(1)) * 4,
            )
        }) + model.io_bytes_per_item;
        Self {
            per_instance: measured.or_else(|| graph.is_none().then(guessed)),
            per_item,
            graph,
        }
    }

    /// Whether instances of a layout fit into a machine's memory.
    #[must_use]
    pub fn on_cpu(&self, layout: SessionLayout, max_batch: u32, available: Bytes) -> MemoryFit {
        let n = layout.instances;
        let measured = self
            .per_instance
            .map(|each| (each + self.per_item * u64::from(max_batch)) * u64::from(n));
        let estimated = self.graph.map(|graph| graph.needed(n, max_batch));
        let needed = measured.max(estimated).unwrap_or_default();
        MemoryFit::judge(PROCESS + needed, available)
    }

    /// Whether one instance fits onto a GPU.
    #[must_use]
    pub fn on_gpu(&self, model: &ModelSummary, max_batch: u32, available: Bytes) -> MemoryFit {
        let needed =
            GPU_CONTEXT + model.weight_bytes.scaled(1.2) + self.per_item * u64::from(max_batch);
        MemoryFit::judge(needed, available)
    }
}

/// A doubt where the graph and the calibration differ by more than the graph's
/// stated error on what one loaded instance holds, or where the graph says more
/// for a batch than was measured. (The other way round says nothing: a measuring
/// process holds many inputs and the arena of other batches besides.)
#[must_use]
pub fn memory_doubt(model: &ModelSummary, calibration: Option<&Calibration>) -> Option<Caveat> {
    let graph = model.memory.as_ref()?;
    let calibration = calibration?;
    let held = graph.process_bytes + graph.per_instance_bytes;
    let loaded = calibration
        .starts
        .iter()
        .filter(|start| start.layout.instances == 1)
        .filter_map(|start| start.loaded_memory_bytes)
        .max()
        .filter(|measured| {
            let off = held.get().abs_diff(measured.get());
            Bytes::new(off) > OnnxFootprint::stated_error(*measured)
        })
        .map(|measured| ("one loaded instance".to_owned(), held, measured));
    let running = || {
        calibration
            .rows
            .iter()
            .filter(|row| row.layout.instances == 1)
            .find_map(|row| {
                let measured = row.peak_memory_bytes?;
                let said = held + graph.running(row.batch_size);
                (said > measured + OnnxFootprint::stated_error(measured)).then(|| {
                    let what = format!("one instance at batch {}", row.batch_size);
                    (what, said, measured)
                })
            })
    };
    let (what, said, measured) = loaded.or_else(running)?;
    Some(
        Caveat::new(
            CaveatKind::Memory,
            format!(
                "the model's graph tells {said} of memory for {what}, the calibration measured {measured}: the larger of the two is planned with"
            ),
        )
        .hint("`advisor memory --model … --measure` compares them batch by batch"),
    )
}

/// Growth of the resident set from one instance to several, else the whole of one.
fn per_instance(calibration: &Calibration) -> Option<Bytes> {
    let loaded: Vec<(u32, Bytes)> = calibration
        .starts
        .iter()
        .filter_map(|start| Some((start.layout.instances, start.loaded_memory_bytes?)))
        .collect();
    let one = loaded
        .iter()
        .filter(|(n, _)| *n == 1)
        .map(|(_, b)| *b)
        .max()?;
    let several = loaded
        .iter()
        .filter(|(n, _)| *n > 1)
        .max_by_key(|(n, _)| *n);
    Some(match several {
        Some((n, bytes)) => Bytes::new((*bytes - one).get() / u64::from(n - 1)),
        None => one - PROCESS,
    })
}

/// Growth of the peak from the smallest to the largest batch of one layout.
fn per_item(calibration: &Calibration) -> Option<Bytes> {
    let peaks: Vec<(u32, Bytes)> = calibration
        .rows
        .iter()
        .filter(|row| row.layout.instances == 1)
        .filter_map(|row| Some((row.batch_size, row.peak_memory_bytes?)))
        .collect();
    let low = peaks.iter().min_by_key(|(batch, _)| *batch)?;
    let high = peaks.iter().max_by_key(|(batch, bytes)| (*batch, *bytes))?;
    (high.0 > low.0).then(|| Bytes::new((high.1 - low.1).get() / u64::from(high.0 - low.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::calibration::{BatchMemory, Start, example},
        units::Time,
    };

    #[test]
    fn the_judgement_follows_the_room() {
        let gib = Bytes::from_gib;
        let fit = |needed, available| MemoryFit::judge(gib(needed), gib(available)).fit;
        assert_eq!(fit(1.0, 4.0), Fit::Fits);
        assert_eq!(fit(3.6, 4.0), Fit::Tight);
        assert_eq!(fit(4.1, 4.0), Fit::DoesNotFit);
        assert_eq!(fit(1.0, 0.0), Fit::Unknown);
    }

    fn model(memory: Option<GraphMemory>) -> ModelSummary {
        ModelSummary {
            memory,
            ..example(&[]).model
        }
    }

    fn graph() -> GraphMemory {
        let mib = Bytes::from_mib;
        let batch = |batch_size, running_bytes| BatchMemory {
            batch_size,
            running_bytes,
        };
        GraphMemory {
            process_bytes: mib(35),
            per_instance_bytes: mib(400),
            loading_bytes: mib(100),
            batches: vec![batch(1, mib(10)), batch(8, mib(80)), batch(32, mib(900))],
        }
    }

    const TWO: SessionLayout = SessionLayout {
        instances: 2,
        intra_op_threads: 1,
        spinning: false,
    };

    #[test]
    fn without_measurements_the_graph_tells_what_is_needed() {
        let model = model(Some(graph()));
        let memory = MemoryUse::of(&model, None);
        let needed = |batch| memory.on_cpu(TWO, batch, Bytes::from_gib(64.0)).needed;
        // Loading the second instance takes more than two small batches.
        assert_eq!(needed(1), PROCESS + Bytes::from_mib(2 * 400 + 100));
        // The next larger batch that was estimated stands for those between.
        assert_eq!(needed(5), PROCESS + Bytes::from_mib(2 * (400 + 80)));
        assert_eq!(needed(64), PROCESS + Bytes::from_mib(2 * (400 + 1800)));
        let fit = |batch| memory.on_cpu(TWO, batch, Bytes::from_gib(2.0)).fit;
        assert_eq!((fit(8), fit(32)), (Fit::Fits, Fit::DoesNotFit));
    }

    #[test]
    fn the_larger_of_graph_and_measurement_counts_and_a_difference_is_told() {
        let mut calibration = example(&[]);
        let loaded = |bytes| {
            vec![Start {
                layout: SessionLayout {
                    instances: 1,
                    ..TWO
                },
                load: Time::ZERO,
                first_inference: Time::ZERO,
                loaded_memory_bytes: Some(bytes),
                nodes: Vec::new(),
            }]
        };
        let model = model(Some(graph()));
        calibration.rows.clear();
        calibration.starts = loaded(Bytes::from_mib(440));
        assert_eq!(memory_doubt(&model, Some(&calibration)), None);
        calibration.starts = loaded(Bytes::from_mib(1435));
        let doubt = memory_doubt(&model, Some(&calibration)).unwrap();
        assert!(doubt.message.contains("435 MiB"), "{doubt:?}");
        let memory = MemoryUse::of(&model, Some(&calibration));
        let needed = memory.on_cpu(TWO, 1, Bytes::from_gib(64.0)).needed;
        assert!(needed > Bytes::from_mib(2 * (1435 - 150)), "{needed}");
        assert_eq!(memory_doubt(&self::model(None), Some(&calibration)), None);
    }
}
