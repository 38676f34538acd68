//! Reads an ONNX file into a [`Model`], or says clearly why it cannot.

use super::graph::{self, Graph};
use super::identify;
use super::inline;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto};
use super::skim::{self, SkimError};
use crate::error::{Error, Result};
use crate::units::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// An ONNX model: its graph without the contents of large weights.
#[derive(Debug, Clone)]
pub struct Model {
    /// What to call it: a reference model's name, or the file's without `.onnx`.
    pub name: String,
    /// Where it is; none for a reference model that was not written to disk.
    pub path: Option<PathBuf>,
    /// Size of the file, and of the files with external data.
    pub file_bytes: Bytes,
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets by domain; the empty domain is ONNX itself.
    pub opsets: BTreeMap<String, i64>,
    /// The tool that wrote it, with its version; empty when the file does not say.
    pub producer: String,
    /// What it computes.
    pub graph: Graph,
}

impl Model {
    /// The version of ONNX's own operator set.
    pub fn opset(&self) -> Option<i64> {
        self.opsets.get("").copied()
    }

    /// The files that hold weights outside the model's own file.
    ///
    /// Relative names are taken from the model's folder.
    pub fn external_files(&self) -> Vec<PathBuf> {
        let folder = self
            .path
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new(""));
        let names: BTreeSet<&str> = self
            .graph
            .weights
            .values()
            .filter_map(|w| w.external.as_deref())
            .collect();
        names.into_iter().map(|name| folder.join(name)).collect()
    }

    /// Puts a model together from its parts; the messages name `what`.
    ///
    /// # Errors
    /// No graph, nothing that it computes, or no operator sets.
    pub(super) fn from_parts(
        what: &str,
        mut proto: ModelProto,
        initializers: &[TensorProto],
    ) -> Result<Self> {
        let Some(declared) = proto.graph.take() else {
            return Err(Error::bad_input(format!(
                "{what} has no graph: it is not an ONNX model, or was cut short while it was written"
            ))
            .hint(EXPORT_AGAIN));
        };
        if declared.output.is_empty() {
            return Err(
                Error::bad_input(format!("{what} has a graph without outputs")).hint(EXPORT_AGAIN),
            );
        }
        // Writers put the operator sets behind the graph; they are required from
        // version 3 of the format on.
        if proto.opset_import.is_empty() && proto.ir_version.unwrap_or(0) >= 3 {
            return Err(Error::bad_input(format!(
                "{what} is cut short: it ends behind the graph, before the operator sets"
            ))
            .hint(EXPORT_AGAIN));
        }
        let mut opsets = BTreeMap::new();
        for set in &proto.opset_import {
            opsets.insert(domain(set), set.version.unwrap_or(0));
        }
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let producer = [text(&proto.producer_name), text(&proto.producer_version)]
            .join(" ")
            .trim()
            .to_owned();
        Ok(Self {
            name: String::new(),
            path: None,
            file_bytes: Bytes::ZERO,
            ir_version: proto.ir_version.unwrap_or(0),
            opsets,
            producer,
            graph: build_graph(declared, initializers, &proto),
        })
    }
}

const EXPORT_AGAIN: &str = "export the model again, or copy the file again and compare its size";

fn domain(set: &OperatorSetIdProto) -> String {
    match set.domain.as_deref() {
        None | Some("ai.onnx") => String::new(),
        Some(domain) => domain.to_owned(),
    }
}

