//! A replay of one training step or inference pass that moves no data: it only
//! counts the bytes that are alive.
//!
//! A network is written as the sequence of operators that the framework runs.
//! Every operator takes the bytes of its result, keeps what the backward pass
//! will need, and gives memory back when the last user of a tensor is gone. The
//! backward pass replays the graph in reverse. The peak that comes out is the
//! peak of tensors that are alive at one moment, which is what decides whether
//! a step fits; it is not the sum of everything that is ever allocated.
//!
//! What an operator keeps for its derivative, the order of the backward pass and
//! the stealing of gradients follow `PyTorch` (`tools/autograd/derivatives.yaml`,
//! `torch/csrc/autograd/engine.cpp`, `functions/accumulate_grad.h`,
//! `aten/src/ATen/autocast_mode.h`); the same holds for most eager frameworks.

mod allocator;
mod attention;
mod autograd;
mod convolution;
mod elementwise;
mod linear;
mod meter;

pub(super) use attention::{AttentionCall, Layout, Softmax};
use autograd::Edge;
pub(super) use convolution::{Convolution, Image, Window};
pub(super) use linear::{Expanded, Matrix, Parameter, Upcast};
pub(super) use meter::{Held, Kind, Meter, Snapshot};

use std::collections::BTreeMap;
use std::rc::Rc;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dtype {
    /// One byte: boolean masks.
    Bool,
    /// Two bytes: fp16 or bf16.
    Half,
    /// Four bytes.
    Float,
    /// Eight bytes: token ids, indices.
    Long,
}

impl Dtype {
    /// Bytes of one element.
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Bool => 1,
            Self::Half => 2,
            Self::Float => 4,
            Self::Long => 8,
        }
    }
}

/// A tensor: a share of a storage, its size and how its gradient travels.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    held: Held,
    /// Number of elements.
    pub(super) elements: u64,
    /// Type of the elements.
    pub(super) dtype: Dtype,
    edge: Edge,
}

impl Tensor {
    /// Bytes of this tensor (not of the storage it may share).
    pub(super) const fn bytes(&self) -> u64 {
        self.elements * self.dtype.bytes()
    }

    /// Whether a gradient will flow into this tensor.
    pub(super) const fn needs_gradient(&self) -> bool {
        !matches!(self.edge, Edge::None)
    }

    /// The same bytes as another shape or a part: shares the storage.
    pub(super) fn view(&self, elements: u64) -> Self {
        Self {
            elements,
            ..self.clone()
        }
    }

    /// A share of its memory.
    pub(super) fn share(&self) -> Held {
        self.held.clone()
    }

    /// The same tensor, cut off from the graph.
    pub(super) fn detached(&self) -> Self {
        Self {
            edge: Edge::None,
            ..self.clone()
        }
    }
}

/// A part of a network that maps one tensor to another.
pub(super) type Block = Rc<dyn Fn(&mut Tape, &Tensor) -> Tensor>;

/// The replay: what is alive, the graph so far, and the mode of the framework.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) meter: Rc<Meter>,
    graph: autograd::Graph,
    recording: bool,
    training: bool,
    autocast: bool,
    compute: Dtype,
    half: HalfKind,
    cast_copies: BTreeMap<usize, Tensor>,
    next_parameter: usize,
    saves: u64,
    halt_after_saves: Option<u64>,
}

impl Tape {
    /// An empty replay; `recording` says whether a backward pass will follow.
    pub(super) fn new(recording: Recording) -> Self {
        Self {
            meter: Rc::new(Meter::with_allocator()),
            graph: autograd::Graph::default(),
            recording: recording == Recording::On,
            training: recording == Recording::On,
            autocast: false,
            compute: Dtype::Float,
            half: HalfKind::Bf16,
            cast_copies: BTreeMap::new(),
            next_parameter: 0,
            saves: 0,
            halt_after_saves: None,
        }
    }

    /// Takes memory for a result.
    pub(super) fn allocate(&self, bytes: u64) -> Held {
        if self.halt_after_saves.is_some_and(|n| self.saves >= n) {
            return Meter::take(&self.meter, 0);
        }
        Meter::take(&self.meter, bytes)
    }

    /// A tensor outside the graph: an input, a mask, a table.
    pub(super) fn constant(&self, elements: u64, dtype: Dtype) -> Tensor {
        Tensor {
            held: self.allocate(elements * dtype.bytes()),
            elements,
            dtype,
            edge: Edge::None,
        }
    }

    /// A fresh parameter; a gradient flows into it when `trained`.
    pub(super) fn parameter(&mut self, elements: u64, dtype: Dtype, trained: Trained) -> Parameter {
        let id = self.next_parameter;
        self.next_parameter += 1;
        Parameter {
            id,
            tensor: Tensor {
                held: self.allocate(elements * dtype.bytes()),
                elements,
                dtype,
                edge: match trained {
                    Trained::Yes => Edge::Leaf(id),
                    Trained::No => Edge::None,
                },
            },
        }
    }

    /// Turns automatic casting to 16 bit on.
    pub(super) fn enter_autocast(&mut self) {
        self.autocast = true;
    }

    /// Turns it off and lets the 16-bit copies of the weights go (those that the
    /// graph saved live on until backward has used them).
    pub(super) fn leave_autocast(&mut self) {
        self.autocast = false;
        self.cast_copies.clear();
    }

    /// Whether automatic casting is on.
    pub(super) const fn autocasting(&self) -> bool {
        self.autocast
    }

    /// Says what the products are computed in.
    pub(super) fn compute_in(&mut self, dtype: Dtype, half: HalfKind) {
        self.compute = dtype;
        self.half = half;
    }

    /// The type that keys and values come in.
    pub(super) const fn compute_dtype(&self) -> Dtype {
        self.compute
    }

    /// The type that a product of a tensor of `dtype` runs in.
    pub(super) fn product_dtype(&self, dtype: Dtype) -> Dtype {
        self.matrix_dtype(dtype)
    }

    /// Whether the model is in training mode (dropout acts).
    pub(super) const fn is_training(&self) -> bool {
        self.training
    }

    /// The type that a matrix multiplication runs in.
    fn matrix_dtype(&self, dtype: Dtype) -> Dtype {
        if self.autocast { Dtype::Half } else { dtype }
    }

    /// Runs `body` as gradient checkpointing does: nothing inside is kept, and
    /// the backward pass runs it again. `inputs` is the tensor that is kept.
    pub(super) fn checkpointed(&mut self, input: &Tensor, body: &Block) -> Tensor {
        if !self.recording {
            return body(self, input);
        }
        self.recording = false;
        let saves_before = self.saves;
        let output = body(self, &input.detached());
        self.recording = true;
        self.saves = saves_before;
        let edge = self.graph.push_checkpoint(autograd::Rerun {
            input: input.clone(),
            autocast: self.autocast,
            body: Rc::clone(body),
        });
        Tensor { edge, ..output }
    }
}

/// Whether a backward pass will follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    /// Operators keep what their derivatives need.
    On,
    /// Nothing is kept.
    Off,
}

/// Whether a parameter is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trained {
    /// A gradient flows into it.
    Yes,
    /// It is frozen.
    No,
}

/// Which of the two 16-bit types is meant by [`Dtype::Half`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HalfKind {
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
}
