//! A plugin that can do one op, `ADD`, and misbehave where it is told to.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tern_abi::DeviceInfo;
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::ops;
use tern_abi::plugin::{Device, GraphView, OpenOptions, Plugin, PluginError, Resolved, Result, RunView, WeightSpec};
use tern_abi::state::StateDesc;
use tern_abi::table::{device_flags, device_kind, verdict};
use tern_abi::weight::WeightInfo;

/// How a toy behaves.
pub trait Behaviour: Send + Sync + 'static {
    /// The backend's name.
    const NAME: &'static str;
    /// Does a weight keep its source?
    const KEEPS_SOURCE: bool = false;
    /// See [`Plugin::score`].
    fn score() -> Result<i32> {
        Ok(10)
    }
    /// Happens in every `prepare`.
    fn prepare() -> Result<()> {
        Ok(())
    }
    /// Happens in every `run`.
    fn run(_cancelled: &dyn Fn() -> bool) -> Result<()> {
        Ok(())
    }
    /// Happens when a device closes.
    fn closed() {}
}

/// A well-behaved toy.
pub struct Good;

impl Behaviour for Good {
    const NAME: &'static str = "good";
}

/// The plugin.
pub struct Toy<B>(PhantomData<B>);

/// Its one device.
pub struct ToyDevice<B: Behaviour> {
    used: Arc<AtomicU64>,
    behaviour: PhantomData<B>,
}

/// Host memory that counts itself.
pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    used: Arc<AtomicU64>,
}

/// Rows of floats.
pub struct Rows {
    memory: Memory,
    row: usize,
}

/// `a + b` for each op.
pub struct Sums {
    tensors: Vec<Tensor>,
    ops: Vec<[usize; 3]>,
}

impl<B: Behaviour> Plugin for Toy<B> {
    type Device = ToyDevice<B>;
    const NAME: &'static str = B::NAME;
    const VERSION: &'static str = "1.2.3";
    fn score() -> Result<i32> {
        B::score()
    }
    fn device_info(index: u32, info: &mut DeviceInfo) -> Result<()> {
        if index != 0 {
            return Err(PluginError::argument(format!("there is no device {index}")));
        }
        info.kind = device_kind::CPU;
        info.flags = device_flags::DETERMINISTIC;
        info.name[..3].copy_from_slice(b"toy");
        info.tier[..5].copy_from_slice(b"plain");
        info.max_buffer = 1 << 20;
        info.alignment = 16;
        Ok(())
    }
    fn open(_index: u32, options: &OpenOptions) -> Result<Self::Device> {
        match options.tier.as_str() {
            "" | "plain" => Ok(ToyDevice { used: Arc::default(), behaviour: PhantomData }),
            other => Err(PluginError::unsupported(format!("no tier {other:?}"))),
        }
    }
}

impl<B: Behaviour> Drop for ToyDevice<B> {
    fn drop(&mut self) {
        B::closed();
    }
}

impl Memory {
    fn new(bytes: Vec<u8>, used: &Arc<AtomicU64>) -> Self {
        used.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Self { bytes: Mutex::new(bytes), used: Arc::clone(used) }
    }
    fn with<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let len = self.with(|b| b.len()) as u64;
        self.used.fetch_sub(len, Ordering::Relaxed);
    }
}

impl<B: Behaviour> Device for ToyDevice<B> {
    type Buffer = Memory;
    type Weight = Rows;
    type Exec = Sums;

