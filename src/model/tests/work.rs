//! Work and shapes of what exporters and optimisers write.

use super::{Sketch, int, ints};
use crate::model::{ElementType, Sizes, Trace, WorkKind, inspect, trace};
use ElementType::{Float32, Int64, Uint8};

fn dims(trace: &Trace, name: &str) -> Vec<u64> {
    trace.tensors[name].dims.clone()
}

#[test]
fn shapes_computed_by_nodes_are_followed() {
    let model = shape_nodes().read();
    let trace = trace(&model, &Sizes::batch(3)).unwrap();
    assert_eq!(dims(&trace, "y"), [3, 768]);
    assert_eq!(dims(&trace, "z"), [3, 4, 192]);
    assert!(trace.reasons.is_empty());
    assert_eq!(trace.nodes.last().unwrap().kind, WorkKind::View);
}

/// What `x.view(x.size(0), -1)` and `x.reshape(b, heads, -1)` become.
pub(super) fn shape_nodes() -> Sketch {
    Sketch::default()
        .input("x", Float32, "batch 12 64")
        .output("z", Float32, "batch 4 192")
        .ints("zero", &[0])
        .ints("rest", &[-1])
        .ints("heads", &[4])
        .node("Shape", "x", "shape")
        .node("Gather", "shape zero", "b")
        .node_with("Concat", "b rest", "flat", vec![int("axis", 0)])
        .node("Reshape", "x flat", "y")
        .node("Mul", "heads heads", "sixteen")
        .node("Div", "sixteen heads", "four")
        .node_with("Concat", "b four rest", "split", vec![int("axis", 0)])
        .node("Reshape", "y split", "z")
}

#[test]
fn fused_attention_costs_what_its_parts_cost() {
    let (b, s, h) = (2_u64, 16, 64);
    let fused = Sketch::default()
        .input("x", Float32, "batch 16 64")
        .output("y", Float32, "batch 16 64")
        .floats("w", &[64, 192])
        .floats("bias", &[192])
        .node_with(
            "com.microsoft:Attention",
            "x w bias",
            "y",
            vec![int("num_heads", 4)],
        )
        .read();
    let trace = trace(&fused, &Sizes::batch(b)).unwrap();
    assert_eq!(dims(&trace, "y"), [b, s, h]);
    // Three projections, then scores and weighted sums.
    let expected = b * s * h * 3 * h + 2 * b * s * s * h;
    assert_eq!(trace.total.multiply_adds.get(), expected);
}

#[test]
fn convolutions_of_all_sorts_are_counted() {
    let model = all_sorts().read();
    let trace = trace(&model, &Sizes::batch(1)).unwrap();
    assert_eq!(dims(&trace, "a"), [1, 12, 8, 8]);
    assert_eq!(dims(&trace, "u"), [1, 4, 16, 16]);
    let macs: Vec<u64> = trace
        .nodes
        .iter()
        .map(|n| n.cost.multiply_adds.get())
        .collect();
    assert_eq!(macs, [12 * 64 * 72, 12 * 64 * 9, 12 * 64 * 16]);
}

#[test]
fn recurrent_layers_and_einsum_are_counted() {
    let model = Sketch::default()
        .input("x", Float32, "10 batch 32")
        .output("s", Float32, "batch 10 10")
        .floats("w", &[1, 80, 32])
        .floats("r", &[1, 80, 20])
        .node_with("LSTM", "x w r", "y h c", vec![int("hidden_size", 20)])
        .ints("axes", &[1])
        .node("Squeeze", "y axes", "q")
        .node_with(
            "Einsum",
            "q q",
            "s",
            vec![crate::model::proto::AttributeProto {
                name: Some("equation".to_owned()),
                s: Some(bytes::Bytes::from_static(b"ibd, jbd -> bij")),
                ..Default::default()
            }],
        )
        .read();
    let trace = trace(&model, &Sizes::batch(5)).unwrap();
    assert_eq!(dims(&trace, "y"), [10, 1, 5, 20]);
    assert_eq!(dims(&trace, "s"), [5, 10, 10]);
    let macs: Vec<u64> = trace
        .nodes
        .iter()
        .map(|n| n.cost.multiply_adds.get())
        .collect();
    // Four gates over input and state; then all letters of the sum.
    assert_eq!(macs, [10 * 5 * 80 * (32 + 20), 0, 10 * 10 * 5 * 20]);
}

#[test]
fn a_look_up_reads_rows_and_not_the_table() {
    let model = Sketch::default()
        .input("ids", Int64, "batch 16")
        .output("y", Float32, "batch 16 64")
        .floats("table", &[1000, 64])
        .node("Gather", "table ids", "y")
        .read();
    let cost = trace(&model, &Sizes::batch(2)).unwrap().total;
    assert_eq!(cost.weight_bytes.get(), 2 * 16 * 64 * 4);
    assert!(cost.flops.is_zero());
}

#[test]
fn statistics_scales_and_sizes_are_no_parameters() {
    let model = Sketch::default()
        .input("x", Float32, "batch 4 8 8")
        .output("z", Uint8, "batch 4 8 8")
        .floats("gamma", &[4])
        .floats("beta", &[4])
        .floats("mean", &[4])
        .floats("var", &[4])
        .floats("scale", &[4])
        .floats("single", &[])
        .ints("sizes", &[1, 2, 3])
        .node("BatchNormalization", "x gamma beta mean var", "y")
        .node("Mul", "y single", "s")
        .node("QuantizeLinear", "s scale", "z")
        .read();
    let facts = inspect(&model, &Sizes::batch(1)).unwrap();
    assert_eq!(facts.weights.parameters.get(), 8);
    assert_eq!(facts.weights.bytes.get(), 21 * 4 + 3 * 8);
    assert_eq!(facts.weights.by_type.len(), 2);
}

/// A convolution, one that keeps channels apart, one transposed.
pub(super) fn all_sorts() -> Sketch {
    Sketch::default()
        .input("x", Float32, "batch 8 16 16")
        .output("u", Float32, "batch 4 16 16")
        .floats("w1", &[12, 8, 3, 3])
        .floats("w2", &[12, 1, 3, 3])
        .floats("w3", &[12, 4, 2, 2])
        .node_with(
            "Conv",
            "x w1",
            "a",
            vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])],
        )
        .node_with(
            "Conv",
            "a w2",
            "d",
            vec![int("group", 12), ints("pads", &[1, 1, 1, 1])],
        )
        .node_with("ConvTranspose", "d w3", "u", vec![ints("strides", &[2, 2])])
}
