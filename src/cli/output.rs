//! The edge to the terminal: stdout is the result, stderr the rest.

use super::args::{Format, Global};
use crate::{
    error::{Error, Result},
    render::{Report, Style, to_json},
};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Width where there is no terminal: what a design review or a mail takes.
const PIPE_WIDTH: u16 = 100;

/// Prints a result in the format asked for.
///
/// # Errors
/// Standard output cannot be written to; a reader that went away (`| head`) is
/// not an error.
pub fn print(global: &Global, report: &Report, value: &impl Serialize) -> Result<()> {
    let text = match global.format {
        Format::Table => report.to_text(Style { width: width() }),
        Format::Markdown => report.to_markdown(),
        Format::Json => to_json(value)?,
    };
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::machine(format!("cannot write the result: {error}"))),
    }
}

/// Prints a line to stderr; with `--quiet` none.
pub fn note(global: &Global, text: &str) {
    if !global.quiet {
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

/// Prints a warning to stderr.
pub fn warn(text: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{yellow}warning{yellow:#}: {text}");
}

/// Prints an error to stderr, its hint after a blank line.
pub fn complain(error: &Error) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    let cyan = anstyle::AnsiColor::Cyan.on_default().bold();
    let mut err = anstream::stderr();
    let _ = writeln!(err, "{red}error{red:#}: {}", error.message());
    if let Some(hint) = error.advice() {
        let _ = writeln!(err, "\n{cyan}hint{cyan:#}: {hint}");
    }
}

/// Whether progress may be drawn.
#[must_use]
pub fn progress_wanted(global: &Global) -> bool {
    !global.quiet && std::io::stderr().is_terminal()
}

fn width() -> u16 {
    if !std::io::stdout().is_terminal() {
        return std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok())
            .unwrap_or(PIPE_WIDTH);
    }
    terminal_size::terminal_size().map_or(PIPE_WIDTH, |(width, _)| width.0)
}