fn build_graph(declared: GraphProto, initializers: &[TensorProto], proto: &ModelProto) -> Graph {
    let mut weights = BTreeMap::new();
    for tensor in initializers {
        let name = tensor.name.as_deref().unwrap_or("");
        if let Some(weight) = graph::weight(name, tensor) {
            weights.insert(name.to_owned(), weight);
        }
    }
    for sparse in &declared.sparse_initializer {
        let Some(values) = &sparse.values else {
            continue;
        };
        let name = values.name.as_deref().unwrap_or("");
        if let Some(weight) = graph::weight(name, values) {
            weights.insert(name.to_owned(), weight);
        }
    }
    let functions = proto
        .functions
        .iter()
        .map(|f| {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            ((text(&f.domain), text(&f.name)), f.clone())
        })
        .collect();
    let mut nodes = Vec::with_capacity(declared.node.len());
    for node in inline::inline(declared.node, &functions) {
        match graph::constant(&node) {
            Some(weight) => {
                weights.insert(weight.name.clone(), weight);
            }
            None => nodes.push(node),
        }
    }
    Graph {
        nodes,
        inputs: declared
            .input
            .iter()
            .map(graph::port)
            .filter(|port| !weights.contains_key(&port.name))
            .collect(),
        outputs: declared.output.iter().map(graph::port).collect(),
        declared: declared
            .value_info
            .iter()
            .map(graph::port)
            .map(|port| (port.name, port.kind))
            .collect(),
        weights,
        functions,
    }
}

/// Reads the ONNX file at `path`, without the contents of its large weights.
///
/// # Errors
/// The file is missing, a folder, not readable, empty, of another format (which
/// is named), cut short, or without a graph; external data is missing.
pub fn read(path: &Path) -> Result<Model> {
    let shown = path.display();
    let what = format!("`{shown}`");
    let meta = std::fs::metadata(path).map_err(|e| cannot_open(&what, &e))?;
    if meta.is_dir() {
        return Err(
            Error::bad_input(format!("{what} is a folder, not an ONNX file"))
                .hint(identify::files_inside(path)),
        );
    }
    if meta.len() == 0 {
        return Err(Error::bad_input(format!("{what} is empty")).hint(EXPORT_AGAIN));
    }
    let file = File::open(path).map_err(|e| cannot_open(&what, &e))?;
    let skimmed = skim::skim(file, meta.len()).map_err(|e| explain(path, &what, e))?;
    // A stray file may happen to be sound protobuf: a model says its format version.
    if skimmed.model.ir_version.is_none() && skimmed.model.graph.is_none() {
        return Err(explain(path, &what, SkimError::NotOnnx));
    }
    let mut model = Model::from_parts(&what, skimmed.model, &skimmed.initializers)?;
    model.name = path
        .file_stem()
        .map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned());
    model.path = Some(path.to_owned());
    model.file_bytes = Bytes::new(meta.len()) + external_bytes(&model, &what)?;
    Ok(model)
}

/// The size of the files with external data.
fn external_bytes(model: &Model, what: &str) -> Result<Bytes> {
    let mut total = Bytes::ZERO;
    for file in model.external_files() {
        let meta = std::fs::metadata(&file).map_err(|e| {
            Error::bad_input(format!(
                "{what} keeps weights in `{}`, which cannot be read: {}",
                file.display(),
                plain(&e)
            ))
            .hint("put the external data file beside the model, under the name it had")
        })?;
        total = total + Bytes::new(meta.len());
    }
    Ok(total)
}

fn explain(path: &Path, what: &str, error: SkimError) -> Error {
    if let SkimError::Io(e) = error {
        return Error::machine(format!("cannot read {what}: {}", plain(&e)));
    }
    if let Some((format, hint)) = identify::other_format(path) {
        return Error::bad_input(format!("{what} is not an ONNX file but {format}")).hint(hint);
    }
    match error {
        SkimError::CutShort { needed, present } => Error::bad_input(format!(
            "{what} is cut short: it needs at least {needed} bytes and has {present}"
        ))
        .hint(EXPORT_AGAIN),
        _ => Error::bad_input(format!("{what} is not an ONNX file")).hint(
            "give a model exported to ONNX, or a reference model (`advisor models` lists them)",
        ),
    }
}

fn cannot_open(what: &str, error: &io::Error) -> Error {
    let message = format!("cannot read {what}: {}", plain(error));
    match error.kind() {
        io::ErrorKind::NotFound => Error::bad_input(message)
            .hint("check the path, or name a reference model (`advisor models` lists them)"),
        io::ErrorKind::PermissionDenied => Error::bad_input(message).hint("allow reading the file"),
        _ => Error::machine(message),
    }
}

/// The system's message without its number: `no such file or directory`.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}
