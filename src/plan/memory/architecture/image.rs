//! The shape of a network on images.

use serde::{Deserialize, Serialize};

/// A family of image networks with its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "family")]
pub enum ImageNet {
    /// Residual networks.
    Resnet(ResNet),
    /// Plain stacks of convolutions.
    Vgg(Vgg),
    /// Inverted residuals.
    MobilenetV2(MobileNetV2),
    /// Inverted residuals with squeeze-and-excitation.
    Efficientnet(EfficientNet),
    /// Residual blocks of large depthwise convolutions.
    Convnext(ConvNext),
    /// A transformer over patches.
    Vit(Vit),
}

impl ImageNet {
    /// Rows and columns of pixels that the network was made for.
    #[must_use]
    pub const fn default_side(&self) -> u64 {
        match self {
            Self::Vit(vit) => vit.image,
            Self::Efficientnet(net) => net.image,
            _ => 224,
        }
    }
}

/// Residual networks (arXiv:1512.03385, arXiv:1611.05431, arXiv:1605.07146).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResNet {
    /// Blocks in each stage.
    pub depths: Vec<u64>,
    /// Blocks of three convolutions rather than two.
    pub bottleneck: bool,
    /// Groups of the middle convolution.
    pub groups: u64,
    /// Width of a group.
    pub width_per_group: u64,
    /// Number of classes.
    pub classes: u64,
}

/// Plain stacks of convolutions (arXiv:1409.1556).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vgg {
    /// Channels and number of convolutions of each stage.
    pub stages: Vec<[u64; 2]>,
    /// Batch normalisation after each convolution.
    pub batch_norm: bool,
    /// Whether the last stage is pooled, too.
    pub pool_last: bool,
    /// Rows and columns that the feature maps are averaged to.
    pub average_to: u64,
    /// Widths of the hidden layers of the classifier.
    pub hidden: Vec<u64>,
    /// Number of classes.
    pub classes: u64,
}

/// Inverted residuals (arXiv:1801.04381).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MobileNetV2 {
    /// Number of classes.
    pub classes: u64,
}

/// Inverted residuals with squeeze-and-excitation (arXiv:1905.11946).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EfficientNet {
    /// Multiplier of the widths.
    pub width: f64,
    /// Multiplier of the depths.
    pub depth: f64,
    /// Rows and columns of pixels it was made for.
    pub image: u64,
    /// Number of classes.
    pub classes: u64,
}

/// Residual blocks of large depthwise convolutions (arXiv:2201.03545).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvNext {
    /// Blocks in each stage.
    pub depths: Vec<u64>,
    /// Channels of each stage.
    pub widths: Vec<u64>,
    /// Number of classes.
    pub classes: u64,
}

/// A transformer over patches (arXiv:2010.11929).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vit {
    /// Number of blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Heads.
    pub heads: u64,
    /// Width of the feed-forward part.
    pub intermediate: u64,
    /// Rows and columns of a patch.
    pub patch: u64,
    /// Rows and columns of pixels it was made for.
    pub image: u64,
    /// Number of classes.
    pub classes: u64,
}
