//! The loss of a language model.

use super::super::tape::{Dtype, Tape, Tensor, Upcast};
use super::{Loss, Pass};

/// The loss of a causal language model: targets shifted by one, logits turned to
/// 32 bit first where the training code does that.
pub(super) fn causal_loss(tape: &mut Tape, logits: &Tensor, labels: &Tensor, pass: Pass) -> Tensor {
    let _padded = tape.constant(pass.batch * (pass.sequence + 1), Dtype::Long);
    let targets = tape.constant(labels.elements, Dtype::Long);
    // The caller still holds the logits while the loss is computed.
    let upcast = match pass.loss {
        Loss::InFloat => Upcast::Yes,
        Loss::AsLogits => Upcast::No,
    };
    tape.cross_entropy(logits, &targets, upcast)
}
