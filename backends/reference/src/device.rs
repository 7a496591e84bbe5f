//! The device: buffers, weights, states, graphs.

use crate::exec::{CompiledOp, Exec};
use crate::memory::Memory;
use crate::state::unit_bytes;
use crate::{Error, Weight, step};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tern_abi::plugin::{Device, GraphView, PluginError, Result, RunView, WeightSpec};
use tern_abi::state::StateDesc;
use tern_abi::table::verdict;
use tern_abi::weight::{WeightInfo, usage};

/// An opened device.
#[derive(Debug, Default)]
pub struct ReferenceDevice {
    used: Arc<AtomicU64>,
}

fn in_memory(n: u64) -> crate::Result<usize> {
    usize::try_from(n).map_err(|_| Error::OutOfMemory { bytes: n })
}

impl Device for ReferenceDevice {
    type Buffer = Memory;
    type Weight = Weight;
    type Exec = Exec;

    fn memory(&self) -> Result<(u64, u64, u64)> {
        Ok((0, 0, self.used.load(Ordering::Relaxed)))
    }
    fn supports(&self, graph: &GraphView<'_>) -> Result<Vec<u8>> {
        // Slow is the point of it: anything else that has the op is faster.
        let verdict = |op| if CompiledOp::new(op, graph).is_ok() { verdict::SLOW } else { verdict::NO };
        Ok(graph.ops.iter().map(verdict).collect())
    }

    fn alloc(&self, len: u64) -> Result<Memory> {
        Ok(Memory::new(len, &self.used)?)
    }
    fn buffer_len(&self, buffer: &Memory) -> u64 {
        buffer.len()
    }
    fn write(&self, buffer: &Memory, offset: u64, src: &[u8]) -> Result<()> {
        Ok(buffer.set(offset, src)?)
    }
    fn read(&self, buffer: &Memory, offset: u64, dst: &mut [u8]) -> Result<()> {
        dst.copy_from_slice(&buffer.get(offset, dst.len())?);
        Ok(())
    }
    fn copy(&self, dst: &Memory, dst_offset: u64, src: &Memory, src_offset: u64, len: u64) -> Result<()> {
        Ok(dst.set(dst_offset, &src.get(src_offset, in_memory(len)?)?)?)
    }
    fn fill(&self, buffer: &Memory, offset: u64, len: u64, byte: u8) -> Result<()> {
        Ok(buffer.fill(offset, len, byte)?)
    }

    fn prepare(&self, spec: &WeightSpec<'_>, source: &[u8], cancel: &dyn Fn() -> bool) -> Result<Weight> {
        if cancel() {
            return Err(PluginError::cancelled());
        }
        let shape: Vec<usize> = spec.shape.iter().map(|&d| in_memory(d)).collect::<crate::Result<_>>()?;
        Ok(Weight::new(spec.name, spec.dtype, &shape, spec.usage & usage::TRAINABLE != 0, source)?)
    }
    fn weight_layout(&self, spec: &WeightSpec<'_>, _lasting: bool, info: &mut WeightInfo) -> Result<()> {
        let dtype = tern_quant::DType::from_code(spec.dtype);
        let elements = spec.shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(usize::try_from(d).ok()?));
        let bytes = dtype.zip(elements).and_then(|(dtype, n)| dtype.tensor_bytes(n as u64));
        let bytes =
            bytes.ok_or_else(|| PluginError::unsupported(format!("weight {}: dtype {}", spec.name, spec.dtype)))?;
        (info.resident_bytes, info.stream_bytes) = (bytes, bytes);
        (info.keeps_source, info.layout) = (0, 0);
        Ok(())
    }
    fn weight_info(&self, weight: &Weight, info: &mut WeightInfo) {
        info.resident_bytes = weight.byte_len() as u64;
        info.stream_bytes = info.resident_bytes;
        info.keeps_source = 0;
        info.layout = 0;
    }
    fn read_rows(&self, weight: &Weight, first: u64, out: &mut [f32]) -> Result<()> {
        let (first, columns) = (in_memory(first)?, weight.columns().max(1));
        for (i, row) in out.chunks_mut(columns).enumerate() {
            let values = weight.row(first.saturating_add(i))?;
            row.iter_mut().zip(values).for_each(|(y, x)| *y = x as f32);
        }
        Ok(())
    }
    fn update_rows(&self, weight: &Weight, first: u64, src: &[f32]) -> Result<()> {
        Ok(weight.update(in_memory(first)?, src)?)
    }

    fn state_layout(&self, desc: &StateDesc) -> Result<(u64, u64)> {
        let bytes = unit_bytes(desc)?;
        Ok((bytes, bytes))
    }
    fn state_export(&self, desc: &StateDesc, buffer: &Memory, unit: u64, dst: &mut [u8]) -> Result<()> {
        self.read(buffer, unit.saturating_mul(unit_bytes(desc)?), dst)
    }
    fn state_import(&self, desc: &StateDesc, buffer: &Memory, unit: u64, src: &[u8]) -> Result<()> {
        self.write(buffer, unit.saturating_mul(unit_bytes(desc)?), src)
    }

    fn compile(&self, graph: &GraphView<'_>) -> Result<Exec> {
        Ok(Exec::new(graph)?)
    }
    fn scratch_bytes(&self, _exec: &Exec) -> u64 {
        0
    }
    fn run(&self, exec: &Exec, view: &RunView<'_, Self>) -> Result<()> {
        Ok(step::run(exec, view)?)
    }
}
