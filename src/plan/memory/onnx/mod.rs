//! Memory of an ONNX model in ONNX Runtime on a CPU, from its graph.
//!
//! The tensors of a batch are followed in execution order, with the runtime's
//! fusions and views, through its arena ([`arena`]); the copies of the weights
//! that loading leaves are rules fitted to measured processes and have the
//! widest interval ([`weights`]).

mod arena;
mod fuse;
mod replay;
mod weights;

use crate::error::{Error, Result};
use crate::estimate::{Estimate, Source};
use crate::model::{ElementType, Model, Sizes, input_specs, trace};
use crate::units::{Bytes, Fraction};
use serde::Serialize;
use std::collections::BTreeMap;

/// The process with the runtime's library loaded, its session machinery used
/// once and a small model run: about 32 MiB with the library and an empty model,
/// and 16.5 MiB that loading and running the smallest reference model added
/// (ONNX Runtime 1.31.1 driven from Python, one thread, two runs).
const PROCESS: Bytes = Bytes::from_mib(48);

/// How far the process may be off: other versions of the library, other systems.
const PROCESS_DOUBT: Bytes = Bytes::from_mib(10);

/// How far the arena may be off: kernels' scratch memory that is not known here,
/// another order of execution.
const ARENA_DOUBT: f64 = 0.15;

/// A part of the memory, with how it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxPart {
    /// What it is.
    pub name: &'static str,
    /// How much, over all instances.
    pub bytes: Bytes,
    /// How it is computed, with the numbers of this case.
    pub formula: String,
    /// Where the rule comes from.
    pub source: &'static str,
}

/// Memory of a process that serves a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxFootprint {
    /// Items per batch.
    pub batch: u64,
    /// Sessions in the process.
    pub instances: u32,
    /// Weights as stored, by element type, of one instance.
    pub weights_by_type: BTreeMap<ElementType, Bytes>,
    /// Weights as stored, of one instance; external data included.
    pub weights: Bytes,
    /// Copies of weights that loading leaves, of one instance.
    pub packed: Bytes,
    /// Held while an instance loads and given back after.
    pub load_transient: Bytes,
    /// The most bytes of tensors that live at one moment, of one instance.
    pub activations_peak: Bytes,
    /// What the arena holds resident beyond that, of one instance.
    pub arena: Bytes,
    /// Inputs of a batch; outputs are in the arena.
    pub io: Bytes,
    /// The process without a model.
    pub process: Bytes,
    /// The highest resident set.
    pub total: Estimate<Bytes>,
    /// The parts that add up to the value of `total`.
    pub parts: Vec<OnnxPart>,
    /// What could not be told from the graph.
    pub reasons: Vec<String>,
}

impl OnnxFootprint {
    /// What one more instance adds: its weights and copies, without activations.
    #[must_use]
    pub fn per_instance(&self) -> Bytes {
        self.weights + self.packed
    }

    /// What one instance's batch adds: tensors, arena and inputs.
    #[must_use]
    pub fn per_batch(&self) -> Bytes {
        self.activations_peak + self.arena + self.io
    }
}

/// The memory of `instances` sessions of `model` in one process, each running
/// batches of `sizes` on the CPU.
///
/// # Errors
/// The sizes do not fit the model, its inputs cannot be made up, or `instances` is 0.
pub fn onnx_footprint(model: &Model, sizes: &Sizes, instances: u32) -> Result<OnnxFootprint> {
    if instances == 0 {
        return Err(Error::bad_input("no instances").hint("ask for at least one"));
    }
    let trace = trace(model, sizes)?;
    let io: Bytes = input_specs(model, sizes)?
        .iter()
        .map(|spec| spec.element.bytes(spec.elements()))
        .sum();
    let held = weights::held(model);
    let run = replay::replay(model, &trace);
    let live = Bytes::new(run.live_peak);
    let arena = Bytes::new(run.resident) - live;
    let n = u64::from(instances);
    let loaded = (held.stored + held.copies) * n;
    let running = (live + arena + io) * n;
    // Sessions load one after the other, before the first run.
    let transient = held.transient - running;
    let value = PROCESS + loaded + running + transient;
    let doubt = PROCESS_DOUBT + held.doubt * n + (live + arena).scaled(ARENA_DOUBT) * n;
    let total = Estimate::new(
        value,
        (value - doubt, value + doubt),
        Fraction::saturating(0.9),
        Source::Assumed {
            why: "replay of the graph through the runtime's arena; copies of the weights by rules fitted to measured processes".to_owned(),
        },
    );
    let parts = vec![
        OnnxPart {
            name: "process",
            bytes: PROCESS,
            formula: format!("{PROCESS} with the library loaded and used"),
            source: "library and an empty model, and what the smallest reference model added",
        },
        OnnxPart {
            name: "weights",
            bytes: held.stored * n,
            formula: format!("{n} × {}, as stored", held.stored),
            source: "the model's initialisers",
        },
        OnnxPart {
            name: "copies of weights",
            bytes: held.copies * n,
            formula: format!("{n} × ({})", held.formula),
            source: "fitted to the resident sets of the reference models",
        },
        OnnxPart {
            name: "activations",
            bytes: live * n,
            formula: format!("{n} × {live}: the most that lives at one moment, after fusion"),
            source: "replay of the graph in execution order",
        },
        OnnxPart {
            name: "arena",
            bytes: arena * n,
            formula: format!(
                "{n} × {arena}: written pages of {} reserved, with a block of {} for later runs, less what lives",
                Bytes::new(run.reserved),
                Bytes::new(run.block)
            ),
            source: "onnxruntime/core/framework/bfc_arena.cc, mem_pattern_planner.h",
        },
        OnnxPart {
            name: "inputs",
            bytes: io * n,
            formula: format!("{n} × {io}"),
            source: "the model's declared inputs",
        },
        OnnxPart {
            name: "while loading",
            bytes: transient,
            formula: format!(
                "{} for the largest initialiser, less what running takes later",
                held.transient
            ),
            source: "blocks above 32 MiB are returned to the system (mallopt(3))",
        },
    ];
    Ok(OnnxFootprint {
        batch: sizes.batch,
        instances,
        weights_by_type: held.by_type,
        weights: held.stored,
        packed: held.copies,
        load_transient: held.transient,
        activations_peak: live,
        arena,
        io,
        process: PROCESS,
        total,
        parts,
        reasons: trace.reasons,
    })
}

#[cfg(test)]
mod tests;
