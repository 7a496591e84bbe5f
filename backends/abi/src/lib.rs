//! The C ABI between the runtime and its backend plugins.
