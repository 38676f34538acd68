//! Reading CSV by column name (RFC 4180), with the line in every complaint.

use crate::error::{Error, Result};

/// A CSV file, as it was read.
pub(super) struct Table<'t> {
    name: &'t str,
    columns: Vec<String>,
    rows: Vec<(usize, Vec<String>)>,
}

/// One row of a table.
pub(super) struct Record<'r> {
    table: &'r Table<'r>,
    line: usize,
    fields: &'r [String],
}

impl<'t> Table<'t> {
    /// Reads a file whose first line names the columns.
    ///
    /// # Errors
    /// An empty file, or a row with another number of fields.
    pub(super) fn parse(name: &'t str, text: &str) -> Result<Self> {
        let mut lines = records(text).into_iter();
        let Some((_, columns)) = lines.next() else {
            return Err(Error::bad_input(format!("{name} is empty")));
        };
        let rows: Vec<_> = lines.collect();
        if let Some((line, row)) = rows.iter().find(|(_, row)| row.len() != columns.len()) {
            return Err(Error::bad_input(format!(
                "{name}, line {line}: {} fields where the header has {}",
                row.len(),
                columns.len()
            )));
        }
        Ok(Self {
            name,
            columns,
            rows,
        })
    }

    /// All rows, in their order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().map(|(line, fields)| Record {
            table: self,
            line: *line,
            fields,
        })
    }
}

impl Record<'_> {
    /// The text in a column.
    ///
    /// # Errors
    /// The file has no such column.
    pub(super) fn text(&self, column: &str) -> Result<&str> {
        let at = self.table.columns.iter().position(|name| name == column);
        at.and_then(|at| self.fields.get(at))
            .map(String::as_str)
            .ok_or_else(|| {
                Error::bad_input(format!("{} has no column `{column}`", self.table.name))
            })
    }

    /// The number in a column.
    ///
    /// # Errors
    /// No such column, or no finite number of at least zero in it.
    pub(super) fn number(&self, column: &str) -> Result<f64> {
        let text = self.text(column)?;
        let value = text.parse::<f64>().ok();
        value
            .filter(|value| value.is_finite() && *value >= 0.0)
            .ok_or_else(|| self.refuse(&format!("`{column}` is `{text}`, not a number from 0 on")))
    }

    /// The number in a column, which must be above zero.
    ///
    /// # Errors
    /// Those of [`Record::number`], and zero.
    pub(super) fn positive(&self, column: &str) -> Result<f64> {
        let value = self.number(column)?;
        if value > 0.0 {
            Ok(value)
        } else {
            Err(self.refuse(&format!("`{column}` is 0")))
        }
    }

    /// A complaint about this row.
    pub(super) fn refuse(&self, why: &str) -> Error {
        Error::bad_input(format!("{}, line {}: {why}", self.table.name, self.line))
    }
}

/// Splits text into records with the line on which each begins.
fn records(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut out = Vec::new();
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut line, mut began, mut quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' => {
                line += 1;
                if quoted {
                    field.push(c);
                    continue;
                }
                if !(fields.is_empty() && field.is_empty()) {
                    fields.push(std::mem::take(&mut field));
                    out.push((began, std::mem::take(&mut fields)));
                }
                began = line;
            }
            c => field.push(c),
        }
    }
    if !(fields.is_empty() && field.is_empty()) {
        fields.push(field);
        out.push((began, fields));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_are_read() {
        let table = Table::parse("t.csv", "a,b\r\n\"x, \"\"y\"\"\",2\n\n3,4").unwrap();
        let rows: Vec<_> = table.records().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].text("a").unwrap(), "x, \"y\"");
        assert_eq!(rows[1].number("b").ok(), Some(4.0));
    }

    #[test]
    fn a_bad_number_or_row_is_named_with_its_line() {
        let table = Table::parse("t.csv", "a,b\n1,2\nx,-1\n").unwrap();
        let row = table.records().nth(1).unwrap();
        assert!(
            row.number("a")
                .unwrap_err()
                .message()
                .starts_with("t.csv, line 3")
        );
        assert!(row.number("b").is_err() && row.text("c").is_err());
        let short = Table::parse("t.csv", "a,b\n1\n").err().unwrap();
        assert!(short.message().contains("line 2"));
        assert!(Table::parse("t.csv", "").is_err());
    }
}
