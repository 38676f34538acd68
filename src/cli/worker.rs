//! The hidden commands of child processes.

use super::{Outcome, args::WorkerCommand};
use crate::{
    error::{Error, Result},
    measure::{calibrate, runtime},
};
use std::io::{BufReader, Write, stdin, stdout};

pub(super) fn run(command: &WorkerCommand) -> Result<Outcome> {
    match command {
        WorkerCommand::Inspect { library } => {
            let inspection = runtime::inspect_here(library)?;
            let text = serde_json::to_string(&inspection)
                .map_err(|error| Error::machine(format!("cannot write the answer: {error}")))?;
            writeln!(stdout(), "{text}")
                .map_err(|error| Error::machine(format!("cannot write the answer: {error}")))?;
        }
        WorkerCommand::PeakMemory => runtime::serve_peak(stdin().lock(), stdout().lock())?,
        WorkerCommand::Measure => calibrate::serve(BufReader::new(stdin()), stdout().lock())?,
    }
    Ok(Outcome::Found)
}
