//! Masks against brute force over whole vocabularies, and sources that mean harm.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // Helpers of tests may fail loudly too.

mod common;
mod gbnf;
mod hostile;
mod regexes;
