//! The reference models are what their descriptions say, and are written as such.

use super::*;
use crate::model::{Sizes, inspect, read};
use crate::units::Count;
use std::path::Path;

fn small() -> ReferenceModel {
    find("mlp").unwrap()
}

#[test]
fn every_model_has_as_many_parameters_as_published() {
    for reference in catalogue().unwrap() {
        let facts = inspect(&reference.model().unwrap(), &Sizes::batch(1)).unwrap();
        assert_eq!(
            facts.weights.parameters, reference.parameters,
            "{}",
            reference.name
        );
        assert!(
            facts.reasons.is_empty(),
            "{}: {:?}",
            reference.name,
            facts.reasons
        );
    }
}

#[test]
fn every_model_does_as_many_multiply_adds_as_published() {
    let mut checked = 0;
    for reference in catalogue().unwrap() {
        let Some(published) = reference.multiply_adds else {
            continue;
        };
        let facts = inspect(&reference.model().unwrap(), &Sizes::batch(1)).unwrap();
        let ratio = facts.cost.multiply_adds.get() as f64 / published.get() as f64;
        // Published figures have three digits and differ in what they leave out.
        assert!(
            (0.985..1.015).contains(&ratio),
            "{}: {ratio}",
            reference.name
        );
        checked += 1;
    }
    assert_eq!(checked, 5);
}

#[test]
fn the_work_grows_with_the_batch_and_the_weights_are_read_once() {
    for reference in catalogue().unwrap() {
        let model = reference.model().unwrap();
        let [one, eight] = [1, 8].map(|b| inspect(&model, &Sizes::batch(b)).unwrap().cost);
        let flops = eight.flops.ratio(one.flops);
        assert!((flops - 8.0).abs() < 0.01, "{}: {flops}", reference.name);
        let weights = eight.weight_bytes.get() as f64 / one.weight_bytes.get().max(1) as f64;
        assert!(weights < 1.05, "{}: {weights}", reference.name);
    }
}

#[test]
fn the_tree_ensemble_visits_one_node_a_level_and_tree() {
    let model = find("gradient-boosting").unwrap().model().unwrap();
    let cost = inspect(&model, &Sizes::batch(4)).unwrap().cost;
    assert_eq!(cost.tree_nodes, Count::new(4 * 500 * 6));
}

#[test]
fn a_written_file_reads_back_as_the_model_it_was_made_from() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["mlp", "gradient-boosting", "small-cnn"] {
        let reference = find(name).unwrap();
        let path = write_reference(&reference, dir.path()).unwrap();
        let from_file = read(&path).unwrap();
        let from_draft = reference.model().unwrap();
        assert_eq!(from_file.graph.nodes, from_draft.graph.nodes);
        assert_eq!(from_file.graph.inputs, from_draft.graph.inputs);
        assert_eq!(from_file.file_bytes, from_draft.file_bytes);
        assert_eq!(
            from_file.file_bytes.get(),
            std::fs::metadata(&path).unwrap().len()
        );
        let sizes = Sizes::batch(3);
        let [a, b] = [from_file, from_draft].map(|m| inspect(&m, &sizes).unwrap());
        assert_eq!((a.cost, a.weights), (b.cost, b.weights));
    }
}

