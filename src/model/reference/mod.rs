//! Reference models: real ONNX files written from a description, with seeded
//! random weights. Their speed is that of the architecture; what they compute
//! means nothing.

mod bert;
mod catalogue;
mod convolution;
mod draft;
mod layers;
mod spec;
mod tabular;
mod write;

pub use catalogue::{ReferenceModel, catalogue, find};
pub use spec::{Architecture, Precision};
pub use write::write_reference;

#[cfg(test)]
mod tests;
