//! Memory: does it fit, before anybody rents a GPU.
//!
//! [`estimate()`] answers a [`Question`] with a [`Footprint`]: bytes by part, each
//! with formula, source and interval; [`tiers`] and [`fit()`] turn it into a
//! verdict for a card. The numbers come from a replay of the training step or
//! inference pass, operator by operator, through the framework's autograd and
//! caching allocator: no coefficient of it is fitted. [`evaluate`] compares it
//! with what was measured.

pub mod architecture;
mod components;
mod estimate;
pub mod evaluate;
mod fit;
mod footprint;
mod network;
mod onnx;
mod optimizer;
mod overhead;
mod question;
mod rough;
mod savings;
mod sharding;
mod step;
mod tape;
#[cfg(test)]
mod tests;

pub use estimate::estimate;
pub use fit::{
    Fit, Largest, Room, TIERS, Tier, Verdict, fit, largest_batch, largest_sequence, tiers,
};
pub use footprint::{Component, Footprint, Narrowing, Part, Saving};
pub use onnx::{OnnxFootprint, OnnxPart, onnx_footprint};
pub use question::{
    AttentionKind, BaseFormat, LoraSettings, LoraTargets, LossKind, Measure, ModelKind, Optimizer,
    PackedInputs, Precision, Question, Sharding, Strategy, Subject, Task, Update,
};
pub use rough::{ImageSide, guess_kind};
pub use step::Phase;
