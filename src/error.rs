//! The one error type: what went wrong, with which input, what to do.

use std::fmt;

/// What the program could not do, in words for the person at the terminal.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

/// Whose turn it is to act; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was typed or given in a file cannot be used: exit code 2.
    BadInput,
    /// The machine, the disk or the inference runtime failed: exit code 3.
    Machine,
}

/// The result of anything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The input is at fault. `message` names it; no final full stop.
    pub fn bad_input(message: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::BadInput,
            message: message.to_string(),
            hint: None,
        }
    }

    /// The machine or the runtime is at fault. `message` says which part; no final full stop.
    pub fn machine(message: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Machine,
            message: message.to_string(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts what was being done before the message: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong, without the hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, if there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Shows the message and, after a blank line, `hint: …`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<crate::units::UnitError> for Error {
    fn from(error: crate::units::UnitError) -> Self {
        Self::bad_input(error)
    }
}

/// The names among `known` that look most like `given`, best first, at most three.
///
/// Jaro–Winkler similarity of at least 0.75 counts as alike: it forgives swapped
/// and missing letters and favours a common start, as mistyped names have it.
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let given = given.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_message_then_hint() {
        let error = Error::bad_input("no model is called `brt-base`")
            .hint("did you mean `bert-base`?")
            .context("--model");
        assert_eq!(
            error.to_string(),
            "--model: no model is called `brt-base`\n\nhint: did you mean `bert-base`?"
        );
        assert_eq!(error.kind(), ErrorKind::BadInput);
    }

    #[test]
    fn nearest_names_come_best_first() {
        let known = ["bert-base", "resnet50", "mlp"];
        assert_eq!(nearest("brt-base", known), ["bert-base"]);
        assert!(nearest("zzzz", known).is_empty());
    }
}
