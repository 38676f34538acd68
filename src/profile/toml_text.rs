//! TOML that people write: parsed strictly, and every mistake shown with file,
//! line and a caret under it.

use crate::error::{Error, Result, nearest};
use serde::Deserialize;
use std::fmt::Write as _;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML document and the name to call it by in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TomlText<'a> {
    /// The file's name, as the reader knows it.
    pub name: &'a str,
    /// Its contents.
    pub text: &'a str,
}

/// One step on the way to a value of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The entry of a table.
    Key(&'a str),
    /// The element of an array, counted from 0.
    Index(usize),
}

/// The one thing that all versions of a format have in common.
#[derive(Debug, Deserialize)]
struct Versioned {
    schema: Spanned<i64>,
}

/// The widest part of a line that a message shows.
const SNIPPET_CHARS: usize = 100;

impl<'a> TomlText<'a> {
    /// A document under a name.
    #[must_use]
    pub const fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }

    /// Reads the document as a `T`.
    ///
    /// # Errors
    /// What does not parse or does not belong in a `T`, with its line; where a key
    /// looks like a known one, the hint names that.
    pub fn parse<T: Deserialize<'a>>(&self) -> Result<T> {
        toml::from_str(self.text).map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            let shown = self.error_at(place, &in_words(error.message()));
            match spelling_hint(error.message()) {
                Some(hint) => shown.hint(hint),
                None => shown,
            }
        })
    }

    /// Reads a document that states the version of its format as `schema`, which
    /// `schema_of` finds in a `T` and must be `known`. `what` names such documents in
    /// the plural.
    ///
    /// # Errors
    /// Those of [`TomlText::parse`]; another version before all else, since what such
    /// a document holds would look like mistakes.
    pub fn parse_version<T: Deserialize<'a>>(
        &self,
        what: &str,
        known: u32,
        schema_of: fn(&T) -> u32,
    ) -> Result<T> {
        let read = self.parse::<T>();
        if read.as_ref().is_ok_and(|value| schema_of(value) == known) {
            return read;
        }
        match toml::from_str::<Versioned>(self.text) {
            Ok(Versioned { schema }) if *schema.get_ref() != i64::from(known) => {
                let message = format!(
                    "{what} of schema {} are unknown to this version: it reads schema {known}",
                    schema.get_ref()
                );
                Err(self.error_at(schema.span(), &message))
            }
            _ => read,
        }
    }

    /// A mistake at the value that `path` leads to, or as near to it as the path
    /// exists. A table is pointed at by its key.
    #[must_use]
    pub fn error_in(&self, path: &[Step<'_>], message: &str) -> Error {
        self.error_at(self.locate(path), message)
    }

    /// A mistake at a range of bytes.
    #[must_use]
    pub fn error_at(&self, place: Range<usize>, message: &str) -> Error {
        let text = self.text;
        let mut at = place.start.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (before, after) = text.split_at(at);
        let line_number = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let line_end = after.find('\n').map_or(text.len(), |i| at + i);
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        let line = text.get(start..line_end).unwrap_or("").trim_end();
        let marked = text
            .get(at..place.end.clamp(at, line_end))
            .map_or(1, |s| s.chars().count());

        let mut out = format!("{}:{line_number}:{column}: {message}", self.name);
        let gutter = line_number.to_string().len();
        let (shown, offset) = window(line, column - 1);
        let carets = "^".repeat(marked.clamp(1, SNIPPET_CHARS.saturating_sub(offset).max(1)));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n{:gutter$} |\n{line_number} | {shown}\n{:gutter$} | {:offset$}{carets}",
            "", "", ""
        );
        Error::bad_input(out)
    }

    /// Where `path` leads, as bytes; the start of the document where it leads nowhere.
    fn locate(&self, path: &[Step<'_>]) -> Range<usize> {
        let mut place = 0..0;
        let Ok(root) = DeTable::parse(self.text) else {
            return place;
        };
        let root = DeValue::Table(root.into_inner());
        let mut value = &root;
        for step in path {
            let next = match (step, value) {
                (Step::Key(key), DeValue::Table(table)) => {
                    table.get_key_value(*key).map(|(key, value)| {
                        let of_key = matches!(value.get_ref(), DeValue::Table(_));
                        let span = if of_key { key.span() } else { value.span() };
                        (span, value.get_ref())
                    })
                }
                (Step::Index(i), DeValue::Array(array)) => {
                    array.get(*i).map(|v| (v.span(), v.get_ref()))
                }
                _ => None,
            };
            match next {
                Some((span, inner)) => (place, value) = (span, inner),
                None => break,
            }
        }
        place
    }
}

/// The part of a long line around a column (counted from 0), and the column in it.
/// Tabs and control characters become spaces, so that the caret stands right.
fn window(line: &str, column: usize) -> (String, usize) {
    let skip = if column < SNIPPET_CHARS * 3 / 4 {
        0
    } else {
        column - SNIPPET_CHARS / 2
    };
    let shown = line
        .chars()
        .skip(skip)
        .take(SNIPPET_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (shown, column - skip)
}

/// What a value should have been, in words instead of types of the language that
/// this program is written in.
fn in_words(message: &str) -> String {
    [
        ("expected f64", "expected a number without quotes"),
        ("expected u32", "expected a whole number"),
        (
            "expected a TOML datetime",
            "expected a date without quotes (2026-07-20)",
        ),
    ]
    .into_iter()
    .fold(message.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    })
}

/// `did you mean …?` from serde's "unknown field `x`, expected one of `a`, `b`".
fn spelling_hint(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field ")
        .or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let best = nearest(given, quoted).into_iter().next()?;
    Some(format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is used")]
    struct Shape {
        name: String,
        sizes: BTreeMap<String, f64>,
    }

    #[test]
    fn a_mistyped_key_gets_line_caret_and_spelling() {
        let text = TomlText::new("x.toml", "# one\nnmae = \"a\"\n");
        let error = text.parse::<Shape>().unwrap_err().to_string();
        assert_eq!(
            error,
            "x.toml:2:1: unknown field `nmae`, expected `name` or `sizes`\n  |\n2 | nmae = \"a\"\n  | ^^^^\n\nhint: did you mean `name`?"
        );
    }

    #[test]
    fn a_path_leads_to_the_value_and_a_table_to_its_key() {
        let text = TomlText::new(
            "x.toml",
            "name = \"a\"\n[sizes]\n\"b c\" = 1.5\nd = [1, 2]\n",
        );
        let at = |path: &[Step<'_>]| text.text[text.locate(path)].to_owned();
        assert_eq!(at(&[Step::Key("sizes")]), "sizes");
        assert_eq!(at(&[Step::Key("sizes"), Step::Key("b c")]), "1.5");
        assert_eq!(
            at(&[Step::Key("sizes"), Step::Key("d"), Step::Index(1)]),
            "2"
        );
        assert_eq!(at(&[Step::Key("sizes"), Step::Key("zzz")]), "sizes");
        assert_eq!(at(&[Step::Key("none")]), "");
    }

    #[test]
    fn long_lines_and_odd_characters_do_not_break_the_picture() {
        let long = format!("name = \"{}\" x", "é\t".repeat(5_000));
        let error = TomlText::new("x.toml", &long)
            .parse::<Shape>()
            .unwrap_err()
            .to_string();
        assert!(error.lines().all(|l| l.chars().count() < 200), "{error}");
        let text = TomlText::new("x.toml", "é");
        assert!(
            text.error_at(1..2, "inside a character")
                .to_string()
                .contains("1:1")
        );
        assert!(
            text.error_at(9..99, "past the end")
                .to_string()
                .contains("past")
        );
    }
}
