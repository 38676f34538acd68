//! What the model is fed.

use crate::{
    error::{Error, Result},
    measure::runtime::session::{PreparedInputs, Session},
    model::InputSpec,
    units::Bytes,
};
use std::collections::BTreeMap;

/// Different inputs of one batch size that take turns, at most: one repeated
/// input made a tree ensemble 3.7 times as fast, because its branches become
/// predictable, and sixteen were still learnt within a hundredth of a second
/// (22 µs an item at first, 16 µs then).
const MOST_SETS: u64 = 4096;

/// Inputs together stay below this where there are more than [`FEW_SETS`] of
/// them: the caches are the model's.
const SMALL: u64 = 256 << 10;

/// As many there are of large inputs.
const FEW_SETS: u64 = 16;

/// Inputs together stay below this, so that large images do not fill the memory.
const LARGE: u64 = 256 << 20;

/// How many sets of inputs of that size take turns.
pub(super) fn sets_of(bytes: Bytes) -> u64 {
    let bytes = bytes.get().max(1);
    let few = (LARGE / bytes).clamp(2, FEW_SETS);
    (SMALL / bytes).clamp(few, MOST_SETS)
}

/// What one set of inputs of a batch size takes.
pub(super) fn bytes_of(specs: &[InputSpec], batch_size: u32) -> Bytes {
    let bytes = specs.iter().map(|spec| {
        let spec = of_batch(spec, batch_size);
        spec.element.bytes(spec.elements()).get()
    });
    Bytes::new(bytes.sum())
}

/// So many sets of inputs of a batch size, each with its own values.
pub(super) fn prepared(
    specs: &[InputSpec],
    batch_size: u32,
    sets: u64,
) -> Result<Vec<PreparedInputs>> {
    let specs: Vec<InputSpec> = specs
        .iter()
        .map(|spec| of_batch(spec, batch_size))
        .collect();
    (0..sets)
        .map(|seed| Session::prepare(&specs, seed))
        .collect()
}

/// Inputs of one batch size that take turns.
pub(super) struct Turns<'i> {
    sets: &'i [PreparedInputs],
    turn: usize,
}

impl<'i> Turns<'i> {
    /// Beginning with that set, counted around.
    pub(super) fn new(sets: &'i [PreparedInputs], begin: usize) -> Self {
        Self { sets, turn: begin }
    }

    /// The next set.
    pub(super) fn next(&mut self) -> Result<&'i PreparedInputs> {
        let at = self.turn % self.sets.len().max(1);
        self.turn += 1;
        self.sets
            .get(at)
            .ok_or_else(|| Error::machine("no inputs could be made"))
    }
}

/// The first inputs of a batch size.
pub(super) fn first_input(
    inputs: &BTreeMap<u32, Vec<PreparedInputs>>,
    size: u32,
) -> Result<&PreparedInputs> {
    inputs
        .get(&size)
        .and_then(|sets| sets.first())
        .ok_or_else(|| Error::machine("no inputs could be made"))
}

/// The same input for another batch size.
fn of_batch(spec: &InputSpec, batch_size: u32) -> InputSpec {
    let mut spec = spec.clone();
    if let Some(dim) = spec.batch_axis.and_then(|axis| spec.dims.get_mut(axis)) {
        *dim = u64::from(batch_size);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_inputs_take_turns_in_thousands_and_large_ones_in_pairs() {
        assert_eq!(sets_of(Bytes::new(16)), 4096);
        assert_eq!(sets_of(Bytes::new(128)), 2048);
        assert_eq!(sets_of(Bytes::new(4 << 10)), 64);
        assert_eq!(sets_of(Bytes::new(600 << 10)), 16);
        assert_eq!(sets_of(Bytes::new(100 << 20)), 2);
    }
}
