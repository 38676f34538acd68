//! Writes a reference model to disk, weights streamed, all or nothing.

use super::catalogue::ReferenceModel;
use super::draft::{Draft, DraftWeight, WeightFill};
use crate::error::{Error, Result};
use crate::model::element::ElementType;
use crate::model::random::{Stream, f16_bits};
use crate::model::read::plain;
use crate::model::skim::put_varint;
use crate::units::Bytes;
use prost::Message as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Headers of the fields that are written by hand: number and wire type 2.
const GRAPH_FIELD: u64 = 7 << 3 | 2;
const INITIALIZER_FIELD: u64 = 5 << 3 | 2;
const RAW_DATA_FIELD: u64 = 9 << 3 | 2;

/// Writes the model into `folder`, which is made if it is missing, and gives the
/// file's path. A file that is there already, under the name that holds the
/// description's hash and of the right size, is used as it is.
///
/// # Errors
/// The folder or the file cannot be written: no permission, disk full.
pub fn write_reference(model: &ReferenceModel, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(model.file_name());
    let draft = model.draft()?;
    let wanted = draft.file_bytes();
    if std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == wanted.get()) {
        return Ok(path);
    }
    let fail = |e: &io::Error| {
        let error = Error::machine(format!("cannot write `{}`: {}", path.display(), plain(e)));
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => error.hint(format!(
                "the model needs {wanted}: free some space or choose another folder"
            )),
            _ => error.hint("check that the folder exists and may be written to"),
        }
    };
    std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    // Beside the target, so that renaming is atomic; removed if anything fails.
    let mut file = tempfile::Builder::new()
        .prefix(".advisor-model-")
        .tempfile_in(folder)
        .map_err(|e| fail(&e))?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    draft
        .write(&mut out, model.seed)
        .and_then(|()| out.flush())
        .map_err(|e| fail(&e))?;
    drop(out);
    make_readable(file.path()).map_err(|e| fail(&e))?;
    file.persist(&path).map_err(|e| fail(&e.error))?;
    Ok(path)
}

/// Temporary files are private; the finished one is like any other file.
#[cfg(unix)]
fn make_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Draft {
    /// The exact size that the file will have.
    pub(super) fn file_bytes(&self) -> Bytes {
        let graph = self.graph_bytes();
        let mut header = self.envelope().encode_to_vec();
        put_varint(&mut header, GRAPH_FIELD);
        put_varint(&mut header, graph);
        Bytes::new(header.len() as u64 + graph)
    }

    fn graph_bytes(&self) -> u64 {
        let mut total = self.graph().encoded_len() as u64;
        for weight in &self.weights {
            total += weight.framing().len() as u64 + weight.bytes();
        }
        total
    }

    /// Writes the file: the same bytes for the same description and seed.
    fn write(&self, out: &mut impl Write, seed: u64) -> io::Result<()> {
        let mut header = self.envelope().encode_to_vec();
        put_varint(&mut header, GRAPH_FIELD);
        put_varint(&mut header, self.graph_bytes());
        out.write_all(&header)?;
        out.write_all(&self.graph().encode_to_vec())?;
        for weight in &self.weights {
            out.write_all(&weight.framing())?;
            weight.write(out, seed)?;
        }
        Ok(())
    }
}

impl DraftWeight {
    fn bytes(&self) -> u64 {
        self.element.bytes(self.elements()).get()
    }

    /// Everything of the initializer field up to its contents.
    fn framing(&self) -> Vec<u8> {
        let mut inner = self.header().encode_to_vec();
        put_varint(&mut inner, RAW_DATA_FIELD);
        put_varint(&mut inner, self.bytes());
        let mut framing = Vec::with_capacity(inner.len() + 12);
        put_varint(&mut framing, INITIALIZER_FIELD);
        put_varint(&mut framing, inner.len() as u64 + self.bytes());
        framing.extend_from_slice(&inner);
        framing
    }

    fn write(&self, out: &mut impl Write, seed: u64) -> io::Result<()> {
        let mut stream = Stream::new(seed, &self.name);
        let mut left = self.elements();
        let mut chunk = Vec::with_capacity(1 << 18);
        while left > 0 {
            let now = left.min(1 << 16);
            chunk.clear();
            self.fill(&mut stream, now, &mut chunk);
            out.write_all(&chunk)?;
            left -= now;
        }
        Ok(())
    }

    fn fill(&self, stream: &mut Stream, count: u64, chunk: &mut Vec<u8>) {
        match self.fill {
            WeightFill::Quantised => {
                for _ in 0..count {
                    self.push(stream.below(255) as f32 - 127.0, chunk);
                }
            }
            WeightFill::Zero => {
                (0..count).for_each(|_| self.push(0.0, chunk));
            }
            WeightFill::Spread { centre, deviation } => {
                // Uniform over ±sqrt(3) deviations. 24 random bits a number, two
                // numbers a draw; no denormal can come of it.
                let half = deviation * 3.0_f32.sqrt();
                let scale = half * 2.0_f32.powi(-23);
                let value = |bits: u64| centre - half + (bits & 0xff_ffff) as f32 * scale;
                let mut done = 0;
                while done < count {
                    let bits = stream.bits();
                    self.push(value(bits >> 40), chunk);
                    if done + 1 < count {
                        self.push(value(bits >> 8), chunk);
                    }
                    done += 2;
                }
            }
        }
    }

    fn push(&self, value: f32, chunk: &mut Vec<u8>) {
        match self.element {
            ElementType::Float16 => chunk.extend_from_slice(&f16_bits(value).to_le_bytes()),
            ElementType::Int8 => chunk.extend_from_slice(&(value as i8).to_le_bytes()),
            ElementType::Uint8 => chunk.push((value + 128.0) as u8),
            _ => chunk.extend_from_slice(&value.to_le_bytes()),
        }
    }
}
