//! The command line, through the built program: exit code, stdout and stderr.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod machine;
mod plan;
mod run;
mod runtime;
mod schema;
mod textbook;
