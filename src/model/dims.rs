//! Which dimension is the batch, and which sizes the others take.

use super::graph::{Dim, Port};
use super::read::Model;
use crate::error::{Error, Result, nearest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How many items a model takes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Batching {
    /// Any number.
    Dynamic {
        /// The dimensions that are the batch, as `dimension names` (see [`Model::open_dims`]).
        dims: BTreeSet<String>,
    },
    /// Always this number; at 1, batching is off.
    Fixed {
        /// The number of items.
        size: u64,
    },
    /// No dimension looks like a batch: one item at a time.
    None,
}

impl Batching {
    /// The largest batch that can be run; none if there is no limit.
    pub const fn limit(&self) -> Option<u64> {
        match self {
            Self::Dynamic { .. } => None,
            Self::Fixed { size } => Some(*size),
            Self::None => Some(1),
        }
    }
}

/// The sizes for which a question about a model is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Items per batch.
    pub batch: u64,
    /// Sizes of the open dimensions other than the batch, by name.
    pub dims: BTreeMap<String, u64>,
}

impl Sizes {
    /// A batch of `batch` items of a model without other open dimensions.
    pub const fn batch(batch: u64) -> Self {
        Self {
            batch,
            dims: BTreeMap::new(),
        }
    }
}

/// The name of a dimension that has none of its own: `input.axis`.
fn open_name(port: &Port, axis: usize, dim: &Dim) -> Option<String> {
    match dim {
        Dim::Fixed(_) => None,
        Dim::Named(name) => Some(name.clone()),
        Dim::Unknown => Some(format!("{}.{axis}", port.name)),
    }
}

/// Whether a name is one that exporters give to the batch dimension.
fn says_batch(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("batch") || matches!(name.as_str(), "n" | "b" | "bs" | "bsz" | "none")
}

/// Whether a name is one of a dimension that is certainly not the batch.
fn says_other(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        "seq", "len", "time", "frame", "token", "height", "width", "channel", "feature", "past",
    ]
    .iter()
    .any(|word| name.contains(word))
        || matches!(name.as_str(), "h" | "w" | "c" | "t" | "s" | "l")
}

/// The batch of a model whose first dimensions are all fixed.
fn fixed_batch(inputs: &[Port], outputs: &[Port]) -> Batching {
    let firsts = |ports: &[Port]| -> BTreeSet<Option<u64>> {
        ports
            .iter()
            .filter_map(Port::dims)
            .filter(|dims| dims.len() > 1)
            .map(|dims| match dims.first() {
                Some(Dim::Fixed(size)) => Some(*size),
                _ => None,
            })
            .collect()
    };
    let agreed = firsts(inputs);
    match (agreed.len(), agreed.first()) {
        (1, Some(Some(1))) => Batching::Fixed { size: 1 },
        // A picture of 3 × 224 × 224 is no batch of 3: the outputs tell.
        (1, Some(Some(size))) if firsts(outputs) == agreed => Batching::Fixed { size: *size },
        _ => Batching::None,
    }
}

