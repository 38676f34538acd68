//! What an optimizer keeps between steps, and takes during one.

use super::question::{Optimizer, Precision, Update};
use super::tape::Dtype;

/// A group of trained tensors of one type: the number of elements of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trained<'a> {
    /// Elements of each tensor.
    pub(super) sizes: &'a [u64],
    /// Type of the weights.
    pub(super) dtype: Dtype,
}

/// Bytes kept between steps.
///
/// Adam keeps two numbers per weight in the weight's type (arXiv:1412.6980;
/// `torch/optim/adam.py`), momentum one. 8-bit Adam keeps two bytes, and a 32-bit
/// scale per 256 weights for each state; tensors under 4096 elements stay in 32
/// bit (arXiv:2110.02861, `bitsandbytes/optim/optimizer.py`). Adafactor keeps
/// sums of rows and columns in 32 bit (arXiv:1804.04235). With a 32-bit master
/// copy of 16-bit weights, copy and states are in 32 bit.
pub(super) fn state_bytes(
    optimizer: Optimizer,
    precision: Precision,
    trained: Trained<'_>,
) -> Vec<u64> {
    let master = precision == Precision::Bf16Master;
    let width = if master { 4 } else { trained.dtype.bytes() };
    trained
        .sizes
        .iter()
        .flat_map(|&n| {
            let (count, each) = match optimizer {
                Optimizer::Sgd => (0, 0),
                Optimizer::Momentum => (1, n * width),
                Optimizer::Adam | Optimizer::AdamW | Optimizer::PagedAdamW => (2, n * width),
                Optimizer::Adam8bit | Optimizer::PagedAdamW8bit if n >= 4096 => {
                    (2, n + 4 * n.div_ceil(256))
                }
                Optimizer::Adam8bit | Optimizer::PagedAdamW8bit => (2, 4 * n),
                // Row and column sums of a nearly square matrix.
                Optimizer::Adafactor => (2, 4 * (n as f64).sqrt().ceil() as u64),
            };
            let copy = master.then_some(4 * n);
            std::iter::repeat_n(each, count).chain(copy)
        })
        .collect()
}

/// Bytes taken for the moment of the step.
pub(super) fn step_bytes(
    optimizer: Optimizer,
    (precision, update): (Precision, Update),
    trained: Trained<'_>,
) -> Vec<u64> {
    if precision == Precision::Bf16Master {
        return Vec::new();
    }
    let width = trained.dtype.bytes();
    let largest = trained.sizes.iter().max().copied().unwrap_or(0);
    match (optimizer, update) {
        (Optimizer::Adam | Optimizer::AdamW, Update::AllAtOnce) => {
            trained.sizes.iter().map(|n| n * width).collect()
        }
        (Optimizer::Adam | Optimizer::AdamW, Update::OneByOne) => vec![largest * width; 2],
        // Update and its square in 32 bit, tensor by tensor.
        (Optimizer::Adafactor, _) => vec![largest * 4; 2],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(parts: &[u64]) -> u64 {
        parts.iter().sum()
    }

    #[test]
    fn states_match_what_a_traced_optimizer_allocated() {
        // bert-tiny's weights are 4,386,178 numbers; the tracer saw 35,089,424
        // bytes of AdamW state, 8 bytes per number (and 4 per tensor).
        let sizes = [4_386_178];
        let trained = Trained {
            sizes: &sizes,
            dtype: Dtype::Float,
        };
        assert_eq!(
            total(&state_bytes(Optimizer::AdamW, Precision::Fp32, trained)),
            35_089_424
        );
        assert!(state_bytes(Optimizer::Sgd, Precision::Fp32, trained).is_empty());
        assert_eq!(
            total(&step_bytes(
                Optimizer::AdamW,
                (Precision::Fp32, Update::AllAtOnce),
                trained
            )),
            17_544_712
        );
        assert!(step_bytes(Optimizer::AdamW, (Precision::Fp32, Update::Fused), trained).is_empty());
    }

    #[test]
    fn master_weights_cost_twelve_bytes() {
        let sizes = [1000, 24];
        let trained = Trained {
            sizes: &sizes,
            dtype: Dtype::Half,
        };
        assert_eq!(
            total(&state_bytes(
                Optimizer::AdamW,
                Precision::Bf16Master,
                trained
            )),
            12 * 1024
        );
    }
}
