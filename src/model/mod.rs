//! The machine-learning model: reading an ONNX file, what it needs and how much
//! work it is, what to feed it, and the reference models for those who have no
//! file at hand.
//!
//! A [`Model`] is a graph with declared inputs and outputs. [`Sizes`] says for
//! which batch size and named dimensions a question is asked; [`trace`] answers
//! it by following shapes through the graph, and [`inspect()`] sums up.

mod cost;
mod dims;
mod element;
mod graph;
mod hash;
mod identify;
mod inline;
mod inputs;
mod inspect;
pub mod proto;
mod random;
mod read;
pub mod reference;
mod shape;
mod skim;
mod trees;

pub use cost::{Cost, NodeWork, Trace, WorkKind, trace};
pub use dims::{Batching, Sizes};
pub use element::ElementType;
pub use graph::{Dim, Graph, Port, ValueType, Weight, element_count};
pub use hash::{ModelHash, hash_file};
pub use inputs::{Fill, InputSpec, TensorValues, input_specs};
pub use inspect::{ModelFacts, Share, WeightFacts, inspect, weight_facts};
pub use read::{Model, read};
pub use shape::TensorShape;

#[cfg(test)]
mod tests;
