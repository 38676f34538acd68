//! Files that are no model, models that are damaged, models as exporters write them.

use super::{Sketch, ints};
use crate::error::ErrorKind;
use crate::model::{Batching, Dim, ElementType, Sizes, inspect, read, trace};
use std::path::Path;

/// The error of reading a file with these contents.
fn refusal(contents: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thing.onnx");
    std::fs::write(&path, contents).unwrap();
    let error = read(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert!(error.message().contains("thing.onnx`"), "{error}");
    assert!(error.advice().is_some(), "{error}");
    error.to_string()
}

fn perceptron() -> Sketch {
    Sketch::default()
        .input("x", ElementType::Float32, "batch 100")
        .output("y", ElementType::Float32, "batch 10")
        .floats("w", &[100, 10])
        .floats("b", &[10])
        .node("MatMul", "x w", "h")
        .node("Add", "h b", "y")
}

#[test]
fn other_formats_are_called_by_their_name() {
    for (contents, says) in [
        (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "a PNG image"),
        (b"PK\x03\x04\x14\0\0\0", "a zip archive"),
        (b"\x80\x02}q\0X", "a Python pickle"),
        (b"\x1c\0\0\0TFL3\0\0\0\0", "a TensorFlow Lite model"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (
            b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\"}}",
            "a safetensors file",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
        ),
        (b"name = \"bert-base\"\n[architecture]\n", "a text file"),
        (b":\n\nhello", "a text file"),
    ] {
        let error = refusal(contents);
        assert!(
            error.contains(&format!("is not an ONNX file but {says}")),
            "{error}"
        );
    }
    let noise: Vec<u8> = (0..1000_u32)
        .map(|i| (i * 7919 % 251) as u8 | 0x80)
        .collect();
    assert!(refusal(&noise).contains("is not an ONNX file"));
    assert!(refusal(b"").contains("is empty"));
}

#[test]
fn a_model_cut_short_anywhere_is_not_read_as_whole() {
    let whole = perceptron().bytes();
    // The weights are in the middle; what matters is at both ends.
    let cuts = (1..whole.len()).filter(|k| k % 97 == 0 || k + 150 > whole.len() || *k < 100);
    for keep in cuts {
        let error = refusal(&whole[..keep]);
        assert!(
            error.contains("cut short") || error.contains("is not an ONNX file"),
            "{keep} of {}: {error}",
            whole.len()
        );
    }
    // Behind the graph there is only the operator set, of four bytes.
    let error = refusal(&whole[..whole.len() / 2]);
    let needed = format!(
        "needs at least {} bytes and has {}",
        whole.len() - 4,
        whole.len() / 2
    );
    assert!(error.contains(&needed), "{error}");
}

#[test]
fn a_graph_without_outputs_is_refused() {
    let sketch = Sketch::default().node("Relu", "x", "y");
    assert!(refusal(&sketch.bytes()).contains("without outputs"));
}

#[test]
fn a_missing_file_and_a_folder_are_told_apart() {
    let error = read(Path::new("/nowhere/model.onnx"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no such file or directory"), "{error}");
    assert!(error.contains("advisor models"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("inner.onnx"), perceptron().bytes()).unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("is a folder") && error.contains("inner.onnx`"),
        "{error}"
    );
}

#[test]
fn external_data_is_counted_hashed_and_missed() {
    let mut sketch = perceptron();
    let weight = &mut sketch.graph.initializer[0];
    weight.raw_data = None;
    weight.data_location = Some(1);
    weight.external_data = vec![crate::model::proto::StringStringEntryProto {
        key: Some("location".to_owned()),
        value: Some("weights.bin".to_owned()),
    }];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, sketch.bytes()).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("weights.bin") && error.contains("beside the model"),
        "{error}"
    );

    std::fs::write(dir.path().join("weights.bin"), vec![1; 4000]).unwrap();
    let model = read(&path).unwrap();
    let own = std::fs::metadata(&path).unwrap().len();
    assert_eq!(model.file_bytes.get(), own + 4000);
    let facts = inspect(&model, &Sizes::batch(1)).unwrap();
    assert_eq!(facts.weights.parameters.get(), 1010);
    let hash = model.hash().unwrap();
    std::fs::write(dir.path().join("weights.bin"), vec![2; 4000]).unwrap();
    assert_ne!(read(&path).unwrap().hash().unwrap(), hash);
}

#[test]
fn a_model_says_what_it_is() {
    let model = perceptron().read();
    assert_eq!(model.name, "sketch");
    assert_eq!((model.opset(), model.producer.as_str()), (Some(17), "test"));
    let facts = inspect(&model, &Sizes::batch(4)).unwrap();
    assert_eq!(facts.weights.parameters.get(), 1010);
    assert_eq!(facts.weights.bytes.get(), 4040);
    assert_eq!(facts.operators.get("MatMul"), Some(&1));
    assert_eq!(
        facts.inputs[0].dims().unwrap()[0],
        Dim::Named("batch".to_owned())
    );
    assert_eq!(facts.cost.multiply_adds.get(), 4 * 1000);
    assert_eq!(facts.cost.flops, crate::units::Flops::new(8040.0).unwrap());
    assert_eq!(facts.cost.weight_bytes.get(), 4040);
    assert_eq!(
        facts.cost.activation_bytes.get(),
        4 * 4 * (100 + 10 + 10 + 10)
    );
    assert!(facts.reasons.is_empty());
    let json = serde_json::to_string(&facts).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::model::ModelFacts>(&json).unwrap(),
        facts
    );
}

#[test]
fn the_batch_is_found_where_exporters_put_it() {
    let of = |dims: &[&str]| {
        let mut sketch = Sketch::default().output("y", ElementType::Float32, "1000");
        for (i, d) in dims.iter().enumerate() {
            sketch = sketch.input(&format!("x{i}"), ElementType::Float32, d);
        }
        let model = sketch.read();
        (model.batching(), model.open_dims())
    };
    let dynamic = |names: &[&str], open: &[&str]| {
        let owned = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let dims = owned(names).into_iter().collect();
        (Batching::Dynamic { dims }, owned(open))
    };
    assert_eq!(
        of(&["batch_size sequence"]),
        dynamic(&["batch_size"], &["sequence"])
    );
    assert_eq!(of(&["N 3 224 224"]), dynamic(&["N"], &[]));
    assert_eq!(of(&["? 3 ? 224"]), dynamic(&["x0.0"], &["x0.2"]));
    assert_eq!(
        of(&["sequence batch 8"]),
        dynamic(&["batch"], &["sequence"])
    );
    assert_eq!(of(&["s0 8", "s0 s1"]), dynamic(&["s0"], &["s1"]));
    assert_eq!(of(&["1 3 224 224"]).0, Batching::Fixed { size: 1 });
    assert_eq!(of(&["3 224 224"]).0, Batching::None);
    assert_eq!(of(&["100"]).0, Batching::None);
    assert_eq!(of(&["time 80"]), (Batching::None, vec!["time".to_owned()]));
}

#[test]
fn sizes_that_do_not_fit_are_refused_with_what_would() {
    let model = Sketch::default()
        .input("ids", ElementType::Int64, "batch sequence")
        .output("y", ElementType::Int64, "batch sequence")
        .node("Identity", "ids", "y")
        .read();
    let refuse = |batch, dims: &[(&str, u64)]| {
        let dims = dims.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        trace(&model, &Sizes { batch, dims })
            .unwrap_err()
            .to_string()
    };
    assert!(refuse(1, &[]).contains("`sequence` open"));
    assert!(refuse(1, &[]).contains("--dim sequence=128"));
    assert!(refuse(1, &[("sequnce", 9)]).contains("did you mean `--dim sequence=9`?"));
    assert!(refuse(1, &[("batch", 9)]).contains("leave it out"));
    assert!(refuse(1, &[("sequence", 0)]).contains("at least 1"));
    assert!(refuse(0, &[("sequence", 9)]).contains("batch size 0"));

    let fixed = Sketch::default()
        .input("x", ElementType::Float32, "1 3 8 8")
        .output("y", ElementType::Float32, "1 3 8 8")
        .node("Relu", "x", "y")
        .read();
    let error = trace(&fixed, &Sizes::batch(2)).unwrap_err().to_string();
    assert!(error.contains("batches of exactly 1"), "{error}");
}

#[test]
fn what_cannot_be_told_is_a_reason_and_no_error() {
    let model = Sketch::default()
        .input("x", ElementType::Float32, "batch 8")
        .output("y", ElementType::Float32, "n 2")
        .node("NonZero", "x", "places")
        .node_with("Transpose", "places", "t", vec![ints("perm", &[1, 0])])
        .node("my.domain:Magic", "t", "m")
        .node("Relu", "m", "y")
        .read();
    let facts = inspect(&model, &Sizes::batch(2)).unwrap();
    assert_eq!(
        facts.reasons,
        [
            "the work of `my.domain:Magic` is not known (1 nodes)",
            "the size of what `NonZero` makes depends on values (1 nodes)",
            "2 of 4 nodes work on tensors of unknown size",
        ]
    );
}

proptest::proptest! {
    /// A damaged file is read and followed, or refused; never a panic.
    #[test]
    fn no_damage_makes_it_panic(
        which in 0_usize..3,
        places in proptest::collection::vec((0_usize..100_000, 0_u8..=255), 1..6),
    ) {
        let mut bytes = match which {
            0 => perceptron().bytes(),
            1 => super::work::all_sorts().bytes(),
            _ => super::work::shape_nodes().bytes(),
        };
        for (at, value) in places {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged.onnx");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(model) = read(&path) {
            let dims = model.open_dims().into_iter().map(|n| (n, 7)).collect();
            let sizes = Sizes { batch: model.batching().limit().unwrap_or(2), dims };
            let _ = inspect(&model, &sizes);
            let _ = crate::model::input_specs(&model, &sizes);
        }
    }
}

/// Reads every ONNX file under a folder: each is followed, or refused with a reason.
/// `ADVISOR_ONNX_DIR=DIR cargo test --lib every_file_under -- --ignored --nocapture`
#[test]
#[ignore = "needs a folder of ONNX files in ADVISOR_ONNX_DIR"]
fn every_file_under_a_folder_is_followed_or_refused_with_a_reason() {
    let dir = std::env::var("ADVISOR_ONNX_DIR").expect("ADVISOR_ONNX_DIR names a folder");
    let (mut open, mut seen) = (vec![std::path::PathBuf::from(dir)], 0);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "onnx") {
            seen += 1;
            let result = read(&path).and_then(|model| {
                let batch = model.batching().limit().unwrap_or(2);
                let dims = model.open_dims().into_iter().map(|n| (n, 16)).collect();
                let sizes = Sizes { batch, dims };
                crate::model::input_specs(&model, &sizes)?;
                trace(&model, &sizes)
            });
            if let Err(error) = &result {
                assert!(!error.message().is_empty());
            }
            let said = result.map_or_else(|e| e.message().to_owned(), |t| t.reasons.join("; "));
            std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{}: {said}\n", path.display()).as_bytes(),
            )
            .unwrap();
        }
    }
    assert!(seen > 0);
}

