//! Tables with a heading line: columns found by name, since their order differs.

use super::Rows;
use crate::error::{Error, Result};
use csv::{ByteRecord, Reader, ReaderBuilder};
use std::io::Read;

/// A table being read row by row.
pub(super) struct Table<R> {
    reader: Reader<R>,
    record: ByteRecord,
    names: Vec<String>,
    what: &'static str,
}

/// A row whose cells are read by column name.
pub(super) struct Cells<'t> {
    record: &'t ByteRecord,
    names: &'t [String],
    /// The line it stands on.
    pub line: u64,
}

impl<R: Read> Table<R> {
    /// Reads the heading, which must have these columns.
    pub fn new(from: R, what: &'static str, needed: &[&str]) -> Result<Self> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(from);
        let heading = reader
            .byte_headers()
            .map_err(|error| Error::bad_input(format!("this is no {what}: {error}")))?;
        let names: Vec<String> = heading
            .iter()
            .map(|name| {
                String::from_utf8_lossy(name)
                    .trim_start_matches('\u{feff}')
                    .trim()
                    .to_owned()
            })
            .collect();
        for column in needed {
            if !names.iter().any(|name| name == column) {
                return Err(Error::bad_input(format!(
                    "this is no {what}: it has no column `{column}`"
                ))
                .hint("name the format with `--from`"));
            }
        }
        Ok(Self {
            reader,
            record: ByteRecord::new(),
            names,
            what,
        })
    }

    /// The next row that has as many cells as the heading; others are left.
    pub fn next(&mut self, rows: &mut Rows) -> Result<Option<Cells<'_>>> {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) => {}
                Err(error) if error.is_io_error() => {
                    return Err(Error::machine(format!(
                        "cannot read the {}: {error}",
                        self.what
                    )));
                }
                Err(_) => {
                    rows.read += 1;
                    let line = self.reader.position().line();
                    rows.leave("a broken row", || format!("line {line}"));
                    continue;
                }
            }
            rows.read += 1;
            let line = self.record.position().map_or(0, csv::Position::line);
            if self.record.len() == self.names.len()
                && std::str::from_utf8(self.record.as_slice()).is_ok()
            {
                break;
            }
            rows.leave("a broken row", || format!("line {line}"));
        }
        Ok(Some(Cells {
            record: &self.record,
            names: &self.names,
            line: self.record.position().map_or(0, csv::Position::line),
        }))
    }
}

impl Cells<'_> {
    /// A cell; empty where there is no such column.
    pub fn text(&self, column: &str) -> &str {
        let at = self.names.iter().position(|name| name == column);
        at.and_then(|at| self.record.get(at))
            .and_then(|cell| std::str::from_utf8(cell).ok())
            .unwrap_or_default()
            .trim()
    }

    /// A number; none where the cell is empty.
    pub fn number(&self, column: &str) -> Result<Option<f64>, String> {
        match self.text(column) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| format!("`{column}` is not a number")),
        }
    }
}
