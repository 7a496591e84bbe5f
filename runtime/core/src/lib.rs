//! Tern: a small-language-model runtime that applications embed and that keeps learning where it runs.

pub mod backend;
