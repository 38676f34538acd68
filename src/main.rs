//! The `advisor` program.

fn main() {}
