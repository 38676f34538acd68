//! The Open Inference Protocol (version 2) over HTTP: a client that drives any
//! server which speaks it (Triton, `MLServer`, `KServe`), open loop.
//!
//! What goes over the wire stands in [`super::super::replica::protocol`].

pub mod client;

pub use crate::measure::replica::protocol::{Encoding, ModelMetadata, Payload, TensorMetadata};
pub use client::{HttpLoad, RoundTrip, Target, drive, metadata, one_by_one};
