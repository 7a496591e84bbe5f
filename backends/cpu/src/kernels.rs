//! The arithmetic of the ops.