    fn memory(&self) -> Result<(u64, u64, u64)> {
        Ok((0, 0, self.used.load(Ordering::Relaxed)))
    }
    fn supports(&self, graph: &GraphView<'_>) -> Result<Vec<u8>> {
        Ok(graph.ops.iter().map(|op| if op.op == ops::ADD { verdict::YES } else { verdict::NO }).collect())
    }
    fn alloc(&self, len: u64) -> Result<Memory> {
        Ok(Memory::new(vec![0; len as usize], &self.used))
    }
    fn buffer_len(&self, buffer: &Memory) -> u64 {
        buffer.with(|b| b.len()) as u64
    }
    fn write(&self, buffer: &Memory, offset: u64, src: &[u8]) -> Result<()> {
        buffer.with(|b| b[offset as usize..][..src.len()].copy_from_slice(src));
        Ok(())
    }
    fn read(&self, buffer: &Memory, offset: u64, dst: &mut [u8]) -> Result<()> {
        buffer.with(|b| dst.copy_from_slice(&b[offset as usize..][..dst.len()]));
        Ok(())
    }
    fn copy(&self, dst: &Memory, dst_offset: u64, src: &Memory, src_offset: u64, len: u64) -> Result<()> {
        let part = src.with(|b| b[src_offset as usize..][..len as usize].to_vec());
        self.write(dst, dst_offset, &part)
    }
    fn fill(&self, buffer: &Memory, offset: u64, len: u64, byte: u8) -> Result<()> {
        buffer.with(|b| b[offset as usize..][..len as usize].fill(byte));
        Ok(())
    }
    fn prepare(&self, spec: &WeightSpec<'_>, source: &[u8], cancel: &dyn Fn() -> bool) -> Result<Rows> {
        B::prepare()?;
        if cancel() {
            return Err(PluginError::cancelled());
        }
        if spec.dtype != tern_abi::dtype::F32 {
            return Err(PluginError::unsupported(format!("{}: dtype {}", spec.name, spec.dtype)));
        }
        let row = spec.shape.last().copied().unwrap_or(1) as usize;
        Ok(Rows { memory: Memory::new(source.to_vec(), &self.used), row })
    }
    fn weight_info(&self, weight: &Rows, info: &mut WeightInfo) {
        info.resident_bytes = self.buffer_len(&weight.memory);
        info.stream_bytes = info.resident_bytes;
        info.keeps_source = u32::from(B::KEEPS_SOURCE);
        info.layout = 1;
    }
    fn read_rows(&self, weight: &Rows, first: u64, out: &mut [f32]) -> Result<()> {
        let start = first as usize * weight.row * 4;
        weight.memory.with(|b| {
            for (o, v) in out.iter_mut().zip(b[start..].as_chunks().0) {
                *o = f32::from_ne_bytes(*v);
            }
        });
        Ok(())
    }
    fn update_rows(&self, weight: &Rows, first: u64, src: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = src.iter().flat_map(|v| v.to_ne_bytes()).collect();
        self.write(&weight.memory, first * weight.row as u64 * 4, &bytes)
    }

    /// A unit in a buffer has a head of 16 bytes that the canonical form lacks.
    fn state_layout(&self, desc: &StateDesc) -> Result<(u64, u64)> {
        Ok((16 + desc.dims[0], desc.dims[0]))
    }
    fn state_export(&self, desc: &StateDesc, buffer: &Memory, unit: u64, dst: &mut [u8]) -> Result<()> {
        self.read(buffer, unit * (16 + desc.dims[0]) + 16, dst)
    }
    fn state_import(&self, desc: &StateDesc, buffer: &Memory, unit: u64, src: &[u8]) -> Result<()> {
        self.write(buffer, unit * (16 + desc.dims[0]) + 16, src)
    }

    fn compile(&self, graph: &GraphView<'_>) -> Result<Sums> {
        let sum = |op: &tern_abi::plugin::OpView<'_>| match (op.op, op.input(0), op.input(1), op.output(0)) {
            (ops::ADD, Some(a), Some(b), Some(y)) => Ok([a, b, y]),
            _ => Err(PluginError::unsupported(format!("op {}", op.op))),
        };
        Ok(Sums { ops: graph.ops.iter().map(sum).collect::<Result<_>>()?, tensors: graph.tensors.clone() })
    }
    fn scratch_bytes(&self, _exec: &Sums) -> u64 {
        32
    }
    fn run(&self, exec: &Sums, step: &RunView<'_, Self>) -> Result<()> {
        B::run(&|| step.cancelled())?;
        for (i, op) in exec.ops.iter().enumerate() {
            let [(a, at_a), (b, at_b), (y, at_y)] = op.map(|t| locate(&exec.tensors[t], step));
            let t = &exec.tensors[op[2]];
            let sizes = t.shape.iter().zip(&t.dims);
            let n: u64 = sizes.map(|(&s, &d)| if d == dim::FIXED { s } else { step.dims[d as usize] }).product();
            let mut terms = [vec![0; n as usize * 4], vec![0; n as usize * 4]];
            self.read(a, at_a, &mut terms[0])?;
            self.read(b, at_b, &mut terms[1])?;
            let numbers =
                |bytes: &[u8]| -> Vec<f32> { bytes.as_chunks().0.iter().map(|v| f32::from_ne_bytes(*v)).collect() };
            let (x, z) = (numbers(&terms[0]), numbers(&terms[1]));
            let sum: Vec<u8> = x.iter().zip(&z).flat_map(|(x, z)| (x + z).to_ne_bytes()).collect();
            self.write(y, at_y, &sum)?;
            step.add_profile(i, 1 + n);
        }
        Ok(())
    }
}

fn locate<'a, B: Behaviour>(t: &Tensor, step: &RunView<'a, ToyDevice<B>>) -> (&'a Memory, u64) {
    let bound = match t.place {
        place::ARENA => step.arena,
        place::STEP => step.steps[t.slot as usize],
        _ => step.fixed[t.slot as usize],
    };
    match bound {
        Resolved::Buffer(memory, offset, _) => (memory, offset + t.offset),
        Resolved::Weight(rows) => (&rows.memory, 0),
        // The host checks bindings, and a panic would show that it does not.
        Resolved::Empty => unreachable!("an empty slot is used"),
    }
}