/// Compares shapes with those that ONNX's own node tests give: see
/// `tests/onnx_node_cases.py`.
#[test]
#[ignore = "needs cases written by tests/onnx_node_cases.py in ADVISOR_ONNX_CASES"]
fn shapes_agree_with_the_node_tests_of_onnx() {
    let dir = std::env::var("ADVISOR_ONNX_CASES").expect("ADVISOR_ONNX_CASES names a folder");
    let text = std::fs::read_to_string(Path::new(&dir).join("cases.tsv")).unwrap();
    let (mut right, mut unknown, mut wrong) = (0, 0, Vec::new());
    for line in text.lines() {
        let mut parts = line.split('\t');
        let name = parts.next().unwrap();
        let model = read(&Path::new(&dir).join(format!("{name}.onnx"))).unwrap();
        let trace = trace(&model, &Sizes::batch(model.batching().limit().unwrap_or(1))).unwrap();
        let mut told = true;
        for result in parts {
            let (output, wanted) = result.split_once('=').unwrap();
            match trace.tensors.get(output) {
                Some(shape) if format!("{:?}", shape.dims) == wanted => {}
                Some(shape) => wrong.push(format!("{name}: {:?}, not {wanted}", shape.dims)),
                None => told = false,
            }
        }
        if told {
            right += 1;
        } else {
            unknown += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(right > 4 * unknown, "{right} right, {unknown} unknown");
}
