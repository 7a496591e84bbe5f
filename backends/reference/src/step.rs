//! One run of a compiled graph.

use crate::arena::Arena;
use crate::device::ReferenceDevice;
use crate::exec::{ALIGNMENT, CompiledOp, Exec, byte_len, sizes};
use crate::memory::Memory;
use crate::rowwise::differentiate;
use crate::state::StateMemory;
use crate::{Args, Data, Error, Kernel, Output, Real, Result, Value, Weight};
use std::time::Instant;
use tern_abi::dtype;
use tern_abi::graph::place;
use tern_abi::plugin::{Resolved, RunView};

/// Where a tensor's bytes are.
struct Located<'a> {
    memory: &'a Memory,
    offset: u64,
    bytes: u64,
}

pub(crate) struct Step<'a> {
    exec: &'a Exec,
    view: &'a RunView<'a, ReferenceDevice>,
    arena: Arena,
}

/// Runs every op in order.
pub(crate) fn run(exec: &Exec, view: &RunView<'_, ReferenceDevice>) -> Result<()> {
    for (dim, (&found, &max)) in view.dims.iter().zip(&exec.dim_max).enumerate() {
        if found > max {
            return Err(Error::Dim { dim, found, max });
        }
    }
    if exec.arena_bytes > 0 {
        match view.arena {
            // All ones is NaN in F32 and F64 and -1 in I32: nothing an op could mistake for data.
            Resolved::Buffer(memory, offset, len) if len >= exec.arena_bytes => {
                memory.fill(offset, exec.arena_bytes, 0xff)?;
            }
            Resolved::Buffer(_, offset, bound) => {
                return Err(Error::Binding { tensor: 0, offset, need: exec.arena_bytes, bound });
            }
            other => return Err(slot_error(0, &other, "an arena")),
        }
    }
    let mut step = Step { exec, view, arena: Arena::default() };
    for (i, op) in exec.ops.iter().enumerate() {
        if view.cancelled() {
            return Err(Error::Cancelled);
        }
        let start = view.profiling().then(Instant::now);
        step.op(i, op)?;
        if let Some(start) = start {
            view.add_profile(i, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    Ok(())
}

fn slot_error(tensor: usize, found: &Resolved<'_, ReferenceDevice>, expected: &'static str) -> Error {
    let found = match found {
        Resolved::Buffer(..) => "a buffer",
        Resolved::Weight(_) => "a weight",
        Resolved::Empty => "nothing",
    };
    Error::Slot { tensor, found, expected }
}

impl<'a> Step<'a> {
    fn op(&mut self, i: usize, op: &CompiledOp) -> Result<()> {
        op.check(&self.exec.tensors, &self.view.dims)?;
        if op.gradient {
            self.gradient(i, op)
        } else if op.exact {
            self.forward::<f64>(i, op)
        } else {
            self.forward::<f32>(i, op)
        }
    }

    fn forward<R: Real>(&mut self, i: usize, op: &CompiledOp) -> Result<()> {
        let values = self.load_all::<R>(i, op, 0..op.inputs.len())?;
        let args = Args { op: op.kernel.name(), sequences: op.sequences(&self.view.dims), values };
        let outputs = op.kernel.forward(&args)?;
        for (output, tensor) in outputs.into_iter().zip(&op.outputs) {
            match (output, tensor) {
                (Output::Real(data), &Some(t)) => self.store_real(t, &data)?,
                (Output::Int(data), &Some(t)) => {
                    self.store(t, &data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?;
                }
                (Output::State, _) | (_, None) => {}
            }
        }
        Ok(())
    }

    fn gradient(&mut self, i: usize, op: &CompiledOp) -> Result<()> {
        let (n_in, n_out) = op.kernel.arity();
        let inputs = self.load_all::<f64>(i, op, 0..n_in)?;
        let seeds = self.load_all::<f64>(i, op, n_in..n_in + n_out)?;
        let seeds: Vec<_> = seeds
            .into_iter()
            .map(|v| match v.map(|v| v.data) {
                Some(Data::Real(x)) => Some(x),
                _ => None,
            })
            .collect();
        let wanted: Vec<bool> = op.outputs.iter().map(Option::is_some).collect();
        let gradients = differentiate(&op.kernel, &inputs, op.sequences(&self.view.dims), &seeds, &wanted)?;
        for (gradient, tensor) in gradients.into_iter().zip(&op.outputs) {
            if let (Some(gradient), &Some(t)) = (gradient, tensor) {
                self.store_real(t, &gradient.values)?;
            }
        }
        Ok(())
    }

    fn load_all<R: Real>(
        &self,
        i: usize,
        op: &CompiledOp,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Option<Value<'a, R>>>> {
        let load = |n: usize| op.inputs.get(n).copied().flatten().map(|t| self.load(i, &op.kernel, n, t)).transpose();
        range.map(load).collect()
    }

    /// Tensor `t` as input `n` of op `i`.
    fn load<R: Real>(&self, i: usize, kernel: &Kernel, n: usize, t: usize) -> Result<Value<'a, R>> {
        let tensor = &self.exec.tensors[t];
        let shape = sizes(tensor, &self.view.dims)?;
        let data = match tensor.place {
            place::WEIGHT => self.load_weight(kernel.matrix(n), t, &shape)?,
            place::STATE => Data::State(self.state(kernel, t)?),
            _ => {
                let at = self.locate(t, &shape)?;
                if tensor.place == place::ARENA {
                    let (begin, end) = (tensor.offset, tensor.offset + at.bytes);
                    self.arena.read(i, t, begin, end, self.exec.yielded[t])?;
                }
                let bytes = at.memory.get(at.offset, at.bytes as usize)?;
                match tensor.dtype {
                    dtype::I32 => Data::Int(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect()),
                    dtype::F32 => {
                        let real = |b: &[u8; 4]| R::of(f64::from(f32::from_le_bytes(*b)));
                        Data::Real(bytes.as_chunks().0.iter().map(real).collect())
                    }
                    dtype::F64 => {
                        Data::Real(bytes.as_chunks().0.iter().map(|b| R::of(f64::from_le_bytes(*b))).collect())
                    }
                    _ => return Err(Error::Tensor { tensor: t, what: "its dtype is none that ops take" }),
                }
            }
        };
        Ok(Value { shape, data })
    }

    fn load_weight<R: Real>(&self, matrix: bool, t: usize, shape: &[usize]) -> Result<Data<'a, R>> {
        let tensor = &self.exec.tensors[t];
        let weight: &'a Weight = match self.slot(t) {
            Resolved::Weight(weight) => weight,
            other => return Err(slot_error(t, &other, "a weight")),
        };
        if weight.dtype().code() != tensor.dtype || weight.shape() != shape {
            return Err(Error::WeightBound {
                name: weight.name().to_owned(),
                found_dtype: weight.dtype().code(),
                found: weight.shape().to_vec(),
                expected_dtype: tensor.dtype,
                expected: shape.to_vec(),
            });
        }
        if matrix {
            return Ok(Data::Weight(weight));
        }
        let mut all = Vec::new();
        for row in 0..weight.rows() {
            all.extend(weight.row(row)?.into_iter().map(R::of));
        }
        Ok(Data::Real(all))
    }

    fn state(&self, kernel: &Kernel, t: usize) -> Result<StateMemory<'a>> {
        let tensor = &self.exec.tensors[t];
        let (memory, offset, len) = match self.slot(t) {
            Resolved::Buffer(memory, offset, len) => (memory, offset, len),
            other => return Err(slot_error(t, &other, "a buffer")),
        };
        let bytes = len.checked_sub(tensor.offset);
        let bytes = bytes.ok_or(Error::Binding { tensor: t, offset: tensor.offset, need: 0, bound: len })?;
        let dtype = match kernel {
            Kernel::Attention(op) => op.0.kv_dtype,
            _ if tensor.dtype == dtype::F64 => dtype::F64,
            _ => dtype::F32,
        };
        Ok(StateMemory { memory, offset: offset + tensor.offset, bytes, dtype })
    }

    fn slot(&self, t: usize) -> Resolved<'a, ReferenceDevice> {
        let tensor = &self.exec.tensors[t];
        let slot = tensor.slot as usize;
        let found = match tensor.place {
            place::ARENA => Some(self.view.arena),
            place::STEP => self.view.steps.get(slot).copied(),
            _ => self.view.fixed.get(slot).copied(),
        };
        found.unwrap_or(Resolved::Empty)
    }

    fn locate(&self, t: usize, shape: &[usize]) -> Result<Located<'a>> {
        let tensor = &self.exec.tensors[t];
        let need = byte_len(t, tensor.dtype, shape)?;
        let (memory, base, bound) = match self.slot(t) {
            Resolved::Buffer(memory, base, bound) => (memory, base, bound),
            other => return Err(slot_error(t, &other, "a buffer")),
        };
        if tensor.offset.checked_add(need).is_none_or(|end| end > bound) {
            return Err(Error::Binding { tensor: t, offset: tensor.offset, need, bound });
        }
        if !base.is_multiple_of(ALIGNMENT) {
            return Err(Error::Tensor { tensor: t, what: "its binding is not aligned as the device asks" });
        }
        Ok(Located { memory, offset: base + tensor.offset, bytes: need })
    }

    fn store_real<R: Real>(&mut self, t: usize, data: &[R]) -> Result<()> {
        let bytes: Vec<u8> = match self.exec.tensors[t].dtype {
            dtype::F64 => data.iter().flat_map(|x| x.value().to_le_bytes()).collect(),
            _ => data.iter().flat_map(|x| (x.value() as f32).to_le_bytes()).collect(),
        };
        self.store(t, &bytes)
    }

    fn store(&mut self, t: usize, bytes: &[u8]) -> Result<()> {
        let tensor = &self.exec.tensors[t];
        let at = self.locate(t, &sizes(tensor, &self.view.dims)?)?;
        if at.bytes != bytes.len() as u64 {
            return Err(Error::Internal("an op yields another number of elements than its shape rule says"));
        }
        at.memory.set(at.offset, bytes)?;
        if tensor.place == place::ARENA {
            self.arena.wrote(t, tensor.offset, tensor.offset + at.bytes);
        }
        Ok(())
    }
}
