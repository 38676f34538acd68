//! The architectures that can be written, as `profiles/models/*.toml` describe them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An architecture with its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Architecture {
    /// A transformer encoder as in BERT (Devlin et al. 2018), with pooler.
    Bert(Bert),
    /// A residual network of bottleneck blocks (He et al. 2015), with the stride
    /// in the 3 × 3 convolution as torchvision has it.
    Resnet(Resnet),
    /// Inverted residuals with linear bottlenecks (Sandler et al. 2018).
    MobilenetV2(MobilenetV2),
    /// Plain convolutions, each followed by pooling.
    Cnn(Cnn),
    /// Fully connected layers over a row of features.
    Mlp(Mlp),
    /// Boosted regression trees, all of full depth.
    Trees(Trees),
}

/// Sizes of a BERT encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bert {
    /// Encoder layers.
    pub layers: u64,
    /// Width of a token.
    pub hidden: u64,
    /// Attention heads, which share the width.
    pub heads: u64,
    /// Width of the layer inside the feed-forward block.
    pub intermediate: u64,
    /// Number of different tokens.
    pub vocabulary: u64,
    /// The longest sequence that has position weights.
    pub positions: u64,
    /// Number of kinds of token.
    pub token_types: u64,
    /// Tokens of a request.
    pub sequence: u64,
}

/// Sizes of a residual network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resnet {
    /// Blocks in each stage.
    pub blocks: Vec<u64>,
    /// Channels of the first stage's inner convolutions; doubled at each stage.
    pub width: u64,
    /// Outer channels of a block by its inner ones.
    pub expansion: u64,
    /// Side of the image, in pixels.
    pub image: u64,
    /// Number of classes.
    pub classes: u64,
}

/// Sizes of a `MobileNetV2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobilenetV2 {
    /// Channels of the first convolution.
    pub stem: u64,
    /// For each group of blocks: expansion, channels, repeats, first stride.
    pub groups: Vec<[u64; 4]>,
    /// Channels of the last convolution.
    pub head: u64,
    /// Side of the image, in pixels.
    pub image: u64,
    /// Number of classes.
    pub classes: u64,
}

/// Sizes of a small convolutional network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cnn {
    /// Channels of each 3 × 3 convolution; pooling halves the image after each.
    pub channels: Vec<u64>,
    /// Neurons of the hidden layer behind the convolutions.
    pub hidden: u64,
    /// Side of the image, in pixels.
    pub image: u64,
    /// Number of classes.
    pub classes: u64,
}

/// Sizes of a multi-layer perceptron.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mlp {
    /// Features of a row.
    pub features: u64,
    /// Neurons of the hidden layers.
    pub hidden: Vec<u64>,
    /// Number of classes.
    pub classes: u64,
}

/// Sizes of a tree ensemble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trees {
    /// Number of trees.
    pub count: u64,
    /// Comparisons from root to leaf.
    pub depth: u32,
    /// Features of a row.
    pub features: u64,
}

/// The number format of a reference model's weights and arithmetic.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats inside, 32-bit at inputs and outputs.
    Fp16,
    /// 8-bit integers in matrix operators, inputs quantised as they come
    /// (ONNX Runtime's dynamic quantisation), one scale per tensor.
    Int8,
    /// The same with one scale per output channel.
    #[serde(rename = "int8-per-channel")]
    Int8PerChannel,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Int8, Self::Int8PerChannel];

    /// Its name, as typed and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int8PerChannel => "int8-per-channel",
        }
    }

    pub(super) const fn is_int8(self) -> bool {
        matches!(self, Self::Int8 | Self::Int8PerChannel)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| {
                crate::error::Error::bad_input(format!("`{text}` is not a precision"))
                    .hint("use fp32, fp16, int8 or int8-per-channel")
            })
    }
}
