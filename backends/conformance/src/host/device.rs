//! An opened device and what is made on it, freed when dropped.

use super::{HostError, Result};
use tern_abi::graph::Graph;
use tern_abi::run::{Binding, RunArgs};
use tern_abi::state::{StateDesc, StateLayout};
use tern_abi::table::{DeviceInfo, ExecInfo};
use tern_abi::weight::{WeightDesc, WeightSource, usage};
use tern_abi::{Backend, DeviceOptions, Entry, ErrorBuffer, Header, Status, Str, status};

/// An opened device.
#[derive(Debug)]
pub struct Device {
    table: &'static Backend,
    handle: u64,
    /// Alignment that offsets into buffers must have.
    pub alignment: u64,
    /// The tier in use, as the plugin names it.
    pub tier: String,
    /// Bits of [`tern_abi::table::device_flags`].
    pub flags: u32,
}

/// Calls `f` with an error buffer and turns its status into a result.
fn call(function: &'static str, f: impl FnOnce(*mut ErrorBuffer) -> Status) -> Result<Status> {
    let mut text = [0u8; 512];
    let mut err = ErrorBuffer {
        header: Header::of::<ErrorBuffer>(),
        code: status::OK,
        reserved: 0,
        native: 0,
        len: 0,
        capacity: text.len() as u64,
        message: text.as_mut_ptr(),
    };
    let code = f(&mut err);
    if code >= status::OK {
        return Ok(code);
    }
    let len = usize::try_from(err.len).unwrap_or(0).min(text.len());
    Err(HostError::Call { function, status: code, message: String::from_utf8_lossy(&text[..len]).into_owned() })
}

macro_rules! function {
    ($table:expr, $name:ident) => {
        $table.$name.ok_or(HostError::Absent { function: stringify!($name) })
    };
}

impl Device {
    /// Opens device 0 of a plugin. `threads` 0 and an empty `tier` let the plugin choose.
    pub fn open(entry: Entry, threads: u32, tier: &str) -> Result<Self> {
        let mut table: *const Backend = std::ptr::null();
        // SAFETY: `table` and the error buffer are valid for writes; a null host is allowed.
        call("entry", |err| unsafe { entry(std::ptr::null(), &mut table, err) })?;
        // SAFETY: a plugin's table lives as long as the process.
        let table: &'static Backend = unsafe { table.as_ref() }.ok_or(HostError::Absent { function: "entry" })?;
        let expected = size_of::<Backend>() as u32;
        if table.header.struct_size < expected {
            return Err(HostError::Table { found: table.header.struct_size, expected });
        }
        let options =
            DeviceOptions { header: Header::of::<DeviceOptions>(), threads, reserved: 0, tier: Str::new(tier) };
        let (open, info) = (function!(table, device_open)?, function!(table, device_info)?);
        let mut handle = 0;
        // SAFETY: all pointers are valid for the call.
        call("device_open", |err| unsafe { open(0, &options, &mut handle, err) })?;
        let mut device = Self { table, handle, alignment: 1, tier: String::new(), flags: 0 };
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut data: DeviceInfo = unsafe { std::mem::zeroed() };
        data.header = Header::of::<DeviceInfo>();
        // SAFETY: as above.
        call("device_info", |err| unsafe { info(0, &mut data, err) })?;
        device.alignment = data.alignment.max(1);
        device.tier = String::from_utf8_lossy(&data.tier).trim_end_matches('\0').to_owned();
        device.flags = data.flags;
        Ok(device)
    }

