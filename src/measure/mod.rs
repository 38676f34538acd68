//! The measuring wing: everything that touches the machine. Makes profiles.

pub mod calibrate;
pub mod probe;
pub mod replica;
pub mod runtime;
pub mod serve;
