//! The command line, through the built program: exit code, stdout and stderr.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it could not check"
)]

mod bad_input;
mod hardware;
mod machine;
mod memory;
mod plan;
mod profiles;
mod run;
mod runtime;
mod schema;
mod textbook;
mod verify;
