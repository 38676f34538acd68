//! The command line: what was typed (`args`) becomes requests, commands join the
//! measuring wing with the planning wing, results are rendered. The only module
//! that prints.

mod args;
mod batch;
mod books;
mod calibrate;
mod compare;
mod devices;
mod energy;
mod fit_hardware;
mod fleet;
mod folders;
mod hardware;
mod hardware_args;
mod interrupt;
mod memory;
mod memory_args;
mod memory_onnx;
mod models;
mod output;
mod plan;
mod price_args;
mod prices;
mod prices_import;
mod probe;
mod profile_args;
mod profiles;
mod profiles_import;
mod progress;
mod runtime;
mod subject;
mod variants;
mod verify;
mod verify_args;
mod worker;

use crate::error::{ErrorKind, Result};
use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// How a command ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// What was asked for was found: exit code 0.
    Found,
    /// Nothing meets what was asked: exit code 1.
    NothingFits,
}

/// Parses the command line, runs the command and returns the exit code: 0 found,
/// 1 nothing meets what was asked, 2 bad input, 3 the machine or runtime failed.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, the rest is bad input.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli) {
        Ok(Outcome::Found) => ExitCode::SUCCESS,
        Ok(Outcome::NothingFits) => ExitCode::from(1),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(match error.kind() {
                ErrorKind::BadInput => 2,
                ErrorKind::Machine => 3,
            })
        }
    }
}

fn dispatch(cli: Cli) -> Result<Outcome> {
    let global = &cli.global;
    match cli.command {
        Command::Plan(args) => plan::run(global, &args),
        Command::Batch(args) => batch::run(global, &args),
        Command::Prices(command) => prices::run(global, &command),
        Command::Calibrate(args) => calibrate::run(global, &args),
        Command::Verify(args) => verify::run(global, &args),
        Command::Memory(args) => memory::run(global, &args),
        Command::Compare(args) => compare::run(global, &args),
        Command::Probe => probe::run(global),
        Command::Runtime(args) => runtime::run(global, &args),
        Command::Models(args) => models::run(global, &args),
        Command::FitHardware(args) => fit_hardware::run(global, &args),
        Command::Hardware(command) => hardware::run(global, &command),
        Command::Profiles(command) => profiles::run(global, &command),
        Command::Worker(command) => worker::run(&command),
    }
}
