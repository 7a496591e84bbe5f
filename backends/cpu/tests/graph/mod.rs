//! Graphs with prepared weights, for tests of the ops that use them.
#![allow(dead_code, reason = "not every file uses all of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

use super::common::{Failure, Rig, call};
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::Mutex;
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
    /// What was read of them, as the plugin told.
    released: Box<Released>,
    /// Not 0: runs are cancelled.
    pub cancel: u32,
    /// Tokens of a step, as the host tells them.
    pub tokens: u64,
    ops: Vec<Call>,
}

/// Ranges: offsets and lengths.
type Released = Mutex<Vec<(u64, u64)>>;

unsafe extern "C" fn release(user: *mut c_void, offset: u64, len: u64) {
    // SAFETY: the graph's list, which outlives its weights.
    unsafe { &*user.cast::<Released>() }.lock().unwrap().push((offset, len));
}

/// What is left of numbers after storing them.
pub fn rounded(dtype: DType, data: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    dequantize(dtype, &stored(dtype, &[columns], data), &mut out).unwrap();
    out
}

/// Numbers as a file has them.
pub fn stored(dtype: DType, shape: &[usize], data: &[f32]) -> Vec<u8> {
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
            released: Box::default(),
            cancel: 0,
            tokens: 0,
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
        self.prepare(dtype, shape, &bytes, false, None).unwrap().0
    }
    /// A prepared weight of such bytes.
    pub fn weight_of(&mut self, dtype: DType, shape: &[usize], bytes: &[u8]) -> u32 {
        self.prepare(dtype, shape, bytes, false, None).unwrap().0
    }
    /// A weight that may be used where it is, at an odd address; yields whether it is.
    pub fn lasting_weight(&mut self, dtype: DType, shape: &[usize], data: &[f32]) -> (u32, bool) {
        let mut bytes = vec![0xff];
        bytes.extend(stored(dtype, shape, data));
        let weight = self.prepare(dtype, shape, &bytes[1..], true, None);
        self.kept.push(bytes);
        weight.unwrap()
    }
    /// Experts that stay where they are, with a cache of so many bytes; yields whether the plugin works on the bytes.
    pub fn paged_weight(
        &mut self,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
        cache_bytes: u64,
    ) -> Result<(u32, bool), Failure> {
        let bytes = bytes.to_vec();
        let weight = self.prepare(dtype, shape, &bytes, true, Some(cache_bytes));
        self.kept.push(bytes);
        weight
    }
    /// Yields whether the plugin works on the bytes, which must then stay.
    fn prepare(
        &mut self,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
        lasting: bool,
        paged: Option<u64>,
    ) -> Result<(u32, bool), Failure> {
        let mut desc = WeightDesc {
            header: Header::of::<WeightDesc>(),
            dtype: dtype.code(),
            rank: shape.len() as u32,
            usage: usage::FORWARD | if paged.is_some() { usage::PAGED } else { usage::GATHER },
            reserved: 0,
            shape: [1; 4],
            name: Str::new("w"),
            cache_bytes: paged.unwrap_or(0),
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
            user: (&raw const *self.released).cast_mut().cast::<c_void>(),
            cancel: std::ptr::null(),
            lasting: 1,
            reserved: 0,
            release: Some(release),
        };
        let mut handle = 0;
        let (table, dev) = (self.rig.table, self.rig.dev);
        // SAFETY: valid for the call.
        call(|err| unsafe { (table.weight_prepare.unwrap())(dev, &desc, &source, &mut handle, err) })?;
        self.weights.push(handle);
        let tensor = self.tensor(dtype.code(), place::WEIGHT, shape, Binding { handle, offset: 0, len: 0 });
        let info = self.info(tensor);
        assert!(paged.is_some() || info.keeps_source == u32::from(info.resident_bytes == 0));
        assert!(info.stream_bytes > 0 && (lasting || info.keeps_source == 0));
        // What was said of it before it was made.
        let mut layout = WeightInfo { header: Header::of::<WeightInfo>(), ..info };
        // SAFETY: valid for the call.
        call(|err| unsafe { (table.weight_layout.unwrap())(dev, &desc, lasting.into(), &mut layout, err) })?;
        assert_eq!((layout.resident_bytes, layout.keeps_source), (info.resident_bytes, info.keeps_source));
        Ok((tensor, info.keeps_source != 0))
    }
    /// What became of a weight.
    pub fn info(&self, weight: u32) -> WeightInfo {
        let mut info = WeightInfo {
            header: Header::of::<WeightInfo>(),
            resident_bytes: 0,
            stream_bytes: 0,
            keeps_source: 9,
            layout: 0,
            hits: 0,
            misses: 0,
            read_bytes: 0,
        };
        self.ask(weight, &mut info);
        info
    }
    /// The same, for a host that knows as much of the struct as its header says.
    pub fn ask(&self, weight: u32, info: &mut WeightInfo) {
        let handle = self.fixed[weight as usize].handle;
        // SAFETY: live handles; valid for the call.
        call(|err| unsafe { (self.rig.table.weight_info.unwrap())(self.rig.dev, handle, info, err) }).unwrap();
    }
    /// Dequantized rows of a weight.
    pub fn rows(&self, weight: u32, first: u64, out: &mut [f32]) {
        let (handle, n) = (self.fixed[weight as usize].handle, out.len() as u64);
        // SAFETY: live handles; valid for the call.
        call(|err| unsafe {
            (self.rig.table.weight_read_rows.unwrap())(self.rig.dev, handle, first, out.as_mut_ptr(), n, err)
        })
        .unwrap();
    }
    /// What was read of weights' bytes since the last call.
    pub fn released(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.released.lock().unwrap())
    }
    /// Puts other numbers into a tensor.
    pub fn set_i32(&self, tensor: u32, data: &[i32]) {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.rig.write(self.fixed[tensor as usize].handle, &bytes);
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
            dim_max: [0, self.tokens, 0, 0],
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
                dims: [0, self.tokens, 0, 0],
                kv_bucket: 0,
                cancel: &self.cancel,
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

    pub fn read(&self, tensor: u32) -> Vec<f32> {
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
