//! The reference models there are, read from `profiles/models/*.toml`.

use super::draft::{Draft, WRITER_VERSION};
use super::spec::{Architecture, Precision};
use super::{bert, convolution, tabular};
use crate::error::{Error, Result, nearest};
use crate::model::hash::ModelHash;
use crate::model::read::Model;
use crate::units::Count;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

static FILES: Dir = include_dir!("$CARGO_MANIFEST_DIR/profiles/models");

/// A reference model: an architecture, what it is known for, and the seed of its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceModel {
    /// What to call it.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// What it stands for: which requests it is typical of.
    pub used_for: String,
    /// Parameters, as published or, for an architecture of our own, computed.
    pub parameters: Count,
    /// Where that number comes from.
    pub parameters_source: String,
    /// Multiply-adds of one item, as published, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiply_adds: Option<Count>,
    /// Where that number comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiply_adds_source: Option<String>,
    /// The seed of the weights.
    pub seed: u64,
    /// The number format; 32-bit floats unless said otherwise.
    #[serde(default)]
    pub precision: Precision,
    /// The architecture.
    pub architecture: Architecture,
}

/// All reference models, by name.
///
/// # Errors
/// A description does not parse; since they are part of the program, only a
/// build with a damaged file can fail.
pub fn catalogue() -> Result<Vec<ReferenceModel>> {
    let mut models = Vec::new();
    for file in FILES.files() {
        if file.path().extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let shown = file.path().display();
        let text = file
            .contents_utf8()
            .ok_or_else(|| Error::bad_input(format!("profiles/models/{shown} is not UTF-8")))?;
        let model: ReferenceModel = toml::from_str(text)
            .map_err(|e| Error::bad_input(format!("profiles/models/{shown}: {e}")))?;
        models.push(model);
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// The reference model called `name`.
///
/// # Errors
/// There is none; the error offers the nearest names, or all.
pub fn find(name: &str) -> Result<ReferenceModel> {
    let mut models = catalogue()?;
    if let Some(at) = models
        .iter()
        .position(|m| m.name.eq_ignore_ascii_case(name))
    {
        return Ok(models.swap_remove(at));
    }
    let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
    let near = nearest(name, names.iter().copied());
    let error = Error::bad_input(format!(
        "no model is called `{name}`, and no such file exists"
    ));
    Err(error.hint(if near.is_empty() {
        format!(
            "the reference models are {}; or give the path of an ONNX file",
            names.join(", ")
        )
    } else {
        let near: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
        format!("did you mean {}?", near.join(" or "))
    }))
}

impl ReferenceModel {
    /// The number formats in which it can be written.
    pub const fn precisions(&self) -> &'static [Precision] {
        match self.architecture {
            // Comparing features has no use for other formats.
            Architecture::Trees(_) => &[Precision::Fp32],
            _ => &Precision::ALL,
        }
    }

    /// The same model in another number format.
    ///
    /// # Errors
    /// It cannot be written in that format.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        if !self.precisions().contains(&precision) {
            let known: Vec<&str> = self.precisions().iter().map(|p| p.name()).collect();
            return Err(Error::bad_input(format!(
                "model `{}` cannot be had in {precision}",
                self.name
            ))
            .hint(format!("it can be had in {}", known.join(", "))));
        }
        self.precision = precision;
        Ok(self)
    }

    /// The same model with other sizes of a request: `sequence` (tokens) of a
    /// transformer, `image` (side in pixels) of a network on images.
    ///
    /// # Errors
    /// The model has no such size, or cannot take it.
    pub fn with_dims(mut self, dims: &BTreeMap<String, u64>) -> Result<Self> {
        for (name, size) in dims {
            let smallest = if name == "image" { 32 } else { 1 };
            let (place, known, most) = match &mut self.architecture {
                Architecture::Bert(b) => (&mut b.sequence, "sequence", b.positions),
                Architecture::Resnet(r) => (&mut r.image, "image", 4096),
                Architecture::MobilenetV2(m) => (&mut m.image, "image", 4096),
                Architecture::Cnn(_) | Architecture::Mlp(_) | Architecture::Trees(_) => {
                    return Err(Error::bad_input(format!(
                        "--dim {name}={size}: model `{}` has no open dimension",
                        self.name
                    ))
                    .hint("leave `--dim` out"));
                }
            };
            if name != known {
                return Err(Error::bad_input(format!(
                    "--dim {name}={size}: model `{}` has no open dimension `{name}`",
                    self.name
                ))
                .hint(format!("it has `{known}`: `--dim {known}={size}`")));
            }
            if !(smallest..=most).contains(size) {
                return Err(Error::bad_input(format!(
                    "--dim {name}={size}: model `{}` takes {smallest} to {most}",
                    self.name
                )));
            }
            *place = *size;
        }
        Ok(self)
    }

    /// What identifies the file that would be written: a hash of the description
    /// and of the writer's version. Known without writing the file.
    pub fn stamp(&self) -> ModelHash {
        let mut sum = Sha256::new();
        sum.update(format!("advisor reference writer {WRITER_VERSION}\n"));
        // Only what decides the contents: a better source changes no file.
        sum.update(format!(
            "{}\n{}\n{}\n{:?}\n",
            self.name, self.seed, self.precision, self.architecture
        ));
        ModelHash::from_digest(&sum.finalize())
    }

    /// The name of its file: `bert-base-1a2b3c4d.onnx`.
    pub fn file_name(&self) -> String {
        let stamp = self.stamp();
        match self.precision {
            Precision::Fp32 => format!("{}-{}.onnx", self.name, stamp.short()),
            other => format!("{}-{other}-{}.onnx", self.name, stamp.short()),
        }
    }

    /// The model as it would be read back, without writing its file.
    ///
    /// # Errors
    /// The architecture's sizes do not fit together.
    pub fn model(&self) -> Result<Model> {
        let draft = self.draft()?;
        let mut model = draft.to_model(&self.name)?;
        model.name.clone_from(&self.name);
        model.file_bytes = draft.file_bytes();
        Ok(model)
    }

    /// Lays the graph out.
    pub(super) fn draft(&self) -> Result<Draft> {
        let mut draft = Draft::new(&self.name, self.precision);
        let laid_out = match &self.architecture {
            Architecture::Bert(spec) => bert::lay_out(&mut draft, spec),
            Architecture::Resnet(spec) => convolution::resnet(&mut draft, spec),
            Architecture::MobilenetV2(spec) => convolution::mobilenet_v2(&mut draft, spec),
            Architecture::Cnn(spec) => convolution::cnn(&mut draft, spec),
            Architecture::Mlp(spec) => tabular::mlp(&mut draft, spec),
            Architecture::Trees(spec) => tabular::trees(&mut draft, spec, self.seed),
        };
        laid_out
            .map_err(|why| Error::bad_input(format!("reference model `{}`: {why}", self.name)))?;
        Ok(draft)
    }
}
