use super::*;
use crate::model::reference;

fn footprint(name: &str, batch: u64) -> OnnxFootprint {
    let model = reference::find(name).unwrap().model().unwrap();
    onnx_footprint(&model, &Sizes::batch(batch), 1).unwrap()
}

#[test]
fn the_parts_add_up() {
    for name in ["bert-base", "resnet50", "mlp", "gradient-boosting"] {
        let footprint = footprint(name, 4);
        let sum: Bytes = footprint.parts.iter().map(|p| p.bytes).sum();
        assert_eq!(sum, footprint.total.value, "{name}");
        let types: Bytes = footprint.weights_by_type.values().copied().sum();
        assert_eq!(types, footprint.weights);
    }
}

#[test]
fn residual_blocks_hold_the_summand_and_fused_results_are_not_stored() {
    // After the first block of ResNet-50 three tensors of 64 or 256 channels on
    // 56 × 56 live at once at most: input, branch, sum.
    let one = footprint("resnet50", 1);
    let channels_56 = 56 * 56 * 4 * 256;
    assert!(one.activations_peak.get() <= 3 * channels_56, "{one:?}");
    assert!(one.activations_peak.get() >= 2 * channels_56, "{one:?}");
}

#[test]
fn attention_counts_its_scores_and_layer_norm_stores_nothing_between() {
    let one = footprint("bert-base", 1);
    let hidden = 128 * 768 * 4;
    let scores = 12 * 128 * 128 * 4;
    // Input, queries, keys and values, the scores, two results.
    let attention = hidden * 6 + scores;
    // The widest moment of the feed-forward part: two of four times the size and
    // scratch memory of the same.
    let feed_forward = hidden * (1 + 3 * 4);
    let most = attention.max(feed_forward);
    assert!(one.activations_peak.get() <= most + hidden, "{one:?}");
    assert!(one.activations_peak.get() + hidden >= most, "{one:?}");
}

#[test]
fn more_instances_and_larger_batches_take_more() {
    let model = reference::find("small-cnn").unwrap().model().unwrap();
    let of = |batch, n| {
        onnx_footprint(&model, &Sizes::batch(batch), n)
            .unwrap()
            .total
            .value
    };
    assert!(of(2, 1) > of(1, 1));
    assert!(of(1, 2) > of(1, 1));
    assert!(onnx_footprint(&model, &Sizes::batch(1), 0).is_err());
    assert!(onnx_footprint(&model, &Sizes::batch(0), 1).is_err());
}
