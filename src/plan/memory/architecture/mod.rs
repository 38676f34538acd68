//! What a network is made of, as far as its memory is concerned: a catalogue of
//! known architectures, and a reader of Hugging Face `config.json` files.

mod catalogue;
mod hf_config;
mod hf_families;
mod image;
mod kv_cache;
mod transformer;

pub use catalogue::{Catalogue, catalogue};
pub use hf_config::from_config_json;
pub use image::{ConvNext, EfficientNet, ImageNet, MobileNetV2, ResNet, Vgg, Vit};
pub use kv_cache::kv_bytes_per_token;
pub use transformer::{
    Activation, Block, Experts, FeedForward, Head, Latent, Norm, Positions, SlidingWindow,
    Transformer,
};

use crate::units::Count;
use serde::{Deserialize, Serialize};

/// A network's shape, its name and where that comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The name it goes by: `llama-3-8b`, `resnet50`.
    pub name: String,
    /// Other names for the same shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The number of parameters that its publisher counts, where that is known
    /// exactly (of an encoder: without a task's head).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Count>,
    /// Where the shape and the number come from.
    pub source: String,
    /// The shape.
    #[serde(flatten)]
    pub network: Network,
}

/// The shape of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A transformer over tokens.
    Transformer(Transformer),
    /// A network on images.
    Image(ImageNet),
}

impl Architecture {
    /// Number of parameters, counted from the shape (encoders without a task's head).
    #[must_use]
    pub fn counted_parameters(&self) -> Count {
        Count::new(super::network::count_parameters(
            &self.network,
            super::network::WithHead::No,
        ))
    }

    /// The transformer, if it is one.
    #[must_use]
    pub const fn transformer(&self) -> Option<&Transformer> {
        match &self.network {
            Network::Transformer(transformer) => Some(transformer),
            Network::Image(_) => None,
        }
    }
}
