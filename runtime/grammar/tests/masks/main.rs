//! Masks against brute force over whole vocabularies, and sources that mean harm.

// Helpers of tests may fail loudly too, and tell how long hostile sources took.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;
mod gbnf;
mod hostile;
mod regexes;
