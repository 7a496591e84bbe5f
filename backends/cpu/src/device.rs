//! The plugin and its one device.

use crate::exec::Compiled;
use crate::memory::{self, Memory};
use crate::moving::Moving;
use crate::op::Ctx;
use crate::ops::compile_op;
use crate::pool::Pool;
use crate::state;
use crate::tier::Tier;
use crate::weight::Prepared;
use tern_abi::plugin::{Device, GraphView, OpenOptions, Plugin, PluginError, Release, Result, RunView, WeightSpec};
use tern_abi::state::StateDesc;
use tern_abi::table::{DeviceInfo, device_flags, device_kind, verdict};
use tern_abi::weight::WeightInfo;

/// The CPU plugin.
pub struct CpuPlugin;

/// An opened processor: a tier and a pool of threads.
pub struct CpuDevice {
    tier: Tier,
    pool: Pool,
    moving: Moving,
}

impl Plugin for CpuPlugin {
    type Device = CpuDevice;
    const NAME: &'static str = "cpu";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn score() -> Result<i32> {
        // Below every GPU; the tier decides among CPU plugins.
        Ok(match Tier::choose("")? {
            Tier::Scalar => 40,
            Tier::Avx2 | Tier::Neon | Tier::Simd128 => 60,
            Tier::AvxVnni | Tier::NeonDotprod | Tier::RelaxedSimd => 65,
            Tier::Avx512 | Tier::Avx512Ymm | Tier::NeonI8mm => 70,
        })
    }

    fn device_info(index: u32, info: &mut DeviceInfo) -> Result<()> {
        one_device(index)?;
        info.kind = device_kind::CPU;
        info.flags = device_flags::DETERMINISTIC | device_flags::UNIFIED;
        write_text(&mut info.name, "CPU");
        write_text(&mut info.tier, Tier::choose("")?.name());
        info.memory_total = memory::machine().1;
        info.max_buffer = 0;
        info.alignment = memory::ALIGN as u64;
        Ok(())
    }

    fn open(index: u32, options: &OpenOptions) -> Result<CpuDevice> {
        one_device(index)?;
        Ok(CpuDevice {
            tier: Tier::choose(&options.tier)?,
            pool: Pool::new(options.threads as usize),
            moving: Moving::default(),
        })
    }
}

fn one_device(index: u32) -> Result<()> {
    match index {
        0 => Ok(()),
        _ => Err(PluginError::argument(format!("device {index}: there is only device 0"))),
    }
}

fn write_text(to: &mut [u8], text: &str) {
    to.fill(0);
    for (to, from) in to.iter_mut().zip(text.bytes()) {
        *to = from;
    }
}

impl CpuDevice {
    /// Its threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
    /// Weights on their way into its memory.
    pub fn moving(&self) -> &Moving {
        &self.moving
    }
    /// Its tier.
    pub fn tier(&self) -> Tier {
        self.tier
    }
    fn ctx(&self) -> Ctx {
        Ctx { tier: self.tier, threads: self.pool.count() }
    }
}

impl Device for CpuDevice {
    type Buffer = Memory;
    type Weight = Prepared;
    type Exec = Compiled;

    fn memory(&self) -> Result<(u64, u64, u64)> {
        let (free, total) = memory::machine();
        Ok((free, total, memory::used()))
    }
    fn peaks(&self) -> Result<(f64, f64)> {
        crate::peaks::measure(self.tier, &self.pool)
    }

    fn supports(&self, graph: &GraphView<'_>) -> Result<Vec<u8>> {
        let ctx = self.ctx();
        let answer = |op| if compile_op(graph, op, &ctx).is_ok() { verdict::YES } else { verdict::NO };
        Ok(graph.ops.iter().map(answer).collect())
    }

