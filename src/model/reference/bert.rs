//! A BERT encoder, node by node as `torch.onnx.export` wrote it for operator sets
//! up to 12: ONNX Runtime recognises this form and fuses attention, layer
//! normalisation and GELU.

use super::draft::{Draft, int, ints};
use super::layers::spread;
use super::spec::Bert;
use crate::model::element::ElementType;
use crate::model::graph::signed;

/// Lays the encoder out: three inputs of token numbers, the hidden states and
/// the pooled first token as outputs.
pub(super) fn lay_out(draft: &mut Draft, spec: &Bert) -> Result<(), String> {
    if spec.heads == 0 || !spec.hidden.is_multiple_of(spec.heads) {
        return Err(format!(
            "hidden size {} does not divide by {} heads",
            spec.hidden, spec.heads
        ));
    }
    if spec.sequence == 0 || spec.sequence > spec.positions {
        return Err(format!(
            "sequence {} is not within {} positions",
            spec.sequence, spec.positions
        ));
    }
    let item = [spec.sequence];
    let ids = draft.input("input_ids", ElementType::Int64, &item);
    let mask = draft.input("attention_mask", ElementType::Int64, &item);
    let types = draft.input("token_type_ids", ElementType::Int64, &item);
    let bias = attention_bias(draft, &mask);
    let mut hidden = embed(draft, spec, &ids, &types);
    for layer in 0..spec.layers {
        hidden = encoder_layer(draft, spec, &hidden, &bias, layer);
    }
    let pooled = pool(draft, spec, &hidden);
    draft.float_output("last_hidden_state", &hidden, &[spec.sequence, spec.hidden]);
    draft.float_output("pooler_output", &pooled, &[spec.hidden]);
    Ok(())
}

/// 0 where a token may be looked at, -10000 where not.
fn attention_bias(draft: &mut Draft, mask: &str) -> String {
    let mask = draft.node("Unsqueeze", &[mask], vec![ints("axes", &[1])]);
    let mask = draft.node("Unsqueeze", &[&mask], vec![ints("axes", &[2])]);
    let to = int("to", draft.float().onnx_number().into());
    let mask = draft.node("Cast", &[&mask], vec![to]);
    let one = draft.scalar(1.0);
    let hidden = draft.node("Sub", &[&one, &mask], vec![]);
    let far = draft.scalar(-10_000.0);
    draft.node("Mul", &[&hidden, &far], vec![])
}

fn embed(draft: &mut Draft, spec: &Bert, ids: &str, types: &str) -> String {
    let words = draft.embedding(ids, "embeddings.word", spec.vocabulary, spec.hidden);
    let kinds = draft.embedding(
        types,
        "embeddings.token_type",
        spec.token_types,
        spec.hidden,
    );
    let places: Vec<i64> = (0..signed(spec.sequence)).collect();
    let places = draft.int_constant(&places, &[1, spec.sequence]);
    let places = draft.embedding(&places, "embeddings.position", spec.positions, spec.hidden);
    let sum = draft.node("Add", &[&words, &kinds], vec![]);
    let sum = draft.node("Add", &[&sum, &places], vec![]);
    layer_norm(draft, &sum, "embeddings.norm", spec.hidden)
}

fn encoder_layer(draft: &mut Draft, spec: &Bert, x: &str, bias: &str, layer: u64) -> String {
    let name = |part: &str| format!("encoder.{layer}.{part}");
    let context = attention(draft, spec, x, bias, &name("attention"));
    let out = draft.dense(
        &context,
        &name("attention.output"),
        spec.hidden,
        spec.hidden,
    );
    let sum = draft.node("Add", &[&out, x], vec![]);
    let x = layer_norm(draft, &sum, &name("attention.norm"), spec.hidden);

    let wide = draft.dense(&x, &name("intermediate"), spec.hidden, spec.intermediate);
    let wide = gelu(draft, &wide);
    let out = draft.dense(&wide, &name("output"), spec.intermediate, spec.hidden);
    let sum = draft.node("Add", &[&out, &x], vec![]);
    layer_norm(draft, &sum, &name("output.norm"), spec.hidden)
}

