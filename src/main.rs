//! The `keyturn` program; everything is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use keyturn::cli::{self, Cli};
use keyturn::telemetry::chain;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "keyturn: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
