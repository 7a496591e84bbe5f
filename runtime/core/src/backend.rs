//! Backend plugins: finding, opening and driving them.
//!
//! The safe side of [`tern_abi`]. A [`Registry`] holds the plugins that were registered or found; a
//! [`Backend`] opens a [`Device`]; buffers, weights, compiled graphs and bind sets are made on a device,
//! keep it open, and are freed when dropped. What a caller passes is checked here, before a plugin sees it;
//! what a plugin answers is checked too, and each of its failures is a [`BackendError`] that says who, where
//! and why. A plugin itself is trusted: to load one is to run its code.

mod bind;
mod budget;
mod buffer;
mod bytes;
mod call;
mod cancel;
mod check;
mod device;
mod error;
mod exec;
mod folders;
mod graph;
mod info;
#[cfg(all(feature = "dynamic", not(target_family = "wasm"), not(target_os = "ios")))]
mod library;
mod log;
mod registry;
mod table;
mod weight;

pub use bind::{BindSet, Bound};
pub use budget::{Budget, Reserved};
pub use buffer::Buffer;
pub use cancel::CancelFlag;
pub use device::Device;
pub use error::{BackendError, Result, status_name};
pub use exec::{Exec, StepArgs};
pub use folders::{ENV_PATH, default_folders};
pub use graph::{GraphDesc, OpDesc};
pub use info::{DeviceInfo, DeviceKind, MemoryInfo, Peaks, StateLayout, WeightInfo};
pub use log::{Level, LogSink};
pub use registry::{Outcome, Registry, Report};
pub use table::Backend;
pub use tern_abi::state::StateDesc;
pub use weight::{LastingBytes, Weight, WeightBytes, WeightSpec};