    /// Zeroed memory.
    pub fn alloc(&self, len: u64) -> Result<Memory<'_>> {
        let alloc = function!(self.table, buffer_alloc)?;
        let mut handle = 0;
        // SAFETY: live device; valid pointers.
        call("buffer_alloc", |err| unsafe { alloc(self.handle, len, &mut handle, err) })?;
        Ok(Memory { device: self, handle, len })
    }

    /// Prepares a weight.
    pub fn prepare(&self, dtype: u32, shape: &[usize], usage: u32, bytes: &[u8]) -> Result<PreparedWeight<'_>> {
        self.hand_over(dtype, shape, usage, bytes, None)
    }
    /// Prepares matrices of experts that stay where they are, with a cache of so many bytes.
    pub fn prepare_paged<'a>(
        &'a self,
        dtype: u32,
        shape: &[usize],
        usage: u32,
        bytes: &'a [u8],
        cache_bytes: u64,
    ) -> Result<PreparedWeight<'a>> {
        self.hand_over(dtype, shape, usage | usage::PAGED, bytes, Some(cache_bytes))
    }
    fn hand_over(
        &self,
        dtype: u32,
        shape: &[usize],
        usage: u32,
        bytes: &[u8],
        paged: Option<u64>,
    ) -> Result<PreparedWeight<'_>> {
        let prepare = function!(self.table, weight_prepare)?;
        let desc = WeightDesc {
            header: Header::of::<WeightDesc>(),
            dtype,
            rank: shape.len() as u32,
            usage,
            reserved: 0,
            shape: super::program::four(shape),
            name: Str::new("w"),
            cache_bytes: paged.unwrap_or(0),
        };
        let source = WeightSource {
            header: Header::of::<WeightSource>(),
            data: bytes.as_ptr(),
            len: bytes.len() as u64,
            read: None,
            user: std::ptr::null_mut(),
            cancel: std::ptr::null(),
            lasting: paged.is_some().into(),
            reserved: 0,
            release: None,
        };
        let mut handle = 0;
        // SAFETY: live device; the structs and what they point to are valid for the call.
        call("weight_prepare", |err| unsafe { prepare(self.handle, &desc, &source, &mut handle, err) })?;
        Ok(PreparedWeight { device: self, handle })
    }

    /// `(unit_bytes, canonical_bytes)` of a state.
    pub fn state_layout(&self, desc: &StateDesc) -> Result<(u64, u64)> {
        let layout = function!(self.table, state_layout)?;
        let mut out = StateLayout { header: Header::of::<StateLayout>(), unit_bytes: 0, canonical_bytes: 0 };
        // SAFETY: live device; valid structs.
        call("state_layout", |err| unsafe { layout(self.handle, desc, &mut out, err) })?;
        Ok((out.unit_bytes, out.canonical_bytes))
    }
    /// Canonical layout to unit.
    pub fn state_import(&self, desc: &StateDesc, memory: &Memory<'_>, unit: u64, src: &[u8]) -> Result<()> {
        let import = function!(self.table, state_import)?;
        let (ptr, len) = (src.as_ptr(), src.len() as u64);
        // SAFETY: live handles; `src` is valid for the call.
        call("state_import", |err| unsafe { import(self.handle, 0, desc, memory.handle, unit, ptr, len, err) })?;
        Ok(())
    }
    /// Unit to canonical layout.
    pub fn state_export(&self, desc: &StateDesc, memory: &Memory<'_>, unit: u64, dst: &mut [u8]) -> Result<()> {
        let export = function!(self.table, state_export)?;
        let (ptr, len) = (dst.as_mut_ptr(), dst.len() as u64);
        // SAFETY: live handles; `dst` is valid for the call.
        call("state_export", |err| unsafe { export(self.handle, 0, desc, memory.handle, unit, ptr, len, err) })?;
        Ok(())
    }

    /// One verdict per op.
    pub fn supports(&self, graph: &Graph) -> Result<Vec<u8>> {
        let supports = function!(self.table, supports)?;
        let mut out = vec![0u8; graph.n_ops as usize];
        // SAFETY: live device; the graph and `out` are valid for the call.
        call("supports", |err| unsafe { supports(self.handle, graph, out.as_mut_ptr(), graph.n_ops, err) })?;
        Ok(out)
    }
    /// Compiles.
    pub fn compile(&self, graph: &Graph) -> Result<Compiled<'_>> {
        let (compile, info) = (function!(self.table, compile)?, function!(self.table, exec_info)?);
        let mut handle = 0;
        // SAFETY: live device; the graph is valid for the call.
        call("compile", |err| unsafe { compile(self.handle, graph, &mut handle, err) })?;
        let mut compiled = Compiled { device: self, handle, scratch_bytes: 0 };
        let mut out = ExecInfo { header: Header::of::<ExecInfo>(), scratch_bytes: 0 };
        // SAFETY: live handles; a valid struct.
        call("exec_info", |err| unsafe { info(self.handle, handle, &mut out, err) })?;
        compiled.scratch_bytes = out.scratch_bytes;
        Ok(compiled)
    }
    /// Binds what stays.
    pub fn bind(&self, bindings: &[Binding]) -> Result<Bound<'_>> {
        let create = function!(self.table, bind_set_create)?;
        let mut handle = 0;
        let (ptr, n) = (bindings.as_ptr(), bindings.len() as u64);
        // SAFETY: live device; the bindings are valid for the call and name live handles.
        call("bind_set_create", |err| unsafe {
            create(self.handle, ptr, n, size_of::<Binding>() as u32, &mut handle, err)
        })?;
        Ok(Bound { device: self, handle })
    }
    /// Runs one step to its end.
    pub fn run(&self, exec: &Compiled<'_>, args: &RunArgs) -> Result<()> {
        let run = function!(self.table, run)?;
        let mut ticket = 0;
        // SAFETY: live handles; the arguments are valid until the step has ended, which is awaited here.
        let mut code = call("run", |err| unsafe { run(self.handle, 0, exec.handle, args, &mut ticket, err) })?;
        while code == status::PENDING {
            let wait = function!(self.table, ticket_wait)?;
            // SAFETY: live handles.
            code = call("ticket_wait", |err| unsafe { wait(self.handle, ticket, 1_000_000_000, err) })?;
        }
        Ok(())
    }
}

