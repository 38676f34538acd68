//! Counts bytes alive, by what they are for, and remembers the peak.

use super::allocator::Allocator;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a piece of memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Kind {
    /// The model's weights, buffers included.
    Weights,
    /// 16-bit copies of 32-bit weights that automatic casting makes.
    WeightCopies,
    /// Gradients of the weights.
    Gradients,
    /// What the optimizer keeps between steps.
    Optimizer,
    /// Inputs and targets of the batch.
    Inputs,
    /// Results of layers, kept for the backward pass or on their way.
    Activations,
    /// Logits, loss and their gradients.
    Head,
    /// Keys and values of earlier tokens.
    KvCache,
    /// Gradients on their way and scratch memory of single operators.
    Scratch,
}

impl Kind {
    /// Every kind, in the order of a report.
    pub(in super::super) const ALL: [Self; 9] = [
        Self::Weights,
        Self::WeightCopies,
        Self::Gradients,
        Self::Optimizer,
        Self::Inputs,
        Self::Activations,
        Self::Head,
        Self::KvCache,
        Self::Scratch,
    ];

    const fn index(self) -> usize {
        self as usize
    }
}

/// Bytes alive of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Snapshot([u64; 9]);

impl Snapshot {
    /// Bytes of one kind.
    pub(in super::super) const fn of(&self, kind: Kind) -> u64 {
        self.0[kind.index()]
    }

    /// The same with another number for one kind.
    pub(in super::super) const fn with(mut self, kind: Kind, bytes: u64) -> Self {
        self.0[kind.index()] = bytes;
        self
    }

    /// The same with more of one kind.
    pub(in super::super) const fn plus(self, kind: Kind, bytes: u64) -> Self {
        self.with(kind, self.of(kind) + bytes)
    }

    /// Bytes of all kinds.
    pub(in super::super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The meter: shared by everything that holds memory.
#[derive(Debug)]
pub(in super::super) struct Meter {
    live: RefCell<Snapshot>,
    total: Cell<u64>,
    peak: Cell<u64>,
    at_peak: RefCell<Snapshot>,
    kind: Cell<Kind>,
    allocator: Option<RefCell<Allocator>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            live: RefCell::default(),
            total: Cell::new(0),
            peak: Cell::new(0),
            at_peak: RefCell::default(),
            kind: Cell::new(Kind::Activations),
            allocator: None,
        }
    }
}

impl Meter {
    /// A meter that also keeps the books of a caching allocator.
    pub(in super::super) fn with_allocator() -> Self {
        Self {
            allocator: Some(RefCell::default()),
            ..Self::default()
        }
    }

    /// What the allocator holds from the device, and the most that it had handed
    /// out, when its books are kept.
    pub(in super::super) fn held_from_device(&self) -> Option<(u64, u64)> {
        self.allocator.as_ref().map(|allocator| {
            let allocator = allocator.borrow();
            (allocator.reserved(), allocator.peak_allocated())
        })
    }

    /// Takes `bytes`; they are given back when the last [`Held`] is dropped.
    pub(super) fn take(meter: &Rc<Self>, bytes: u64) -> Held {
        let kind = meter.kind.get();
        meter.add(kind, bytes);
        let address = match &meter.allocator {
            Some(allocator) if bytes > 0 => Some(allocator.borrow_mut().take(bytes)),
            _ => None,
        };
        Held(Rc::new(Block {
            bytes,
            address,
            kind: Cell::new(kind),
            meter: Rc::clone(meter),
        }))
    }

    fn add(&self, kind: Kind, bytes: u64) {
        let mut live = self.live.borrow_mut();
        live.0[kind.index()] += bytes;
        let total = self.total.get() + bytes;
        self.total.set(total);
        if total > self.peak.get() {
            self.peak.set(total);
            *self.at_peak.borrow_mut() = *live;
        }
    }

    fn remove(&self, kind: Kind, bytes: u64) {
        let mut live = self.live.borrow_mut();
        live.0[kind.index()] = live.0[kind.index()].saturating_sub(bytes);
        self.total.set(self.total.get().saturating_sub(bytes));
    }

    /// What memory taken from now on is for; returns what it was for before.
    pub(in super::super) fn charge_to(&self, kind: Kind) -> Kind {
        self.kind.replace(kind)
    }

    /// What memory is taken for at present.
    pub(super) fn kind(&self) -> Kind {
        self.kind.get()
    }

    /// Bytes alive now.
    pub(in super::super) fn live(&self) -> u64 {
        self.total.get()
    }

    /// What is alive now, by kind.
    pub(in super::super) fn now(&self) -> Snapshot {
        *self.live.borrow()
    }

    /// What was alive at the highest point since the last call (or the start).
    pub(in super::super) fn take_peak(&self) -> Snapshot {
        let peak = *self.at_peak.borrow();
        self.peak.set(self.total.get());
        *self.at_peak.borrow_mut() = *self.live.borrow();
        peak
    }
}

#[derive(Debug)]
struct Block {
    bytes: u64,
    address: Option<u64>,
    kind: Cell<Kind>,
    meter: Rc<Meter>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.meter.remove(self.kind.get(), self.bytes);
        if let (Some(allocator), Some(address)) = (&self.meter.allocator, self.address) {
            allocator.borrow_mut().give_back(address);
        }
    }
}

/// A share of a piece of memory.
#[derive(Debug, Clone)]
pub(in super::super) struct Held(Rc<Block>);

impl Held {
    /// Bytes of the whole piece.
    pub(in super::super) fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Whether nobody else holds a share.
    pub(super) fn is_sole(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// Says that this memory is now for something else.
    pub(super) fn becomes(&self, kind: Kind) {
        let block = &self.0;
        let old = block.kind.replace(kind);
        if old != kind {
            let mut live = block.meter.live.borrow_mut();
            live.0[old.index()] = live.0[old.index()].saturating_sub(block.bytes);
            live.0[kind.index()] += block.bytes;
        }
    }
}