impl Model {
    /// Which dimension is the batch.
    ///
    /// A dimension whose name says so, wherever it stands; else the first
    /// dimension of the inputs where it is open and its name does not say
    /// otherwise; else a fixed size, if all inputs of at least two dimensions
    /// begin with 1, or all inputs and outputs with the same size.
    pub fn batching(&self) -> Batching {
        let ports = || {
            self.graph
                .inputs
                .iter()
                .filter_map(|p| Some((p, p.dims()?)))
        };
        let named: BTreeSet<String> = ports()
            .flat_map(|(_, dims)| dims)
            .filter_map(|d| match d {
                Dim::Named(name) if says_batch(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let mut dims = named;
        for (port, shape) in ports() {
            let Some(first) = shape.first() else { continue };
            let open = match first {
                // Beside a dimension called `batch`, another name means another thing.
                Dim::Named(name) => dims.is_empty() && !says_other(name),
                // A single open dimension of a sequence may still be unnamed.
                Dim::Unknown => !shape
                    .iter()
                    .any(|d| matches!(d, Dim::Named(n) if dims.contains(n))),
                Dim::Fixed(_) => false,
            };
            if open && let Some(name) = open_name(port, 0, first) {
                dims.insert(name);
            }
        }
        if !dims.is_empty() {
            return Batching::Dynamic { dims };
        }
        fixed_batch(&self.graph.inputs, &self.graph.outputs)
    }

    /// The dimensions that must be given a size, other than the batch, in the
    /// order in which they occur. One without a name is called `input.axis`.
    pub fn open_dims(&self) -> Vec<String> {
        let batch = self.batching();
        let mut names = Vec::new();
        for port in &self.graph.inputs {
            for (axis, dim) in port.dims().unwrap_or(&[]).iter().enumerate() {
                let Some(name) = open_name(port, axis, dim) else {
                    continue;
                };
                let is_batch = matches!(&batch, Batching::Dynamic { dims } if dims.contains(&name));
                if !is_batch && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Checks that `sizes` answers everything that the model leaves open.
    ///
    /// # Errors
    /// A dimension without a size or of size 0, a name that the model does not
    /// have, a batch that it cannot take.
    pub fn check_sizes(&self, sizes: &Sizes) -> Result<()> {
        let open = self.open_dims();
        let model = &self.name;
        for (name, size) in &sizes.dims {
            if !open.contains(name) {
                let near = nearest(name, open.iter().map(String::as_str));
                let batch =
                    matches!(self.batching(), Batching::Dynamic { dims } if dims.contains(name));
                let error = Error::bad_input(format!(
                    "--dim {name}={size}: model `{model}` has no open dimension `{name}`"
                ));
                return Err(error.hint(match (near.first(), open.as_slice()) {
                    _ if batch => {
                        "that is the batch dimension: its size is searched, leave it out".to_owned()
                    }
                    (Some(near), _) => format!("did you mean `--dim {near}={size}`?"),
                    (None, []) => "all its dimensions are fixed: leave `--dim` out".to_owned(),
                    (None, names) => format!("its open dimensions are {}", quoted(names)),
                }));
            }
            if *size == 0 {
                return Err(Error::bad_input(format!(
                    "--dim {name}=0: a size must be at least 1"
                )));
            }
        }
        let missing: Vec<String> = open
            .into_iter()
            .filter(|name| !sizes.dims.contains_key(name))
            .collect();
        if !missing.is_empty() {
            let example: Vec<String> = missing.iter().map(|n| format!("--dim {n}=128")).collect();
            return Err(Error::bad_input(format!(
                "model `{model}` leaves the size of {} open",
                quoted(&missing)
            ))
            .hint(format!(
                "say what your requests have, for example `{}`",
                example.join(" ")
            )));
        }
        match self.batching().limit() {
            _ if sizes.batch == 0 => Err(Error::bad_input(
                "batch size 0: a batch has at least one item",
            )),
            Some(limit) if sizes.batch != limit => Err(Error::bad_input(format!(
                "model `{model}` takes batches of exactly {limit}, not {}",
                sizes.batch
            ))
            .hint("export it with a dynamic batch dimension to batch requests")),
            _ => Ok(()),
        }
    }

    /// The shape of an input or output at `sizes`; none where it cannot be told.
    pub fn port_shape(&self, port: &Port, sizes: &Sizes) -> Option<Vec<u64>> {
        let batching = self.batching();
        let dims = port.dims()?;
        bind(port, dims, sizes, &batching)
    }

    /// Which axis of an input or output is the batch; none if it has none.
    pub fn batch_axis(&self, port: &Port) -> Option<usize> {
        let Batching::Dynamic { dims } = self.batching() else {
            return None;
        };
        port.dims()?
            .iter()
            .enumerate()
            .position(|(axis, d)| open_name(port, axis, d).is_some_and(|n| dims.contains(&n)))
    }
}

/// Declared dimensions with sizes put in; none if one stays open.
pub(super) fn bind(
    port: &Port,
    dims: &[Dim],
    sizes: &Sizes,
    batching: &Batching,
) -> Option<Vec<u64>> {
    dims.iter()
        .enumerate()
        .map(|(axis, dim)| {
            if let Dim::Fixed(size) = dim {
                return Some(*size);
            }
            let name = open_name(port, axis, dim)?;
            match batching {
                Batching::Dynamic { dims } if dims.contains(&name) => Some(sizes.batch),
                _ => sizes.dims.get(&name).copied(),
            }
        })
        .collect()
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    names.join(", ")
}
