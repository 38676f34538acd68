//! The measuring wing: everything that touches the machine.

pub mod probe;
