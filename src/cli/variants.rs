//! A model in other number formats: reference models are written so, users'
//! files are converted by the users' own Python.

use super::{args::Global, folders::Folders, output, subject::Named};
use crate::{
    error::{Error, Result},
    measure::runtime::Surroundings,
    model::reference::Precision,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Converts `argv[1]` to `argv[2]` in the format `argv[3]`. Exit code 3: a
/// package is missing.
const SCRIPT: &str = r#"
import sys
source, target, wanted = sys.argv[1:4]
try:
    import onnx
    if wanted == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
    else:
        from onnxruntime.quantization import QuantType, quantize_dynamic
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
if wanted == "fp16":
    model = onnx.load(source)
    onnx.save(convert_float_to_float16(model, keep_io_types=True), target)
else:
    quantize_dynamic(
        source,
        target,
        per_channel=wanted == "int8-per-channel",
        weight_type=QuantType.QInt8,
    )
"#;

/// The exit code of the script when a package is missing.
const PACKAGE_MISSING: i32 = 3;

/// The model in each of the formats; itself when none is given.
///
/// # Errors
/// A format that the model cannot have, no Python with the packages needed, or
/// what the conversion said.
pub(super) fn variants(
    global: &Global,
    named: &Named,
    formats: &[Precision],
    folders: &Folders,
) -> Result<Vec<Named>> {
    if formats.is_empty() {
        return Ok(vec![named.clone()]);
    }
    formats
        .iter()
        .map(|&format| match (named, format) {
            (Named::Reference(model), _) => Ok(Named::Reference(Box::new(
                model.as_ref().clone().with_precision(format)?,
            ))),
            (Named::File(path), Precision::Fp32) => Ok(Named::File(path.clone())),
            (Named::File(path), _) => converted(global, path, format, folders).map(Named::File),
        })
        .collect()
}

/// The user's file in another format, converted before or now.
fn converted(
    global: &Global,
    source: &Path,
    format: Precision,
    folders: &Folders,
) -> Result<PathBuf> {
    let hash = crate::model::read(source)?.hash()?;
    let stem = source.file_stem().map_or_else(
        || "model".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let folder = folders.models().join("converted").join(hash.short());
    let target = folder.join(format!("{stem}-{format}.onnx"));
    if target.exists() {
        return Ok(target);
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| Error::machine(format!("cannot make `{}`: {error}", folder.display())))?;
    output::note(
        global,
        &format!("Converting {} to {format} …", source.display()),
    );
    // Beside the target, so that only a whole file gets its name.
    let unfinished = folder.join(format!(".{stem}-{format}.onnx"));
    let outcome = convert(source, &unfinished, format, folders).and_then(|()| {
        std::fs::rename(&unfinished, &target).map_err(|error| {
            Error::machine(format!("cannot write `{}`: {error}", target.display()))
        })
    });
    let _ = std::fs::remove_file(&unfinished);
    outcome.map(|()| target)
}

fn convert(source: &Path, target: &Path, format: Precision, folders: &Folders) -> Result<()> {
    let mut missing = Vec::new();
    for python in Surroundings::current(&folders.data).pythons {
        let output = Command::new(&python)
            .args(["-c", SCRIPT])
            .args([source, target])
            .arg(format.name())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output();
        let Ok(output) = output else { continue };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing")
            .trim()
            .to_owned();
        if output.status.code() == Some(PACKAGE_MISSING) {
            missing.push(format!("`{python}`: {last}"));
        } else {
            return Err(Error::bad_input(format!(
                "`{}` cannot be converted to {format}: {last}",
                source.display()
            )));
        }
    }
    let why = if missing.is_empty() {
        "no Python was found".to_owned()
    } else {
        missing.join("; ")
    };
    Err(Error::machine(format!(
        "`{}` cannot be converted to {format} without Python's onnxruntime.quantization ({why})",
        source.display()
    ))
    .hint("`pip install onnx onnxruntime` into the Python on your PATH (or the active virtual environment), or convert the file yourself and give it with `--model`"))
}
