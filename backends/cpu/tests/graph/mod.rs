//! Graphs with prepared weights, for tests of the ops that use them.
#![allow(dead_code, reason = "not every file uses all of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

use super::common::{Failure, Rig, call};
use std::ffi::c_void;
use std::mem::offset_of;
use tern_abi::graph::{self, NONE, Op, Tensor, place};
use tern_abi::ops::Params;
use tern_abi::run::{Binding, RunArgs};
use tern_abi::table::ExecInfo;
use tern_abi::weight::{WeightDesc, WeightInfo, WeightSource, usage};
use tern_abi::{Header, Str, dtype};
use tern_quant::{DType, dequantize, quantize};

/// An op: id, inputs, outputs, parameters.
type Call = (u32, Vec<u32>, Vec<u32>, Vec<u8>);

/// A graph on a device of its own.
pub struct Graph {
    rig: Rig,
    tensors: Vec<Tensor>,
    fixed: Vec<Binding>,
    weights: Vec<u64>,
    /// Bytes that weights are used in.
    kept: Vec<Vec<u8>>,
    ops: Vec<Call>,
}

/// What is left of numbers after storing them.
pub fn rounded(dtype: DType, data: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    dequantize(dtype, &stored(dtype, &[columns], data), &mut out).unwrap();
    out
}

/// Numbers as a file has them.
fn stored(dtype: DType, shape: &[usize], data: &[f32]) -> Vec<u8> {
    let columns = shape[shape.len() - 1];
    let mut bytes = vec![0; dtype.row_bytes(columns).unwrap() * data.len() / columns];
    quantize(dtype, data, &mut bytes).unwrap();
    bytes
}

impl Graph {
    pub fn new(tier: &str, threads: u32) -> Self {
        Self {
            rig: Rig::new(tier, threads),
            tensors: vec![],
            fixed: vec![],
            weights: vec![],
            kept: vec![],
            ops: vec![],
        }
    }
    fn tensor(&mut self, dtype: u32, place: u32, shape: &[usize], binding: Binding) -> u32 {
        let slot = self.fixed.len() as u32;
        let rank = shape.len() as u32;
        let mut t = Tensor { dtype, place, slot, rank, shape: [1; 4], dims: [0; 4], offset: 0 };
        for (to, &from) in t.shape.iter_mut().zip(shape) {
            *to = from as u64;
        }
        self.tensors.push(t);
        self.fixed.push(binding);
        slot
    }
    fn buffer(&mut self, dtype: u32, shape: &[usize], bytes: &[u8]) -> u32 {
        let handle = self.rig.alloc(bytes.len());
        self.rig.write(handle, bytes);
        self.tensor(dtype, place::FIXED, shape, Binding { handle, offset: 0, len: bytes.len() as u64 })
    }
    pub fn f32(&mut self, shape: &[usize], data: &[f32]) -> u32 {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.buffer(dtype::F32, shape, &bytes)
    }
    pub fn i32(&mut self, shape: &[usize], data: &[i32]) -> u32 {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.buffer(dtype::I32, shape, &bytes)
    }
    /// Filled with NaN, so that what is not written shows.
    pub fn out(&mut self, shape: &[usize]) -> u32 {
        self.f32(shape, &vec![f32::NAN; shape.iter().product()])
    }
    /// A prepared weight.
    pub fn weight(&mut self, dtype: DType, shape: &[usize], data: &[f32]) -> u32 {
        let bytes = stored(dtype, shape, data);
        self.prepare(dtype, shape, &bytes, false).0
    }
    /// A prepared weight of such bytes.
    pub fn weight_of(&mut self, dtype: DType, shape: &[usize], bytes: &[u8]) -> u32 {
        self.prepare(dtype, shape, bytes, false).0
    }
    /// A weight that may be used where it is, at an odd address; yields whether it is.
    pub fn lasting_weight(&mut self, dtype: DType, shape: &[usize], data: &[f32]) -> (u32, bool) {
        let mut bytes = vec![0xff];
        bytes.extend(stored(dtype, shape, data));
        let weight = self.prepare(dtype, shape, &bytes[1..], true);
        self.kept.push(bytes);
        weight
    }
    /// Yields whether the plugin works on the bytes, which must then stay.
    fn prepare(&mut self, dtype: DType, shape: &[usize], bytes: &[u8], lasting: bool) -> (u32, bool) {
        let mut desc = WeightDesc {
            header: Header::of::<WeightDesc>(),
            dtype: dtype.code(),
            rank: shape.len() as u32,
            usage: usage::FORWARD | usage::GATHER,
            reserved: 0,
            shape: [1; 4],
            name: Str::new("w"),
        };
        for (to, &from) in desc.shape.iter_mut().zip(shape) {
            *to = from as u64;
        }
        let mut header = Header::of::<WeightSource>();
        if !lasting {
            // As from a host of version 1.0, whose struct ends here.
            header.struct_size = offset_of!(WeightSource, lasting) as u32;
        }
        let source = WeightSource {
            header,
            data: bytes.as_ptr(),
            len: bytes.len() as u64,
            read: None,
            user: std::ptr::null_mut::<c_void>(),
            cancel: std::ptr::null(),
            lasting: 1,
            reserved: 0,
        };
        let mut handle = 0;
        let (table, dev) = (self.rig.table, self.rig.dev);
        // SAFETY: valid for the call.
        call(|err| unsafe { (table.weight_prepare.unwrap())(dev, &desc, &source, &mut handle, err) }).unwrap();
        self.weights.push(handle);
        let header = Header::of::<WeightInfo>();
        let mut info = WeightInfo { header, resident_bytes: 0, stream_bytes: 0, keeps_source: 9, layout: 0 };
        // SAFETY: valid for the call.
        call(|err| unsafe { (table.weight_info.unwrap())(dev, handle, &mut info, err) }).unwrap();
        assert_eq!(info.keeps_source, u32::from(info.resident_bytes == 0));
        assert!(info.stream_bytes > 0 && (lasting || info.keeps_source == 0));
        let tensor = self.tensor(dtype.code(), place::WEIGHT, shape, Binding { handle, offset: 0, len: 0 });
        (tensor, info.keeps_source != 0)
    }
    pub fn op<P: Params>(&mut self, id: u32, inputs: &[Option<u32>], outputs: &[u32], params: P) {
        let inputs = inputs.iter().map(|t| t.unwrap_or(NONE)).collect();
        // SAFETY: `Params` types are plain data without padding.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const params).cast::<u8>(), size_of::<P>()) };
        self.ops.push((id, inputs, outputs.to_vec(), bytes.to_vec()));
    }

