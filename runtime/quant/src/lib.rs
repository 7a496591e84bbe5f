//! Block formats of model weights.
