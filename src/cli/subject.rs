//! From `--model` to something that can be measured or looked up.

use super::{
    args::{Global, ModelArgs},
    folders::Folders,
    output,
};
use crate::{
    error::{Error, Result, nearest},
    model::{
        self, Batching, InputSpec, Model, Sizes, input_specs,
        reference::{self, Precision, ReferenceModel},
    },
    plan::memory::{OnnxFootprint, onnx_footprint},
    profile::calibration::{BatchMemory, GraphMemory, ModelClass, ModelSummary},
    units::{Bytes, Time},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A model as named on the command line, before its file is read.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// One of ours; its file may not be written yet.
    Reference(Box<ReferenceModel>),
    /// The user's file.
    File(PathBuf),
}

/// A model that is ready to be measured.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its file.
    pub path: PathBuf,
    /// Its facts.
    pub summary: ModelSummary,
    /// What to feed it.
    pub inputs: Vec<InputSpec>,
    /// The only batch size that it takes, where that is fixed; empty otherwise.
    pub batch_sizes: Vec<u32>,
}

/// Finds out what `--model` means. A name with a path separator or an ending
/// `.onnx`, or of an existing file, is a file.
///
/// # Errors
/// Neither a file nor a reference model (the message offers the nearest names),
/// or a file that is no model.
pub(super) fn named(args: &ModelArgs) -> Result<Named> {
    let path = Path::new(&args.model);
    let looks_like_a_path = args.model.contains(['/', '\\'])
        || path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    let catalogue = reference::catalogue()?;
    if let Some(model) = catalogue.iter().find(|model| model.name == args.model) {
        let dims = args.dims.iter().cloned().collect();
        return Ok(Named::Reference(Box::new(model.clone().with_dims(&dims)?)));
    }
    if looks_like_a_path || path.is_file() {
        // A file that is no model is found before a runtime is looked for.
        model::read(path)?;
        return Ok(Named::File(path.to_owned()));
    }
    let names: Vec<&str> = catalogue.iter().map(|model| model.name.as_str()).collect();
    let near = nearest(&args.model, names.iter().copied());
    let hint = if near.is_empty() {
        format!(
            "the reference models are {}; a file is given by its path",
            names.join(", ")
        )
    } else {
        format!(
            "did you mean `{}`? `advisor models` lists all; a file is given by its path",
            near.join("` or `")
        )
    };
    Err(Error::bad_input(format!(
        "no model is called `{}`, and no file either",
        args.model
    ))
    .hint(hint))
}

impl Named {
    /// The name that reports and saved calibrations use.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Reference(model) => match model.precision {
                Precision::Fp32 => model.name.clone(),
                other => format!("{}-{other}", model.name),
            },
            Self::File(path) => path.file_stem().map_or_else(
                || "model".to_owned(),
                |stem| stem.to_string_lossy().into_owned(),
            ),
        }
    }

    /// The hash that keys calibrations: of the definition for a reference
    /// model, of the contents for a file, each with the sizes of free dimensions.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn hash(&self, args: &ModelArgs, folders: &Folders) -> Result<String> {
        let path = match self {
            // The sizes are part of a reference model's definition.
            Self::Reference(model) => return Ok(model.stamp().to_string()),
            Self::File(path) => path,
        };
        let mut hash = remembered_hash(path, folders)?;
        let dims: BTreeMap<_, _> = args.dims.iter().cloned().collect();
        for (name, size) in dims {
            hash.push_str(&format!(" {name}={size}"));
        }
        Ok(hash)
    }

    /// Writes a reference model's file if it is not there, reads the model and
    /// makes it ready.
    ///
    /// # Errors
    /// The file cannot be written, read or understood; a free dimension has no size.
    pub(super) fn prepare(
        &self,
        global: &Global,
        args: &ModelArgs,
        folders: &Folders,
    ) -> Result<Subject> {
        let path = match self {
            Self::Reference(reference) => {
                folders.check_writable()?;
                if !folders.models().join(reference.file_name()).exists() {
                    output::note(
                        global,
                        &format!("Writing the reference model {} …", reference.name),
                    );
                }
                reference::write_reference(reference, &folders.models())?
            }
            Self::File(path) => path.clone(),
        };
        let model = model::read(&path)?;
        let dims = match self {
            Self::Reference(_) => BTreeMap::new(),
            Self::File(_) => args.dims.iter().cloned().collect(),
        };
        let sizes = Sizes {
            batch: model.batching().limit().unwrap_or(1),
            dims,
        };
        let inputs = input_specs(&model, &sizes)?;
        let hash = self.hash(args, folders)?;
        let summary = summary(&model, &sizes, self.name(), hash, &inputs)?;
        Ok(Subject {
            path,
            summary,
            inputs,
            batch_sizes: match model.batching() {
                Batching::Fixed { size } => vec![size.try_into().unwrap_or(u32::MAX)],
                Batching::Dynamic { .. } | Batching::None => Vec::new(),
            },
        })
    }
}

