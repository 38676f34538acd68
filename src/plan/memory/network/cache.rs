//! The cache of keys and values while it grows.

use super::super::architecture::Transformer;
use super::super::tape::{Held, Kind, Tape, Tensor};
use super::{Output, Pass};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Whose tensor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// Keys of a layer.
    Key(usize),
    /// Values of a layer.
    Value(usize),
}

/// Keys and values by layer; copies share the same cache.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache(Rc<RefCell<BTreeMap<Slot, Held>>>);

impl Cache {
    /// The cache before the pass: `pass.past` tokens per sequence.
    pub(super) fn filled(tape: &mut Tape, shape: &Transformer, pass: Pass) -> Self {
        let cache = Self::default();
        if pass.output == Output::NextToken && pass.past > 0 {
            let before = tape.meter.charge_to(Kind::KvCache);
            cache.fill(tape, shape, pass);
            tape.meter.charge_to(before);
        }
        cache
    }

    fn fill(&self, tape: &Tape, shape: &Transformer, pass: Pass) {
        let [keys, values] = match shape.latent {
            Some(latent) => [latent.kv_rank, latent.rope_width],
            None => [shape.key_width(), shape.key_width()],
        };
        let width = tape.compute_dtype().bytes();
        for layer in 0..shape.layers as usize {
            let tokens = pass.batch * kept(shape, layer, pass.past);
            for (slot, numbers) in [(Slot::Key(layer), keys), (Slot::Value(layer), values)] {
                let held = tape.allocate(tokens * numbers * width);
                self.0.borrow_mut().insert(slot, held);
            }
        }
    }

    /// Appends `new`, by a copy of old and new together.
    pub(super) fn extended(
        &self,
        tape: &mut Tape,
        slot: Slot,
        new: &Tensor,
        (shape, pass): (&Transformer, Pass),
    ) -> Tensor {
        let before = tape.meter.charge_to(Kind::KvCache);
        let per_token = new.elements / pass.tokens().max(1);
        let layer = match slot {
            Slot::Key(layer) | Slot::Value(layer) => layer,
        };
        let tokens = kept(shape, layer, pass.past) + pass.sequence;
        let all = tape.constant(pass.batch * tokens * per_token, new.dtype);
        self.0.borrow_mut().insert(slot, all.share());
        tape.meter.charge_to(before);
        all
    }

    /// Everything in it.
    pub(super) fn take(&self) -> Vec<Held> {
        self.0.take().into_values().collect()
    }
}

/// Earlier tokens that a block still keeps: at most its sliding window.
fn kept(shape: &Transformer, layer: usize, past: u64) -> u64 {
    shape
        .window_of(layer as u64)
        .map_or(past, |window| past.min(window))
}
