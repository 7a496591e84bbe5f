//! What plugins tell about devices, weights and states, as owned plain data.

use super::call::one_line;
use tern_abi::table::{device_flags, device_kind};

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// Processor.
    Cpu,
    /// Graphics processor with its own memory.
    Gpu,
    /// Graphics processor that shares the processor's memory.
    IntegratedGpu,
    /// Anything else, kinds of a newer ABI included.
    Accelerator,
}

/// A device, before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What it is.
    pub kind: DeviceKind,
    /// For people.
    pub name: String,
    /// The instruction set in use: "avx512-vnni", "sm_90".
    pub tier: String,
    /// Bits of [`tern_abi::table::device_flags`].
    pub flags: u32,
    /// All memory in bytes; 0 where unknown.
    pub memory_total: u64,
    /// Largest single buffer in bytes; 0 where unlimited.
    pub max_buffer: u64,
    /// Alignment that offsets into buffers must have: a power of two.
    pub alignment: u64,
    /// Results do not depend on threads, chunking or the rest of the batch.
    pub deterministic: bool,
}

impl DeviceInfo {
    /// The struct, or what is wrong with it.
    pub(super) fn from_abi(raw: &tern_abi::DeviceInfo) -> Result<Self, String> {
        // Zero is what a plugin leaves that has no demands.
        let alignment = raw.alignment.max(1);
        if !alignment.is_power_of_two() {
            return Err(format!("an alignment of {alignment}, which is not a power of two"));
        }
        Ok(Self {
            kind: match raw.kind {
                device_kind::CPU => DeviceKind::Cpu,
                device_kind::GPU => DeviceKind::Gpu,
                device_kind::INTEGRATED_GPU => DeviceKind::IntegratedGpu,
                _ => DeviceKind::Accelerator,
            },
            name: padded(&raw.name),
            tier: padded(&raw.tier),
            flags: raw.flags,
            memory_total: raw.memory_total,
            max_buffer: raw.max_buffer,
            alignment,
            deterministic: raw.flags & device_flags::DETERMINISTIC != 0,
        })
    }
}

fn padded(text: &[u8]) -> String {
    one_line(text.split(|&b| b == 0).next().unwrap_or_default())
}

/// A device's memory now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Bytes free; 0 where unknown.
    pub free: u64,
    /// Bytes in all; 0 where unknown.
    pub total: u64,
    /// Bytes the plugin holds.
    pub used: u64,
}

/// How much arithmetic a device does at best, measured: multiplications and additions a second. `None` where unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Peaks {
    /// With 32-bit floats.
    pub f32_ops: Option<f64>,
    /// With bytes, summed in 32 bits.
    pub i8_ops: Option<f64>,
}

/// What became of a weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightInfo {
    /// Device memory it takes.
    pub resident_bytes: u64,
    /// Bytes that one matrix-vector product reads.
    pub stream_bytes: u64,
    /// The plugin works on the source itself, which stays alive with the weight.
    pub keeps_source: bool,
    /// The plugin's own number of its layout, for diagnosis.
    pub layout: u32,
    /// Of experts that stay in the file: how often one was packed already when an op used it.
    pub hits: u64,
    /// How often one was not.
    pub misses: u64,
    /// Bytes of the file that were read for those.
    pub read_bytes: u64,
}

/// How large a state's unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLayout {
    /// Bytes of a unit in a state buffer.
    pub unit_bytes: u64,
    /// Bytes of a unit in canonical layout.
    pub canonical_bytes: u64,
}