fn summary(
    model: &Model,
    sizes: &Sizes,
    name: String,
    hash: String,
    inputs: &[InputSpec],
) -> Result<ModelSummary> {
    let facts = model::inspect(model, sizes)?;
    let items = sizes.batch.max(1);
    let per_item = |bytes: Bytes| Bytes::new(bytes.get() / items);
    let io: Bytes = inputs
        .iter()
        .map(|spec| spec.element.bytes(spec.elements()))
        .sum();
    Ok(ModelSummary {
        name,
        hash,
        parameters: facts.weights.parameters,
        weight_bytes: facts.weights.bytes,
        flops_per_item: facts.cost.flops.scaled(1.0 / items as f64),
        activation_bytes_per_item: per_item(facts.cost.activation_bytes),
        io_bytes_per_item: per_item(io),
        operators: facts
            .operators
            .values()
            .sum::<u64>()
            .try_into()
            .unwrap_or(u32::MAX),
        class: class(&facts.operators),
        max_batch: facts
            .batching
            .limit()
            .map(|limit| limit.try_into().unwrap_or(u32::MAX)),
        memory: graph_memory(model, sizes),
    })
}

/// Batch sizes whose memory is kept with a model's facts.
const MEMORY_BATCHES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// The memory of the model by batch size; none where the graph does not tell.
fn graph_memory(model: &Model, sizes: &Sizes) -> Option<GraphMemory> {
    let batches = match model.batching() {
        Batching::Fixed { size } => vec![size],
        Batching::None => vec![1],
        Batching::Dynamic { .. } => MEMORY_BATCHES.to_vec(),
    };
    let footprints: Vec<OnnxFootprint> = batches
        .into_iter()
        .map_while(|batch| {
            let sizes = Sizes {
                batch,
                dims: sizes.dims.clone(),
            };
            onnx_footprint(model, &sizes, 1).ok()
        })
        .collect();
    let first = footprints.first()?;
    Some(GraphMemory {
        process_bytes: first.process,
        per_instance_bytes: first.per_instance(),
        loading_bytes: first.load_transient,
        batches: footprints
            .iter()
            .map(|footprint| BatchMemory {
                batch_size: footprint.batch.try_into().unwrap_or(u32::MAX),
                running_bytes: footprint.per_batch(),
            })
            .collect(),
    })
}

/// What kind of work a graph is, by its operators.
fn class(operators: &BTreeMap<String, u64>) -> ModelClass {
    let count = |names: &[&str]| -> u64 {
        operators
            .iter()
            .filter(|(name, _)| {
                let bare = name.rsplit([':', '.']).next().unwrap_or(name);
                names.contains(&bare) || names.contains(&name.as_str())
            })
            .map(|(_, n)| *n)
            .sum()
    };
    if operators.keys().any(|name| name.contains("TreeEnsemble")) {
        ModelClass::TreeEnsemble
    } else if count(&[
        "Softmax",
        "Attention",
        "MultiHeadAttention",
        "GroupQueryAttention",
    ]) >= 2
        && count(&["MatMul", "Gemm", "Attention"]) > count(&["Conv"])
    {
        ModelClass::Transformer
    } else if count(&["Conv", "ConvTranspose", "QLinearConv", "ConvInteger"]) > 0 {
        ModelClass::Convolutional
    } else if count(&["MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"]) > 0 {
        ModelClass::Dense
    } else {
        ModelClass::Other
    }
}

/// A hash computed earlier, with what tells that the file is still the same.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    bytes: u64,
    #[serde(rename = "modified_s")]
    modified: Time,
    hash: String,
}

/// Hashing a large file takes longer than planning from a saved calibration, so
/// hashes are remembered by path, size and time of change.
fn remembered_hash(path: &Path, folders: &Folders) -> Result<String> {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let key = full.to_string_lossy().into_owned();
    let file = folders.data.join("model-hashes.json");
    let mut known: BTreeMap<String, Remembered> = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let now = std::fs::metadata(path).ok().and_then(|meta| {
        let modified = meta
            .modified()
            .ok()?
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        Some((meta.len(), Time::from(modified)))
    });
    if let (Some(remembered), Some((bytes, modified))) = (known.get(&key), now)
        && remembered.bytes == bytes
        && remembered.modified == modified
    {
        return Ok(remembered.hash.clone());
    }
    let model = model::read(path)?;
    let hash = model.hash()?.to_string();
    // A model with external data may change without its own file changing.
    if let (Some((bytes, modified)), true) = (now, model.external_files().is_empty()) {
        known.insert(
            key,
            Remembered {
                bytes,
                modified,
                hash: hash.clone(),
            },
        );
        // Forgetting is harmless: the hash is then computed again.
        if let Ok(text) = serde_json::to_string(&known) {
            let _ = std::fs::create_dir_all(&folders.data);
            let _ = tempfile::NamedTempFile::new_in(&folders.data)
                .and_then(|temp| std::fs::write(temp.path(), text).map(|()| temp))
                .map(|temp| temp.persist(&file));
        }
    }
    Ok(hash)
}