    fn alloc(&self, len: u64) -> Result<Memory> {
        let len = usize::try_from(len).map_err(|_| PluginError::out_of_memory(format!("{len} bytes")))?;
        Memory::zeroed(len)
    }
    fn buffer_len(&self, buffer: &Memory) -> u64 {
        buffer.len() as u64
    }
    fn write(&self, buffer: &Memory, offset: u64, src: &[u8]) -> Result<()> {
        // SAFETY: the range has been checked; the host orders its calls on a buffer.
        unsafe { buffer.ptr().add(offset as usize).copy_from_nonoverlapping(src.as_ptr(), src.len()) };
        Ok(())
    }
    fn read(&self, buffer: &Memory, offset: u64, dst: &mut [u8]) -> Result<()> {
        // SAFETY: as above.
        unsafe { buffer.ptr().add(offset as usize).copy_to_nonoverlapping(dst.as_mut_ptr(), dst.len()) };
        Ok(())
    }
    fn copy(&self, dst: &Memory, dst_offset: u64, src: &Memory, src_offset: u64, len: u64) -> Result<()> {
        // SAFETY: as above; ranges in one buffer are apart.
        unsafe {
            let from = src.ptr().add(src_offset as usize);
            dst.ptr().add(dst_offset as usize).copy_from_nonoverlapping(from, len as usize);
        }
        Ok(())
    }
    fn fill(&self, buffer: &Memory, offset: u64, len: u64, byte: u8) -> Result<()> {
        // SAFETY: as above.
        unsafe { buffer.ptr().add(offset as usize).write_bytes(byte, len as usize) };
        Ok(())
    }

    fn prepare(&self, spec: &WeightSpec<'_>, source: &[u8], cancel: &dyn Fn() -> bool) -> Result<Prepared> {
        Prepared::new(spec, source, &self.pool, cancel)
    }
    unsafe fn prepare_lasting(
        &self,
        spec: &WeightSpec<'_>,
        source: &[u8],
        release: Release,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Prepared> {
        // SAFETY: passed on.
        let weight = unsafe { Prepared::lasting(spec, source, release, &self.pool, cancel) }?;
        self.moving.expect(&weight);
        Ok(weight)
    }
    unsafe fn prepare_paged(
        &self,
        spec: &WeightSpec<'_>,
        source: &[u8],
        release: Release,
        _cancel: &dyn Fn() -> bool,
    ) -> Result<Prepared> {
        // SAFETY: passed on.
        unsafe { Prepared::paged(spec, source, release) }
    }
    fn weight_layout(&self, spec: &WeightSpec<'_>, lasting: bool, info: &mut WeightInfo) -> Result<()> {
        Prepared::layout(spec, lasting, info)
    }
    fn weight_info(&self, weight: &Prepared, info: &mut WeightInfo) {
        weight.info(info);
    }
    fn read_rows(&self, weight: &Prepared, first: u64, out: &mut [f32]) -> Result<()> {
        weight.read_rows(first, out)
    }

    fn state_layout(&self, desc: &StateDesc) -> Result<(u64, u64)> {
        let layout = state::Layout::of(desc)?;
        Ok((layout.unit_bytes() as u64, layout.canonical_bytes() as u64))
    }
    fn state_export(&self, desc: &StateDesc, buffer: &Memory, unit: u64, dst: &mut [u8]) -> Result<()> {
        let layout = state::Layout::of(desc)?;
        let bytes = layout.unit_bytes();
        // SAFETY: the unit has been checked to lie in the buffer; the host orders its calls on a buffer.
        let unit = unsafe { std::slice::from_raw_parts(buffer.ptr().add(unit as usize * bytes), bytes) };
        layout.export(unit, dst);
        Ok(())
    }
    fn state_import(&self, desc: &StateDesc, buffer: &Memory, unit: u64, src: &[u8]) -> Result<()> {
        let layout = state::Layout::of(desc)?;
        let bytes = layout.unit_bytes();
        // SAFETY: as above.
        let unit = unsafe { std::slice::from_raw_parts_mut(buffer.ptr().add(unit as usize * bytes), bytes) };
        layout.import(src, unit);
        Ok(())
    }

    fn compile(&self, graph: &GraphView<'_>) -> Result<Compiled> {
        Compiled::new(graph, &self.ctx())
    }
    fn scratch_bytes(&self, exec: &Compiled) -> u64 {
        exec.scratch_bytes() as u64
    }
    fn run(&self, exec: &Compiled, step: &RunView<'_, Self>) -> Result<()> {
        exec.run(self, step)
    }
}
