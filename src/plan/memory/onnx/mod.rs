//! Memory of an ONNX model in ONNX Runtime on a CPU, from its graph.
//!
//! The tensors of a batch are followed in execution order, with the runtime's
//! fusions and views, through its arena ([`arena`]); the weights through loading
//! ([`weights`]).
//!
//! The estimate is for a process in which blocks above 128 KiB go back to the
//! system when they are freed (`MALLOC_MMAP_THRESHOLD_=131072`), as in every
//! process that advisor measures in. With the C library's default the threshold
//! moves with what was freed, up to 32 MiB, and what loading freed stays or goes
//! by chance: resident sets of `bert-base` after loading were 573 to 704 MiB in
//! identical processes, and 453.7 ± 0.3 MiB with the threshold fixed.

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

/// The process with the runtime's library loaded (26 MiB) and a session's
/// machinery used once (9 MiB: operator schemas, kernel registry, threads):
/// measured with the smallest reference model (`mlp`, 35.1 MiB with its 0.3 MiB of
/// weights; ONNX Runtime 1.31.1 on Linux x86-64, one thread, two runs).
const PROCESS: Bytes = Bytes::from_mib(35);

/// How far the process may be off: other versions of the library, other systems.
const PROCESS_DOUBT: Bytes = Bytes::from_mib(10);

/// How far the arena may be off: kernels' scratch memory that is not known here,
/// another order of execution.
const ARENA_DOUBT: f64 = 0.15;

/// How far what loading holds besides may be off: other versions rewrite weights
/// in other passes.
const LOADING_DOUBT: f64 = 0.25;

/// How far tables of trees may be off: fitted to one model.
const TREES_DOUBT: f64 = 0.4;

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
    #[serde(rename = "weights_bytes_by_type")]
    pub weights_by_type: BTreeMap<ElementType, Bytes>,
    /// Weights as stored, of one instance; external data included.
    #[serde(rename = "weights_bytes")]
    pub weights: Bytes,
    /// Tables of tree ensembles, of one instance.
    #[serde(rename = "trees_bytes")]
    pub trees: Bytes,
    /// Held besides while an instance loads, and given back after.
    #[serde(rename = "loading_bytes")]
    pub load_transient: Bytes,
    /// The most bytes of tensors that live at one moment, of one instance.
    #[serde(rename = "tensors_bytes")]
    pub activations_peak: Bytes,
    /// What the arena holds resident beyond that, of one instance.
    #[serde(rename = "arena_bytes")]
    pub arena: Bytes,
    /// Inputs of a batch; outputs are in the arena.
    #[serde(rename = "inputs_bytes")]
    pub io: Bytes,
    /// The process without a model.
    #[serde(rename = "process_bytes")]
    pub process: Bytes,
    /// The highest resident set.
    #[serde(rename = "total_bytes")]
    pub total: Estimate<Bytes>,
    /// The parts that add up to the value of `total`.
    pub parts: Vec<OnnxPart>,
    /// What could not be told from the graph.
    pub reasons: Vec<String>,
}

impl OnnxFootprint {
    /// What one more instance adds when it is loaded, without activations.
    #[must_use]
    pub fn per_instance(&self) -> Bytes {
        self.weights + self.trees
    }

    /// The highest while the last instance loads.
    #[must_use]
    pub fn loading(&self) -> Bytes {
        self.process + self.per_instance() * u64::from(self.instances) + self.load_transient
    }

    /// With all instances running.
    #[must_use]
    pub fn running(&self) -> Bytes {
        self.process + (self.per_instance() + self.per_batch()) * u64::from(self.instances)
    }

    /// How far an estimate may be from what was `measured`: 5 %, at least 64 MiB.
    #[must_use]
    pub fn stated_error(measured: Bytes) -> Bytes {
        measured.scaled(0.05).max(Bytes::from_mib(64))
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
    let loaded = (held.stored + held.trees) * n;
    let running = (live + arena + io) * n;
    // Sessions load one after the other, before the first run.
    let transient = held.transient - running;
    let value = PROCESS + loaded + running + transient;
    let doubt = PROCESS_DOUBT
        + held.transient.scaled(LOADING_DOUBT)
        + held.trees.scaled(TREES_DOUBT) * n
        + (live + arena).scaled(ARENA_DOUBT) * n;
    let total = Estimate::new(
        value,
        (value - doubt, value + doubt),
        Fraction::saturating(0.9),
        Source::Assumed {
            why: "replay of the graph through the runtime's loading and its arena".to_owned(),
        },
    );
    let replayed = Bytes::new(run.reserved);
    let mut parts = vec![
        part(
            "process",
            PROCESS,
            format!("{PROCESS} with the library loaded and used"),
            "measured with the smallest reference model",
        ),
        part(
            "weights",
            held.stored * n,
            format!(
                "{n} × {}, each once: packed copies replace them",
                held.stored
            ),
            "the model's initialisers",
        ),
    ];
    if held.trees > Bytes::ZERO {
        parts.push(part(
            "trees",
            held.trees * n,
            format!("{n} × {}", held.trees),
            "fitted to the gradient-boosting reference model",
        ));
    }
    parts.extend([
        part("tensors", live * n, format!("{n} × {live}: the most that lives at one moment, after fusion"), "replay of the graph in execution order"),
        part(
            "arena",
            arena * n,
            format!("{n} × {arena}: written pages of {replayed} reserved, with a block of {} for later runs, less what lives", Bytes::new(run.block)),
            "onnxruntime/core/framework/bfc_arena.cc, mem_pattern_planner.h",
        ),
        part("inputs", io * n, format!("{n} × {io}"), "the model's declared inputs"),
        part("while loading", transient, format!("{}, less what running takes later", held.formula), "order of loading in ONNX Runtime 1.31"),
    ]);
    Ok(OnnxFootprint {
        batch: sizes.batch,
        instances,
        weights_by_type: held.by_type,
        weights: held.stored,
        trees: held.trees,
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

fn part(name: &'static str, bytes: Bytes, formula: String, source: &'static str) -> OnnxPart {
    OnnxPart {
        name,
        bytes,
        formula,
        source,
    }
}

#[cfg(test)]
mod tests;
