//! Inputs fit the declared types and what the graph does with them.

use super::Sketch;
use crate::model::reference::{catalogue, find};
use crate::model::{ElementType, Fill, InputSpec, Sizes, TensorValues, input_specs};
use ElementType::{Bool, Float16, Float32, Int32, Int64, String as Text, Uint8};

fn fills(sketch: &Sketch) -> Vec<Fill> {
    let specs = input_specs(&sketch.read(), &Sizes::batch(2)).unwrap();
    specs.into_iter().map(|s| s.fill).collect()
}

#[test]
fn bert_gets_tokens_of_its_vocabulary_a_full_mask_and_no_second_sentence() {
    let model = find("bert-base").unwrap().model().unwrap();
    let specs = input_specs(&model, &Sizes::batch(8)).unwrap();
    let got: Vec<(&str, Fill)> = specs.iter().map(|s| (s.name.as_str(), s.fill)).collect();
    assert_eq!(
        got,
        [
            ("input_ids", Fill::Below { limit: 30522 }),
            ("attention_mask", Fill::Ones),
            ("token_type_ids", Fill::Zeros),
        ]
    );
    assert_eq!(specs[0].dims, [8, 128]);
    assert_eq!(specs[0].batch_axis, Some(0));
    let TensorValues::Int64(ids) = specs[0].values(1) else {
        panic!("token numbers are int64");
    };
    assert_eq!(ids.len(), 1024);
    assert!(ids.iter().all(|id| (0..30522).contains(id)));
    assert!(ids.iter().max() > Some(&29000) && ids.iter().min() < Some(&1500));
}

#[test]
fn every_reference_model_can_be_fed() {
    for reference in catalogue().unwrap() {
        for precision in reference.precisions() {
            let model = reference
                .clone()
                .with_precision(*precision)
                .unwrap()
                .model()
                .unwrap();
            for spec in input_specs(&model, &Sizes::batch(3)).unwrap() {
                assert_eq!(spec.dims[0], 3);
                assert_eq!(spec.values(1).len() as u64, spec.elements());
                assert_eq!(spec.values(1).element(), spec.element);
            }
        }
    }
}

#[test]
fn pictures_are_pixels_and_features_are_normal() {
    let sketch = Sketch::default()
        .input("picture", Float32, "batch 3 32 32")
        .input("row", Float32, "batch 100")
        .input("raw", Uint8, "batch 32 32 3")
        .input("flag", Bool, "1")
        .input("length", Int32, "batch")
        .output("y", Float32, "batch 100")
        .node("Relu", "row", "y");
    assert_eq!(
        fills(&sketch),
        [
            Fill::Unit,
            Fill::Normal,
            Fill::Below { limit: 256 },
            Fill::Ones,
            Fill::Ones
        ]
    );
}

#[test]
fn the_table_is_found_behind_casts_and_the_smallest_counts() {
    let sketch = Sketch::default()
        .input("ids", Int32, "batch 16")
        .output("y", Float32, "batch 16 8")
        .floats("large", &[500, 8])
        .floats("small", &[50, 8])
        .node_with("Cast", "ids", "wide", vec![super::int("to", 7)])
        .node("Gather", "large wide", "a")
        .node("Gather", "small wide", "b")
        .node("Add", "a b", "y");
    assert_eq!(fills(&sketch), [Fill::Below { limit: 50 }]);
}

#[test]
fn text_and_inputs_of_unknown_rank_are_refused_with_advice() {
    let text = Sketch::default()
        .input("words", Text, "batch 1")
        .output("y", Text, "batch 1")
        .node("Identity", "words", "y");
    let error = input_specs(&text.read(), &Sizes::batch(1)).unwrap_err();
    assert!(
        error.message().contains("`words`") && error.message().contains("is text"),
        "{error}"
    );
    assert!(error.advice().is_some());
}

#[test]
fn a_huge_input_is_refused_and_not_allocated() {
    let sketch = Sketch::default()
        .input("x", Float32, "batch 1000000 1000000")
        .output("y", Float32, "batch 1000000 1000000")
        .node("Relu", "x", "y");
    let error = input_specs(&sketch.read(), &Sizes::batch(1)).unwrap_err();
    assert!(error.message().contains("would take more than"), "{error}");
}

#[test]
fn values_repeat_by_seed_and_have_no_denormals() {
    let spec = |element, fill| InputSpec {
        name: "x".to_owned(),
        element,
        dims: vec![1000, 100],
        batch_axis: Some(0),
        fill,
    };
    let normal = spec(Float32, Fill::Normal);
    assert_eq!(normal.values(1), normal.values(1));
    assert_ne!(normal.values(1), normal.values(2));
    for fill in [Fill::Normal, Fill::Unit] {
        let TensorValues::Float32(values) = spec(Float32, fill).values(3) else {
            panic!("float32");
        };
        assert!(values.iter().all(|v| *v == 0.0 || v.is_normal()));
        assert!(values.iter().any(|v| *v > 0.9));
        let TensorValues::Float16(halves) = spec(Float16, fill).values(3) else {
            panic!("float16");
        };
        // An exponent of zero means zero or denormal; zero has no other bits.
        assert!(
            halves
                .iter()
                .all(|h| h & 0x7c00 != 0 || [0, 0x8000].contains(h))
        );
    }
}

#[test]
fn small_integer_types_take_only_what_they_hold() {
    for element in [ElementType::Int8, ElementType::Int16, Int32, Int64] {
        let spec = InputSpec {
            name: "ids".to_owned(),
            element,
            dims: vec![1000],
            batch_axis: None,
            fill: Fill::Below { limit: 100_000 },
        };
        let least = match spec.values(1) {
            TensorValues::Int8(v) => i64::from(*v.iter().min().unwrap()),
            TensorValues::Int16(v) => i64::from(*v.iter().min().unwrap()),
            TensorValues::Int32(v) => i64::from(*v.iter().min().unwrap()),
            TensorValues::Int64(v) => *v.iter().min().unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(least >= 0, "{element}");
    }
}
