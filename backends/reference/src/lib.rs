//! Reference backend: every op, slow and obvious.
