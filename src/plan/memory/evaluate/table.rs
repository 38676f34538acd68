//! Rows of a file of columns separated by tabs.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A row: values by column name; `-` stands for nothing.
pub(super) struct Row<'t> {
    file: &'static str,
    line: usize,
    values: BTreeMap<&'t str, &'t str>,
}

/// The rows of a file with a heading.
pub(super) fn rows<'t>(file: &'static str, text: &'t str) -> Result<Vec<Row<'t>>> {
    let mut lines = text.lines();
    let heading: Vec<&str> = lines
        .next()
        .ok_or_else(|| Error::machine(format!("{file} is empty")))?
        .split('\t')
        .collect();
    Ok(lines
        .enumerate()
        .map(|(index, line)| Row {
            file,
            line: index + 2,
            values: heading.iter().copied().zip(line.split('\t')).collect(),
        })
        .collect())
}

impl<'t> Row<'t> {
    /// The value of a column; empty where there is none.
    pub(super) fn text(&self, column: &str) -> &'t str {
        match self.values.get(column) {
            Some(&"-") | None => "",
            Some(text) => text,
        }
    }

    /// A whole number, if there is one.
    pub(super) fn number(&self, column: &str) -> Result<Option<u64>> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            Error::machine(format!(
                "{}, line {}: `{text}` in column {column} is not a whole number",
                self.file, self.line
            ))
        })
    }

    /// A whole number that must be there.
    pub(super) fn required(&self, column: &str) -> Result<u64> {
        self.number(column)?.ok_or_else(|| {
            Error::machine(format!("{}, line {}: no {column}", self.file, self.line))
        })
    }
}