    /// Compiles, runs once, and reads outputs.
    pub fn run(&self, outputs: &[u32]) -> Result<Vec<Vec<f32>>, Failure> {
        self.compiled(|step| step())?;
        Ok(outputs.iter().map(|&t| self.read(t)).collect())
    }

    /// Compiles, and does with a run of it what is to be done.
    pub fn compiled(
        &self,
        work: impl FnOnce(&mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (table, dev) = (self.rig.table, self.rig.dev);
        let op = |(op, inputs, outputs, params): &Call| Op {
            op: *op,
            params_len: params.len() as u32,
            n_inputs: inputs.len() as u32,
            n_outputs: outputs.len() as u32,
            inputs: inputs.as_ptr(),
            outputs: outputs.as_ptr(),
            params: params.as_ptr().cast(),
        };
        let ops: Vec<Op> = self.ops.iter().map(op).collect();
        let graph = graph::Graph {
            header: Header::of::<graph::Graph>(),
            tensor_size: size_of::<Tensor>() as u32,
            op_size: size_of::<Op>() as u32,
            tensors: self.tensors.as_ptr(),
            n_tensors: self.tensors.len() as u64,
            ops: ops.as_ptr(),
            n_ops: ops.len() as u64,
            dim_max: [0; 4],
            n_fixed: self.fixed.len() as u32,
            n_steps: 0,
            arena_bytes: 0,
        };
        let (mut exec, mut set) = (0, 0);
        // SAFETY: live handles, and memory that is valid for the calls.
        unsafe {
            call(|err| (table.compile.unwrap())(dev, &graph, &mut exec, err))?;
            let mut info = ExecInfo { header: Header::of::<ExecInfo>(), scratch_bytes: 0 };
            call(|err| (table.exec_info.unwrap())(dev, exec, &mut info, err))?;
            let (ptr, n, size) = (self.fixed.as_ptr(), self.fixed.len() as u64, size_of::<Binding>() as u32);
            call(|err| (table.bind_set_create.unwrap())(dev, ptr, n, size, &mut set, err))?;
            let len = info.scratch_bytes;
            let scratch = self.rig.alloc(len as usize);
            let args = RunArgs {
                header: Header::of::<RunArgs>(),
                bind_set: set,
                steps: std::ptr::null(),
                n_steps: 0,
                binding_size: size,
                arena: Binding::default(),
                scratch: if len > 0 { Binding { handle: scratch, offset: 0, len } } else { Binding::default() },
                dims: [0; 4],
                kv_bucket: 0,
                cancel: std::ptr::null(),
                profile: std::ptr::null_mut(),
                done: None,
                done_user: std::ptr::null_mut(),
            };
            let mut ticket = 0;
            let ran = work(&mut || call(|err| (table.run.unwrap())(dev, 0, exec, &args, &mut ticket, err)));
            (table.exec_free.unwrap())(dev, exec);
            (table.bind_set_free.unwrap())(dev, set);
            self.rig.free(scratch);
            ran
        }
    }

    fn read(&self, tensor: u32) -> Vec<f32> {
        let binding = self.fixed[tensor as usize];
        let mut bytes = vec![0; binding.len as usize];
        self.rig.read(binding.handle, &mut bytes);
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        for &weight in &self.weights {
            // SAFETY: the last use.
            unsafe { (self.rig.table.weight_free.unwrap())(self.rig.dev, weight) }
        }
        for (t, binding) in self.tensors.iter().zip(&self.fixed) {
            if t.place == place::FIXED {
                self.rig.free(binding.handle);
            }
        }
    }
}
