//! A small host: builds a graph tensor by tensor, runs it through the plugin's table, reads results.
#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::HashMap;
use tern_abi::graph::{Graph, NONE, Op, Tensor, dim, place};
use tern_abi::ops::Params;
use tern_abi::run::{Binding, RunArgs};
use tern_abi::state::{StateDesc, StateLayout};
use tern_abi::table::{Backend, DeviceOptions, ExecInfo};
use tern_abi::{ErrorBuffer, Header, Status, Str, dtype, status};

/// An opened device.
pub struct Rig {
    pub table: &'static Backend,
    pub dev: u64,
}

/// A failed call.
#[derive(Debug, PartialEq)]
pub struct Failure(pub Status, pub String);

/// Calls `f` with an error buffer.
pub fn call(f: impl FnOnce(*mut ErrorBuffer) -> Status) -> Result<(), Failure> {
    let mut text = [0u8; 256];
    let mut err = ErrorBuffer {
        header: Header::of::<ErrorBuffer>(),
        code: 0,
        reserved: 0,
        native: 0,
        len: 0,
        capacity: text.len() as u64,
        message: text.as_mut_ptr(),
    };
    match f(&mut err) {
        status::OK => Ok(()),
        code => Err(Failure(code, String::from_utf8_lossy(&text[..err.len as usize]).into_owned())),
    }
}

/// Tiers that this machine has.
pub fn tiers() -> Vec<&'static str> {
    tern_cpu::tier::Tier::ALL.into_iter().filter(|t| t.available()).map(|t| t.name()).collect()
}

/// Numbers in -1..1, the same every time.
pub fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
        })
        .collect()
}

/// Largest difference, relative to `1 + |want|`.
pub fn worst(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs() / (1.0 + w.abs())).fold(0.0, f32::max);
    assert!(got.iter().zip(want).all(|(g, w)| g.is_nan() == w.is_nan()), "NaN");
    worst
}

/// Bits, to compare exactly.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Id, inputs, outputs, parameters.
type Node = (u32, Vec<u32>, Vec<u32>, Vec<u8>);

/// A graph under construction. Every tensor has a buffer of its own.
#[derive(Default, Clone)]
pub struct Net {
    tensors: Vec<Tensor>,
    data: Vec<Vec<u8>>,
    states: Vec<u64>,
    ops: Vec<Node>,
    pub dim_max: [u64; dim::COUNT],
}

