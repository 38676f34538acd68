//! `advisor memory --model`: an ONNX model on the CPU, from its graph, and
//! measured on request.

use super::{
    Outcome,
    args::{Global, ModelArgs},
    folders::{Folders, program},
    memory_args::MemoryArgs,
    output, runtime,
    subject::{Named, named},
};
use crate::{
    error::{Error, Result},
    measure::runtime::{PeakRequest, measure_peak, release::Build},
    model::{self, Model, Sizes, input_specs, reference},
    plan::memory::onnx_footprint,
    render::{Explain, OnnxMemoryReport, OnnxMemoryRow, onnx_memory_report},
};
use std::collections::BTreeMap;

/// Batch sizes shown when none is asked for.
const BATCHES: [u64; 6] = [1, 2, 4, 8, 16, 32];

pub(super) fn run(global: &Global, args: &MemoryArgs, name: &str) -> Result<Outcome> {
    let typed = ModelArgs {
        model: name.to_owned(),
        dims: args.dims.clone(),
    };
    let named = named(&typed)?;
    let (model, dims) = match &named {
        Named::Reference(reference) => (reference.model()?, BTreeMap::new()),
        Named::File(path) => (model::read(path)?, typed.dims.iter().cloned().collect()),
    };
    let batches = match (args.batch.as_slice(), model.batching().limit()) {
        ([], Some(limit)) => vec![limit],
        ([], None) => BATCHES.to_vec(),
        (asked, _) => asked.to_vec(),
    };
    let mut report = OnnxMemoryReport {
        schema: OnnxMemoryReport::SCHEMA,
        model: named.name(),
        rows: Vec::new(),
    };
    for batch in batches {
        let sizes = Sizes {
            batch,
            dims: dims.clone(),
        };
        report.rows.push(OnnxMemoryRow {
            footprint: onnx_footprint(&model, &sizes, 1)?,
            measured: None,
        });
    }
    if args.measure {
        measure(global, &named, &model, &dims, &mut report)?;
    }
    let explain = if args.explain {
        Explain::Yes
    } else {
        Explain::No
    };
    output::print(global, &onnx_memory_report(&report, explain), &report)?;
    Ok(Outcome::Found)
}

/// Measures each row in a fresh process.
fn measure(
    global: &Global,
    named: &Named,
    model: &Model,
    dims: &BTreeMap<String, u64>,
    report: &mut OnnxMemoryReport,
) -> Result<()> {
    let folders = Folders::resolve(global)?;
    let library = runtime::ensure(global, &folders, Build::Cpu)?;
    let path = match named {
        Named::Reference(reference) => {
            folders.check_writable()?;
            reference::write_reference(reference, &folders.models())?
        }
        Named::File(path) => std::path::absolute(path)
            .map_err(|error| Error::bad_input(format!("--model: {error}")))?,
    };
    let program = program()?;
    for row in &mut report.rows {
        let sizes = Sizes {
            batch: row.footprint.batch,
            dims: dims.clone(),
        };
        output::note(global, &format!("Measuring batch {} …", sizes.batch));
        let request = PeakRequest {
            library: library.path.clone(),
            model: path.clone(),
            intra_op_threads: 1,
            inputs: input_specs(model, &sizes)?,
        };
        row.measured = Some(measure_peak(&program, &request)?.peak);
    }
    Ok(())
}
