//! Finding, opening and driving backends, with plugins that behave and plugins that do not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's own helpers fail by panicking")]

#[path = "../../../../tests/plugins/src/lib.rs"]
mod toy;

mod bindings;
mod driving;
#[cfg(all(feature = "dynamic", not(target_family = "wasm"), not(target_os = "ios")))]
mod libraries;
#[cfg(all(feature = "dynamic", not(target_family = "wasm"), not(target_os = "ios")))]
mod manifests;
mod pending;
mod setup;
mod tables;