impl Net {
    fn tensor(&mut self, dtype: u32, shape: &[usize], data: Vec<u8>) -> u32 {
        let mut t = Tensor {
            dtype,
            place: place::STEP,
            slot: self.data.len() as u32,
            rank: shape.len() as u32,
            shape: [1; 4],
            dims: [0; 4],
            offset: 0,
        };
        for (to, &from) in t.shape.iter_mut().zip(shape) {
            *to = from as u64;
        }
        self.tensors.push(t);
        self.data.push(data);
        self.tensors.len() as u32 - 1
    }
    pub fn f32(&mut self, shape: &[usize], data: &[f32]) -> u32 {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        self.tensor(dtype::F32, shape, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
    pub fn i32(&mut self, shape: &[usize], data: &[i32]) -> u32 {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        self.tensor(dtype::I32, shape, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
    /// Filled with NaN, so that what is not written shows.
    pub fn out(&mut self, shape: &[usize]) -> u32 {
        self.f32(shape, &vec![f32::NAN; shape.iter().product()])
    }
    pub fn state(&mut self, buffer: u64) -> u32 {
        let slot = self.states.len() as u32;
        self.states.push(buffer);
        let mut t =
            Tensor { dtype: dtype::I8, place: place::STATE, slot, rank: 1, shape: [1; 4], dims: [0; 4], offset: 0 };
        t.shape[0] = 1;
        self.tensors.push(t);
        self.data.push(Vec::new());
        self.tensors.len() as u32 - 1
    }
    pub fn op<P: Params>(&mut self, id: u32, inputs: &[Option<u32>], outputs: &[Option<u32>], params: P) {
        let list = |x: &[Option<u32>]| x.iter().map(|t| t.unwrap_or(NONE)).collect();
        // SAFETY: `Params` types are plain data without padding.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const params).cast::<u8>(), size_of::<P>()) };
        self.ops.push((id, list(inputs), list(outputs), bytes.to_vec()));
    }
}

/// A compiled net with its buffers.
pub struct Ready<'a> {
    rig: &'a Rig,
    exec: u64,
    set: u64,
    scratch: u64,
    scratch_len: u64,
    steps: Vec<Binding>,
    buffers: HashMap<u32, u64>,
    pub profile: Vec<u64>,
}

impl Rig {
    pub fn new(tier: &str, threads: u32) -> Self {
        let mut table = std::ptr::null();
        // SAFETY: arguments as the entry wants them.
        call(|err| unsafe { tern_cpu::entry(std::ptr::null(), &mut table, err) }).unwrap();
        // SAFETY: the table lives as long as the process.
        let table: &'static Backend = unsafe { &*table };
        let options =
            DeviceOptions { header: Header::of::<DeviceOptions>(), threads, reserved: 0, tier: Str::new(tier) };
        let mut dev = 0;
        // SAFETY: as above.
        call(|err| unsafe { (table.device_open.unwrap())(0, &options, &mut dev, err) }).unwrap();
        Self { table, dev }
    }
    pub fn alloc(&self, len: usize) -> u64 {
        let mut buffer = 0;
        // SAFETY: a live device.
        call(|err| unsafe { (self.table.buffer_alloc.unwrap())(self.dev, len as u64, &mut buffer, err) }).unwrap();
        buffer
    }
    pub fn write(&self, buffer: u64, bytes: &[u8]) {
        let (ptr, len) = (bytes.as_ptr(), bytes.len() as u64);
        // SAFETY: a live buffer.
        call(|err| unsafe { (self.table.buffer_write.unwrap())(self.dev, 0, buffer, 0, ptr, len, err) }).unwrap();
    }
    pub fn read(&self, buffer: u64, bytes: &mut [u8]) {
        let (ptr, len) = (bytes.as_mut_ptr(), bytes.len() as u64);
        let mut ticket = 0;
        // SAFETY: a live buffer.
        call(|err| unsafe { (self.table.buffer_read.unwrap())(self.dev, 0, buffer, 0, ptr, len, &mut ticket, err) })
            .unwrap();
    }
    pub fn free(&self, buffer: u64) {
        // SAFETY: a live buffer.
        unsafe { (self.table.buffer_free.unwrap())(self.dev, buffer) }
    }
    /// `(unit, canonical)` bytes.
    pub fn state_layout(&self, desc: &StateDesc) -> Result<(usize, usize), Failure> {
        let mut layout = StateLayout { header: Header::of::<StateLayout>(), unit_bytes: 0, canonical_bytes: 0 };
        // SAFETY: a live device.
        call(|err| unsafe { (self.table.state_layout.unwrap())(self.dev, desc, &mut layout, err) })?;
        Ok((layout.unit_bytes as usize, layout.canonical_bytes as usize))
    }
    pub fn export(&self, desc: &StateDesc, buffer: u64, unit: u64) -> Vec<u8> {
        let mut out = vec![0; self.state_layout(desc).unwrap().1];
        let (ptr, len) = (out.as_mut_ptr(), out.len() as u64);
        // SAFETY: live handles.
        call(|err| unsafe { (self.table.state_export.unwrap())(self.dev, 0, desc, buffer, unit, ptr, len, err) })
            .unwrap();
        out
    }

    pub fn ready(&self, net: &Net) -> Result<Ready<'_>, Failure> {
        let ops: Vec<Op> = net
            .ops
            .iter()
            .map(|(op, inputs, outputs, params)| Op {
                op: *op,
                params_len: params.len() as u32,
                n_inputs: inputs.len() as u32,
                n_outputs: outputs.len() as u32,
                inputs: inputs.as_ptr(),
                outputs: outputs.as_ptr(),
                params: params.as_ptr().cast(),
            })
            .collect();
        let graph = Graph {
            header: Header::of::<Graph>(),
            tensor_size: size_of::<Tensor>() as u32,
            op_size: size_of::<Op>() as u32,
            tensors: net.tensors.as_ptr(),
            n_tensors: net.tensors.len() as u64,
            ops: ops.as_ptr(),
            n_ops: ops.len() as u64,
            dim_max: net.dim_max,
            n_fixed: net.states.len() as u32,
            n_steps: net.data.len() as u32,
            arena_bytes: 0,
        };
        let mut exec = 0;
        // SAFETY: the graph is valid for the call.
        call(|err| unsafe { (self.table.compile.unwrap())(self.dev, &graph, &mut exec, err) })?;
        let mut info = ExecInfo { header: Header::of::<ExecInfo>(), scratch_bytes: 0 };
        // SAFETY: live handles.
        call(|err| unsafe { (self.table.exec_info.unwrap())(self.dev, exec, &mut info, err) })?;
        let mut steps = Vec::new();
        let mut buffers = HashMap::new();
        for (i, data) in net.data.iter().enumerate() {
            if data.is_empty() {
                steps.push(Binding::default());
                continue;
            }
            let buffer = self.alloc(data.len());
            self.write(buffer, data);
            buffers.insert(i as u32, buffer);
            steps.push(Binding { handle: buffer, offset: 0, len: data.len() as u64 });
        }
        let fixed: Vec<Binding> =
            net.states.iter().map(|&handle| Binding { handle, offset: 0, len: self.buffer_len(handle) }).collect();
        let mut set = 0;
        let (ptr, n, size) = (fixed.as_ptr(), fixed.len() as u64, size_of::<Binding>() as u32);
        // SAFETY: live handles.
        call(|err| unsafe { (self.table.bind_set_create.unwrap())(self.dev, ptr, n, size, &mut set, err) })?;
        let scratch = self.alloc(info.scratch_bytes as usize);
        Ok(Ready {
            rig: self,
            exec,
            set,
            scratch,
            scratch_len: info.scratch_bytes,
            steps,
            buffers,
            profile: vec![0; ops.len()],
        })
    }
    fn buffer_len(&self, handle: u64) -> u64 {
        // SAFETY: this plugin's buffers are `Memory`.
        unsafe { (*(handle as *const tern_cpu::memory::Memory)).len() as u64 }
    }
    /// Compiles, runs once, and reads outputs.
    pub fn run(&self, net: &Net, outputs: &[u32]) -> Result<Vec<Vec<f32>>, Failure> {
        let mut ready = self.ready(net)?;
        ready.run([0; 4], std::ptr::null())?;
        Ok(outputs.iter().map(|&t| ready.f32(t)).collect())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // SAFETY: the last use.
        unsafe { (self.table.device_close.unwrap())(self.dev) }
    }
}

impl Ready<'_> {
    pub fn run(&mut self, dims: [u64; 4], cancel: *const u32) -> Result<(), Failure> {
        let none = |len| if len > 0 { Binding { handle: self.scratch, offset: 0, len } } else { Binding::default() };
        let args = RunArgs {
            header: Header::of::<RunArgs>(),
            bind_set: self.set,
            steps: self.steps.as_ptr(),
            n_steps: self.steps.len() as u32,
            binding_size: size_of::<Binding>() as u32,
            arena: Binding::default(),
            scratch: none(self.scratch_len),
            dims,
            kv_bucket: 0,
            cancel,
            profile: self.profile.as_mut_ptr(),
            done: None,
            done_user: std::ptr::null_mut(),
        };
        let (table, dev, exec) = (self.rig.table, self.rig.dev, self.exec);
        let mut ticket = 0;
        // SAFETY: live handles and memory.
        call(|err| unsafe { (table.run.unwrap())(dev, 0, exec, &args, &mut ticket, err) })
    }
    pub fn set_i32(&self, tensor: u32, data: &[i32]) {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.rig.write(self.buffers[&tensor], &bytes);
    }
    pub fn bytes(&self, tensor: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.steps[tensor as usize].len as usize];
        self.rig.read(self.buffers[&tensor], &mut bytes);
        bytes
    }
    pub fn f32(&self, tensor: u32) -> Vec<f32> {
        self.bytes(tensor).chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
    pub fn i32(&self, tensor: u32) -> Vec<i32> {
        self.bytes(tensor).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        // SAFETY: the last use of each.
        unsafe {
            (self.rig.table.exec_free.unwrap())(self.rig.dev, self.exec);
            (self.rig.table.bind_set_free.unwrap())(self.rig.dev, self.set);
        }
        for &buffer in self.buffers.values() {
            self.rig.free(buffer);
        }
        self.rig.free(self.scratch);
    }
}