fn attention(draft: &mut Draft, spec: &Bert, x: &str, bias: &str, name: &str) -> String {
    let size = spec.hidden / spec.heads;
    let mut heads = |part: &str, perm: &[i64]| {
        let y = draft.dense(x, &format!("{name}.{part}"), spec.hidden, spec.hidden);
        let split = draft.int_list(&[0, 0, signed(spec.heads), signed(size)]);
        let y = draft.node("Reshape", &[&y, &split], vec![]);
        draft.node("Transpose", &[&y], vec![ints("perm", perm)])
    };
    let query = heads("query", &[0, 2, 1, 3]);
    let key = heads("key", &[0, 2, 3, 1]);
    let value = heads("value", &[0, 2, 1, 3]);
    let scores = draft.node("MatMul", &[&query, &key], vec![]);
    let root = draft.scalar((size as f32).sqrt());
    let scores = draft.node("Div", &[&scores, &root], vec![]);
    let scores = draft.node("Add", &[&scores, bias], vec![]);
    let shares = draft.node("Softmax", &[&scores], vec![int("axis", 3)]);
    let mixed = draft.node("MatMul", &[&shares, &value], vec![]);
    let mixed = draft.node("Transpose", &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    let join = draft.int_list(&[0, 0, signed(spec.hidden)]);
    draft.node("Reshape", &[&mixed, &join], vec![])
}

fn layer_norm(draft: &mut Draft, x: &str, name: &str, hidden: u64) -> String {
    let over_last = || vec![ints("axes", &[-1]), int("keepdims", 1)];
    let mean = draft.node("ReduceMean", &[x], over_last());
    let centred = draft.node("Sub", &[x, &mean], vec![]);
    let two = draft.scalar(2.0);
    let squared = draft.node("Pow", &[&centred, &two], vec![]);
    let variance = draft.node("ReduceMean", &[&squared], over_last());
    // 16-bit floats have nothing between 0 and 6e-5 that is not denormal.
    let least = if draft.float() == ElementType::Float16 {
        6.2e-5
    } else {
        1e-12
    };
    let epsilon = draft.scalar(least);
    let shifted = draft.node("Add", &[&variance, &epsilon], vec![]);
    let deviation = draft.node("Sqrt", &[&shifted], vec![]);
    let normal = draft.node("Div", &[&centred, &deviation], vec![]);
    let scale = draft.weight(&format!("{name}.weight"), &[hidden], spread(1.0, 0.05));
    let shift = draft.weight(&format!("{name}.bias"), &[hidden], spread(0.0, 0.02));
    let scaled = draft.node("Mul", &[&normal, &scale], vec![]);
    draft.node("Add", &[&scaled, &shift], vec![])
}

fn gelu(draft: &mut Draft, x: &str) -> String {
    let root = draft.scalar(std::f32::consts::SQRT_2);
    let scaled = draft.node("Div", &[x, &root], vec![]);
    let erf = draft.node("Erf", &[&scaled], vec![]);
    let one = draft.scalar(1.0);
    let shifted = draft.node("Add", &[&erf, &one], vec![]);
    let product = draft.node("Mul", &[x, &shifted], vec![]);
    let half = draft.scalar(0.5);
    draft.node("Mul", &[&product, &half], vec![])
}

fn pool(draft: &mut Draft, spec: &Bert, hidden: &str) -> String {
    let zero = draft.int_constant(&[0], &[]);
    let first = draft.node("Gather", &[hidden, &zero], vec![int("axis", 1)]);
    let y = draft.gemm(&first, "pooler", spec.hidden, spec.hidden);
    draft.node("Tanh", &[&y], vec![])
}