#[test]
fn writing_twice_gives_the_same_bytes_and_another_seed_others() {
    let [a, b] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let write = |model: &ReferenceModel, dir: &Path| {
        let path = write_reference(model, dir).unwrap();
        (
            path.file_name().unwrap().to_owned(),
            std::fs::read(&path).unwrap(),
        )
    };
    let first = write(&small(), a.path());
    assert_eq!(first, write(&small(), b.path()));
    let other = ReferenceModel {
        seed: 99,
        ..small()
    };
    let second = write(&other, a.path());
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

#[test]
fn the_file_is_pinned() {
    // Freezes the bytes; a change on purpose raises `WRITER_VERSION`.
    let dir = tempfile::tempdir().unwrap();
    let path = write_reference(&small(), dir.path()).unwrap();
    let hash = crate::model::hash_file(&path).unwrap();
    insta::assert_snapshot!(format!("{} {}", small().file_name(), hash), @"mlp-ba67cca4.onnx 37f6d4aa54448582999e9c04431109b34eb2557a0fcbbeeee3e9026d76d87ea4");
}

#[test]
fn an_existing_file_is_used_again_and_a_damaged_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_reference(&small(), dir.path()).unwrap();
    let written = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = written();
    write_reference(&small(), dir.path()).unwrap();
    assert_eq!(written(), before);
    std::fs::write(&path, b"cut").unwrap();
    write_reference(&small(), dir.path()).unwrap();
    assert!(read(&path).is_ok());
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file stays behind");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = write_reference(&small(), &file.join("models")).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Machine);
    assert!(error.message().contains("mlp-"), "{error}");
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    let error = find("brt-base").unwrap_err().to_string();
    assert!(
        error.contains("`brt-base`") && error.contains("`bert-base`"),
        "{error}"
    );
    let error = find("zzz").unwrap_err().to_string();
    assert!(error.contains("gradient-boosting"), "{error}");
    assert_eq!(find("BERT-Base").unwrap().name, "bert-base");
}

#[test]
fn sizes_of_a_request_can_be_changed_within_bounds() {
    let dims = |name: &str, size| [(name.to_owned(), size)].into();
    let bert = || find("bert-base").unwrap();
    let short = bert().with_dims(&dims("sequence", 64)).unwrap();
    assert_ne!(short.stamp(), bert().stamp());
    let [whole, half] =
        [bert(), short].map(|m| inspect(&m.model().unwrap(), &Sizes::batch(1)).unwrap());
    assert_eq!(whole.weights.parameters, half.weights.parameters);
    // Attention shrinks with the square, the rest in proportion.
    assert!(half.cost.flops.ratio(whole.cost.flops) < 0.5);
    for (name, size, says) in [
        ("sequence", 513, "takes 1 to 512"),
        ("sequence", 0, "takes 1 to 512"),
        ("seq", 64, "it has `sequence`"),
    ] {
        let error = bert().with_dims(&dims(name, size)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = small()
        .with_dims(&dims("image", 64))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no open dimension"), "{error}");
}

#[test]
fn number_formats_keep_the_parameters_and_shrink_the_weights() {
    for (name, precision, most) in [
        ("bert-base", Precision::Fp16, 0.505),
        ("bert-base", Precision::Int8, 0.255),
        ("bert-base", Precision::Int8PerChannel, 0.26),
        ("mlp", Precision::Int8, 0.27),
    ] {
        let full = find(name).unwrap();
        let less = full.clone().with_precision(precision).unwrap();
        assert_ne!(full.file_name(), less.file_name());
        let [a, b] = [full, less].map(|m| inspect(&m.model().unwrap(), &Sizes::batch(1)).unwrap());
        assert_eq!(
            a.weights.parameters, b.weights.parameters,
            "{name} {precision}"
        );
        assert_eq!(a.cost.multiply_adds, b.cost.multiply_adds);
        let share = b.weights.bytes.get() as f64 / a.weights.bytes.get() as f64;
        assert!(share < most, "{name} {precision}: {share}");
        assert!(b.reasons.is_empty(), "{:?}", b.reasons);
    }
}

#[test]
fn trees_have_one_number_format_only() {
    let trees = find("gradient-boosting").unwrap();
    let error = trees
        .with_precision(Precision::Int8)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be had in int8"), "{error}");
}

/// Writes all models, for `tests/check_models.py` and for trying out:
/// `ADVISOR_MODELS_DIR=DIR cargo test --lib write_all_models -- --ignored`.
#[test]
#[ignore = "writes 1.5 GB into ADVISOR_MODELS_DIR"]
fn write_all_models() {
    let dir = std::env::var_os("ADVISOR_MODELS_DIR").expect("ADVISOR_MODELS_DIR names a folder");
    for reference in catalogue().unwrap() {
        for precision in reference.precisions() {
            let reference = reference.clone().with_precision(*precision).unwrap();
            let path = write_reference(&reference, Path::new(&dir)).unwrap();
            assert_eq!(
                std::fs::metadata(path).unwrap().len(),
                reference.model().unwrap().file_bytes.get()
            );
        }
    }
}
