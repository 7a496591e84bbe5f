//! The plugin, as the host sees it.

use crate::device::ReferenceDevice;
use crate::exec::ALIGNMENT;
use tern_abi::plugin::{OpenOptions, Plugin, PluginError, Result};
use tern_abi::table::{DeviceInfo, device_flags, device_kind};
use tern_abi::{export_plugin, status};

/// The reference plugin.
#[derive(Debug)]
pub struct Reference;

/// The one tier.
const TIER: &str = "portable";

fn put(field: &mut [u8], text: &str) {
    field.fill(0);
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
}

impl Plugin for Reference {
    type Device = ReferenceDevice;
    const NAME: &'static str = "reference";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn score() -> Result<i32> {
        Ok(1)
    }
    fn device_info(index: u32, info: &mut DeviceInfo) -> Result<()> {
        if index != 0 {
            return Err(PluginError::argument(format!("device {index}: there is one, 0")));
        }
        info.kind = device_kind::CPU;
        // Not UNIFIED: its memory is nobody else's.
        info.flags = device_flags::DETERMINISTIC;
        put(&mut info.name, "reference");
        put(&mut info.tier, TIER);
        info.memory_total = 0;
        info.max_buffer = 0;
        info.alignment = ALIGNMENT;
        Ok(())
    }
    fn open(index: u32, options: &OpenOptions) -> Result<ReferenceDevice> {
        if index != 0 {
            return Err(PluginError::argument(format!("device {index}: there is one, 0")));
        }
        if !options.tier.is_empty() && options.tier != TIER {
            let message = format!("tier {:?}: there is one, {TIER:?}", options.tier);
            return Err(PluginError::new(status::UNAVAILABLE, message));
        }
        // Threads are ignored: results would be the same and speed is not the point.
        Ok(ReferenceDevice::default())
    }
}

export_plugin!(Reference);