/// Device memory.
#[derive(Debug)]
pub struct Memory<'d> {
    device: &'d Device,
    handle: u64,
    len: u64,
}

impl Memory<'_> {
    /// A binding of `len` bytes from `offset`.
    pub fn binding(&self, offset: u64, len: u64) -> Binding {
        Binding { handle: self.handle, offset, len }
    }
    /// Copies in.
    pub fn write(&self, offset: u64, src: &[u8]) -> Result<()> {
        let write = function!(self.device.table, buffer_write)?;
        let (ptr, len) = (src.as_ptr(), src.len() as u64);
        // SAFETY: live handles; `src` is valid for the call.
        call("buffer_write", |err| unsafe { write(self.device.handle, 0, self.handle, offset, ptr, len, err) })?;
        Ok(())
    }
    /// Copies out everything.
    pub fn read(&self) -> Result<Vec<u8>> {
        let read = function!(self.device.table, buffer_read)?;
        let mut out = vec![0u8; self.len as usize];
        let mut ticket = 0;
        // SAFETY: live handles; `out` is valid until the read is done, which is awaited here.
        let mut code = call("buffer_read", |err| unsafe {
            read(self.device.handle, 0, self.handle, 0, out.as_mut_ptr(), self.len, &mut ticket, err)
        })?;
        while code == status::PENDING {
            let wait = function!(self.device.table, ticket_wait)?;
            // SAFETY: live handles.
            code = call("ticket_wait", |err| unsafe { wait(self.device.handle, ticket, 1_000_000_000, err) })?;
        }
        Ok(out)
    }
}

/// A prepared weight.
#[derive(Debug)]
pub struct PreparedWeight<'d> {
    device: &'d Device,
    handle: u64,
}

impl PreparedWeight<'_> {
    /// A binding of it.
    pub fn binding(&self) -> Binding {
        Binding { handle: self.handle, offset: 0, len: 0 }
    }
    /// Replaces rows from `first` on.
    pub fn update(&self, first: u64, src: &[f32]) -> Result<()> {
        let update = function!(self.device.table, weight_update)?;
        let (ptr, n) = (src.as_ptr(), src.len() as u64);
        // SAFETY: live handles; `src` is valid for the call.
        call("weight_update", |err| unsafe { update(self.device.handle, self.handle, first, ptr, n, err) })?;
        Ok(())
    }
    /// Dequantized rows from `first` on.
    pub fn rows(&self, first: u64, out: &mut [f32]) -> Result<()> {
        let read = function!(self.device.table, weight_read_rows)?;
        let (ptr, n) = (out.as_mut_ptr(), out.len() as u64);
        // SAFETY: live handles; `out` is valid for the call.
        call("weight_read_rows", |err| unsafe { read(self.device.handle, self.handle, first, ptr, n, err) })?;
        Ok(())
    }
}

/// A compiled graph.
#[derive(Debug)]
pub struct Compiled<'d> {
    device: &'d Device,
    handle: u64,
    /// Scratch memory a step needs.
    pub scratch_bytes: u64,
}

/// A bind set.
#[derive(Debug)]
pub struct Bound<'d> {
    device: &'d Device,
    pub(super) handle: u64,
}

macro_rules! free {
    ($type:ident, $function:ident) => {
        impl Drop for $type<'_> {
            fn drop(&mut self) {
                if let Some(free) = self.device.table.$function {
                    // SAFETY: live handles, freed once.
                    unsafe { free(self.device.handle, self.handle) }
                }
            }
        }
    };
}
free!(Memory, buffer_free);
free!(PreparedWeight, weight_free);
free!(Compiled, exec_free);
free!(Bound, bind_set_free);

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(close) = self.table.device_close {
            // SAFETY: everything made on the device borrows it, so it has been freed.
            unsafe { close(self.handle) }
        }
    }
}
