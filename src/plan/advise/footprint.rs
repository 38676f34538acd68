//! Does a serving configuration fit into the machine's memory, judged by what
//! the calibration measured.

use crate::{
    profile::calibration::{Calibration, ModelSummary, SessionLayout},
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

/// What one instance holds, and what a batch adds, as measured on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    per_instance: Bytes,
    per_item: Bytes,
}

impl MemoryUse {
    /// Reads the use off the resident sets of a calibration; what was not
    /// measured is reckoned from the model's size.
    #[must_use]
    pub fn of(model: &ModelSummary, calibration: Option<&Calibration>) -> Self {
        let measured = calibration.and_then(per_instance);
        // A session keeps weights as loaded and as packed for its kernels.
        let per_instance = measured.unwrap_or_else(|| model.weight_bytes.scaled(2.0));
        let per_item = calibration.and_then(per_item).unwrap_or_else(|| {
            Bytes::new(
                model.activation_bytes_per_item.get() / u64::from(model.operators.max(1)) * 4,
            )
        }) + model.io_bytes_per_item;
        Self {
            per_instance,
            per_item,
        }
    }

    /// Whether instances of a layout fit into a machine's memory.
    #[must_use]
    pub fn on_cpu(&self, layout: SessionLayout, max_batch: u32, available: Bytes) -> MemoryFit {
        let each = self.per_instance + self.per_item * u64::from(max_batch);
        MemoryFit::judge(PROCESS + each * u64::from(layout.instances), available)
    }

    /// Whether one instance fits onto a GPU.
    #[must_use]
    pub fn on_gpu(&self, model: &ModelSummary, max_batch: u32, available: Bytes) -> MemoryFit {
        let needed =
            GPU_CONTEXT + model.weight_bytes.scaled(1.2) + self.per_item * u64::from(max_batch);
        MemoryFit::judge(needed, available)
    }
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

    #[test]
    fn the_judgement_follows_the_room() {
        let gib = Bytes::from_gib;
        let fit = |needed, available| MemoryFit::judge(gib(needed), gib(available)).fit;
        assert_eq!(fit(1.0, 4.0), Fit::Fits);
        assert_eq!(fit(3.6, 4.0), Fit::Tight);
        assert_eq!(fit(4.1, 4.0), Fit::DoesNotFit);
        assert_eq!(fit(1.0, 0.0), Fit::Unknown);
    }
}
