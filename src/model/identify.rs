//! What a file is when it is not ONNX, so that the error can say so.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const CONVERT: &str = "export the model to ONNX with its own framework first";
const TORCH: &str = "export it with `torch.onnx.export(model, inputs, \"model.onnx\")`";

/// First bytes by which a format is known: where they stand, what they are, the
/// format, what to do. From the formats' own specifications.
const SIGNATURES: [(usize, &[u8], &str, &str); 17] = [
    (
        0,
        b"\x89PNG\r\n\x1a\n",
        "a PNG image",
        "give the model, not a picture of it",
    ),
    (
        0,
        b"\xff\xd8\xff",
        "a JPEG image",
        "give the model, not a picture of it",
    ),
    (
        0,
        b"GIF8",
        "a GIF image",
        "give the model, not a picture of it",
    ),
    (0, b"%PDF", "a PDF document", "give the model file itself"),
    (
        0,
        b"PK\x03\x04",
        "a zip archive (PyTorch and Keras models are)",
        TORCH,
    ),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "a Zstandard archive",
        "unpack it first",
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (Keras models are)",
        "convert it with `tf2onnx`",
    ),
    (0, b"GGUF", "a GGUF file of llama.cpp", CONVERT),
    (
        4,
        b"TFL3",
        "a TensorFlow Lite model",
        "convert it with `tf2onnx --tflite`",
    ),
    (
        4,
        b"ORTM",
        "a model in ONNX Runtime's own `.ort` format",
        "give the `.onnx` file that it was made from",
    ),
    (
        0,
        b"\x80\x02",
        "a Python pickle (PyTorch and scikit-learn models are)",
        TORCH,
    ),
    (
        0,
        b"\x80\x03",
        "a Python pickle (scikit-learn models are)",
        "convert it with `skl2onnx`",
    ),
    (
        0,
        b"\x80\x04",
        "a Python pickle (scikit-learn models are)",
        "convert it with `skl2onnx`",
    ),
    (
        0,
        b"\x80\x05",
        "a Python pickle (scikit-learn models are)",
        "convert it with `skl2onnx`",
    ),
    (0, b"\x7fELF", "a program or library", "give the model file"),
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the model itself",
        "fetch the contents with `git lfs pull`",
    ),
];

/// What the file is, and what to do; none if it is nothing known.
pub(super) fn other_format(path: &Path) -> Option<(&'static str, &'static str)> {
    let mut head = Vec::new();
    File::open(path)
        .ok()?
        .take(512)
        .read_to_end(&mut head)
        .ok()?;
    if let Some((_, _, format, hint)) = SIGNATURES
        .iter()
        .find(|(at, sign, _, _)| head.get(*at..at + sign.len()) == Some(*sign))
    {
        return Some((format, hint));
    }
    // safetensors: the length of a JSON header, then the header.
    if head.get(8) == Some(&b'{') && head.get(5..8) == Some(&[0, 0, 0]) {
        return Some(("a safetensors file (weights without a graph)", TORCH));
    }
    let text = std::str::from_utf8(&head).map_or_else(
        // The cut at 512 bytes may fall inside a character.
        |e| e.valid_up_to() + 4 > head.len() && head.len() == 512,
        |_| true,
    );
    let control = head.iter().any(|b| *b < 9 || (14..27).contains(b));
    (text && !control).then_some((
        "a text file",
        "give a model exported to ONNX, or a reference model (`advisor models` lists them)",
    ))
}

/// What to do about a folder: name the ONNX files in it.
pub(super) fn files_inside(folder: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
        })
        .collect();
    names.sort();
    names.truncate(3);
    if names.is_empty() {
        return "give the path of an ONNX file".to_owned();
    }
    let paths: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", folder.join(name).display()))
        .collect();
    format!("give a file inside it: {}", paths.join(", "))
}
