//! The feed-forward part of a block: dense or a mixture of experts.

use super::super::architecture::{Activation, Block, FeedForward, Transformer};
use super::super::tape::{Dtype, Tape, Tensor};
use super::layers::{Bias, Layers, Linear, Role};

/// Up, activation, down; with a gate or without.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
    dropout: bool,
}

/// A mixture of experts: all experts' weights in one piece.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    router: Linear,
    experts: Dense,
    active: u64,
    shared: Option<Dense>,
    shared_gate: Option<Linear>,
}

/// The feed-forward part of one block.
#[derive(Debug, Clone)]
pub(super) enum FeedForwardLayers {
    /// The same weights for every token.
    Dense(Box<Dense>),
    /// Some of many experts for each token.
    Mixture(Box<Mixture>),
}

impl FeedForwardLayers {
    /// Makes the weights of block `index`.
    pub(super) fn new(shape: &Transformer, index: u64, make: &mut Layers<'_>) -> Self {
        let Some(experts) = shape.experts_in(index) else {
            return Self::Dense(Box::new(Dense::new(shape, shape.intermediate, make)));
        };
        let router = make.linear(Role::Other, [shape.hidden, experts.count], Bias::No);
        if experts.routing_bias {
            make.vector(experts.count);
        }
        let mut linear =
            |inputs: u64, outputs: u64| make.expert_linear(experts.count, [inputs, outputs]);
        let (hidden, width) = (shape.hidden, experts.intermediate);
        let experts_layers = Dense {
            gate: (shape.feed_forward == FeedForward::Gated).then(|| linear(hidden, width)),
            up: linear(hidden, width),
            down: linear(width, hidden),
            activation: Activation::Fused,
            dropout: false,
        };
        Self::Mixture(Box::new(Mixture {
            router,
            experts: experts_layers,
            active: experts.active,
            shared: (experts.shared_intermediate > 0)
                .then(|| Dense::new(shape, experts.shared_intermediate, make)),
            shared_gate: experts
                .shared_gate
                .then(|| make.linear(Role::Other, [hidden, 1], Bias::No)),
        }))
    }

    /// Applies it.
    pub(super) fn apply(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        match self {
            Self::Dense(dense) => dense.apply(tape, x),
            Self::Mixture(mixture) => mixture.apply(tape, x),
        }
    }
}

impl Dense {
    fn new(shape: &Transformer, width: u64, make: &mut Layers<'_>) -> Self {
        let bias = Bias::when(shape.mlp_bias);
        let hidden = shape.hidden;
        Self {
            gate: (shape.feed_forward == FeedForward::Gated)
                .then(|| make.linear(Role::Inner, [hidden, width], bias)),
            up: make.linear(Role::Inner, [hidden, width], bias),
            down: make.linear(Role::Inner, [width, hidden], bias),
            activation: shape.activation,
            // T5 drops inside the feed-forward part, too.
            dropout: shape.dropout && shape.block == Block::EncoderDecoder,
        }
    }

    fn apply(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        let inner = if let Some(gate) = &self.gate {
            let mut gated = gate.apply(tape, x);
            gated = activate(tape, &gated, self.activation);
            let up = self.up.apply(tape, x);
            tape.multiply(&gated, &up)
        } else {
            let up = self.up.apply(tape, x);
            activate(tape, &up, self.activation)
        };
        let inner = if self.dropout {
            tape.dropout(&inner)
        } else {
            inner
        };
        self.down.apply(tape, &inner)
    }
}

impl Mixture {
    /// Every token goes through `active` experts: its row is copied for each, and
    /// the results are weighted and summed.
    fn apply(&self, tape: &mut Tape, x: &Tensor) -> Tensor {
        let weights = {
            let scores = self.router.apply(tape, x);
            let scores = tape.cast(&scores, Dtype::Float);
            let chances = tape.activation_by_result(&scores);
            tape.sliced(&chances, x.elements / self.width().max(1) * self.active)
        };
        let mut rows = tape.repeated(x, x.elements * self.active);
        rows = self.experts.apply(tape, &rows);
        rows = tape.multiply(&rows, &weights);
        rows = tape.cast(&rows, x.dtype);
        let mut sum = tape.summed(&rows, x.elements);
        drop(rows);
        if let Some(shared) = &self.shared {
            let mut common = shared.apply(tape, x);
            if let Some(gate) = &self.shared_gate {
                let gate = gate.apply(tape, x);
                let gate = tape.activation_by_result(&gate);
                common = tape.multiply(&gate, &common);
            }
            sum = tape.add(&sum, &common);
        }
        sum
    }

    const fn width(&self) -> u64 {
        self.router.inputs()
    }
}

/// The activation, by what its derivative needs.
pub(super) fn activate(tape: &mut Tape, x: &Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::Fused => tape.activation(x),
        Activation::WrittenOut => written_out_gelu(tape, x),
        Activation::Rectifier => tape.activation_by_result(x),
    }
}

/// `0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, operator by operator.
fn written_out_gelu(tape: &mut Tape, x: &Tensor) -> Tensor {
    let half = tape.scaled(x);
    let bracket = {
        let mut y = if tape.autocasting() {
            let up = tape.cast(x, Dtype::Float);
            tape.powered(&up)
        } else {
            tape.powered(x)
        };
        y = tape.scaled(&y);
        y = tape.add(x, &y);
        y = tape.scaled(&y);
        y = tape.activation_by_result(&y);
        tape.shifted(&y)
    };
    tape.multiply(&half, &bracket)
}
