//! The `tern` command: a thin layer over the library.
//!
//! ```text
//! args.rs        flags that several commands share
//! commands/      one file per command
//! setup.rs       flags -> backends -> an opened model
//! form.rs        flags for text of a given form
//! answer.rs      a generation -> text as it comes, and a record of it
//! store.rs       where deltas are kept; learning.rs: what adapt and delta share
//! terminal.rs    results to stdout, everything else to stderr
//! interrupt.rs   Ctrl-C
//! failure.rs     errors and exit codes
//! bandwidth.rs   how fast this machine reads memory
//! cache.rs       where downloads are kept; fetch.rs brings the demo's model there
//! ```

mod answer;
mod args;
mod bandwidth;
mod cache;
mod commands;
mod experts;
mod failure;
mod fetch;
mod form;
mod input;
mod interrupt;
mod learning;
mod machine;
mod setup;
mod stats;
mod store;
mod terminal;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match args::Cli::try_parse() {
        Ok(cli) => commands::run(&cli),
        Err(error) => failure::from_clap(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
