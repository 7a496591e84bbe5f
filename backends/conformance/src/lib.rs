//! Runs every op of a plugin against the reference.
