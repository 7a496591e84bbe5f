//! From a [`Plugin`] to its C table.

mod boundary;

use boundary::{answered, arg, check_range, free, get, grown, guard, input, into_handle, out, output};

use super::view::{GraphView, Resolved, RunView};
use super::{Device, OpenOptions, Plugin, PluginError, Release, Result, WeightSpec};
use crate::run::{Binding, RunArgs};
use crate::state::{StateDesc, StateLayout};
use crate::table::{Backend, DeviceInfo, DeviceOptions, ExecInfo, Host, MemoryInfo, Peaks};
use crate::weight::{WeightDesc, WeightInfo, WeightSource, usage};
use crate::{ErrorBuffer, Header, MINOR, Status, Str, status};
use std::marker::PhantomData;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

/// The functions of `P`'s table.
pub struct Glue<P>(PhantomData<P>);

type Dev<P> = <P as Plugin>::Device;
type Buf<P> = <Dev<P> as Device>::Buffer;
type Wgt<P> = <Dev<P> as Device>::Weight;
type Exe<P> = <Dev<P> as Device>::Exec;

/// A bind set: resolved once. The host keeps what it names alive and unmoved.
struct Bound<D: Device>(Vec<Resolved<'static, D>>);

#[allow(missing_docs, clippy::missing_safety_doc, reason = "see the table's own docs; arguments are the host's")]
impl<P: Plugin> Glue<P> {
    unsafe extern "C" fn score(err: *mut ErrorBuffer) -> i32 {
        let mut score = 0;
        guard(err, || {
            score = P::score()?;
            Ok(())
        });
        score
    }
    unsafe extern "C" fn device_count() -> u32 {
        catch_unwind(P::device_count).unwrap_or(0)
    }
    unsafe extern "C" fn device_info(index: u32, info: *mut DeviceInfo, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: the host's struct.
            let info = unsafe { out(info) }?;
            P::device_info(index, info)
        })
    }
    unsafe extern "C" fn device_open(
        index: u32,
        options: *const DeviceOptions,
        dev: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: the host's structs, valid for the call.
            let (options, dev) = unsafe { (arg(options)?, out(dev)?) };
            // SAFETY: as above.
            let tier = unsafe { options.tier.as_str() }.ok_or_else(|| PluginError::argument("tier is not UTF-8"))?;
            *dev = into_handle(P::open(index, &OpenOptions { threads: options.threads, tier: tier.to_owned() })?);
            Ok(())
        })
    }
    unsafe extern "C" fn device_close(dev: u64) {
        // SAFETY: the host frees a device once, after everything made on it.
        unsafe { free::<Dev<P>>(dev) }
    }
    unsafe extern "C" fn memory(dev: u64, info: *mut MemoryInfo, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's struct.
            let (dev, info) = unsafe { (get::<Dev<P>>(dev, "device")?, out(info)?) };
            (info.free, info.total, info.used) = dev.memory()?;
            Ok(())
        })
    }
    unsafe extern "C" fn peaks(dev: u64, peaks: *mut Peaks, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's struct.
            let (dev, peaks) = unsafe { (get::<Dev<P>>(dev, "device")?, out(peaks)?) };
            (peaks.f32_ops, peaks.i8_ops) = dev.peaks()?;
            Ok(())
        })
    }
    unsafe extern "C" fn supports(
        dev: u64,
        graph: *const crate::graph::Graph,
        verdicts: *mut u8,
        n: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's graph and array, valid for the call.
            let (dev, graph, verdicts) =
                unsafe { (get::<Dev<P>>(dev, "device")?, GraphView::new(graph)?, output(verdicts, n)?) };
            let answer = dev.supports(&graph)?;
            if answer.len() != verdicts.len() || answer.len() != graph.ops.len() {
                return Err(PluginError::argument(format!(
                    "{} verdicts wanted for {} ops",
                    verdicts.len(),
                    graph.ops.len()
                )));
            }
            verdicts.copy_from_slice(&answer);
            Ok(())
        })
    }
    unsafe extern "C" fn buffer_alloc(dev: u64, len: u64, buffer: *mut u64, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's variable.
            let (dev, buffer) = unsafe { (get::<Dev<P>>(dev, "device")?, out(buffer)?) };
            *buffer = into_handle(dev.alloc(len)?);
            Ok(())
        })
    }
    unsafe extern "C" fn buffer_free(_dev: u64, buffer: u64) {
        // SAFETY: freed once.
        unsafe { free::<Buf<P>>(buffer) }
    }
    unsafe extern "C" fn buffer_write(
        dev: u64,
        _queue: u64,
        buffer: u64,
        offset: u64,
        src: *const u8,
        len: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let (dev, buffer, src) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Buf<P>>(buffer, "buffer")?, input(src, len)?) };
            check_range(dev.buffer_len(buffer), offset, len, "write")?;
            dev.write(buffer, offset, src)
        })
    }
    unsafe extern "C" fn buffer_read(
        dev: u64,
        _queue: u64,
        buffer: u64,
        offset: u64,
        dst: *mut u8,
        len: u64,
        _ticket: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let (dev, buffer, dst) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Buf<P>>(buffer, "buffer")?, output(dst, len)?) };
            check_range(dev.buffer_len(buffer), offset, len, "read")?;
            dev.read(buffer, offset, dst)
        })
    }
    unsafe extern "C" fn buffer_copy(
        dev: u64,
        _queue: u64,
        dst: u64,
        dst_offset: u64,
        src: u64,
        src_offset: u64,
        len: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles.
            let (dev, to, from) = unsafe {
                (get::<Dev<P>>(dev, "device")?, get::<Buf<P>>(dst, "buffer")?, get::<Buf<P>>(src, "buffer")?)
            };
            check_range(dev.buffer_len(to), dst_offset, len, "copy")?;
            check_range(dev.buffer_len(from), src_offset, len, "copy")?;
            if dst == src
                && dst_offset < src_offset.saturating_add(len)
                && src_offset < dst_offset.saturating_add(len)
                && len > 0
            {
                return Err(PluginError::argument("copy: the ranges overlap"));
            }
            dev.copy(to, dst_offset, from, src_offset, len)
        })
    }
    unsafe extern "C" fn buffer_fill(
        dev: u64,
        _queue: u64,
        buffer: u64,
        offset: u64,
        len: u64,
        byte: u32,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles.
            let (dev, buffer) = unsafe { (get::<Dev<P>>(dev, "device")?, get::<Buf<P>>(buffer, "buffer")?) };
            check_range(dev.buffer_len(buffer), offset, len, "fill")?;
            dev.fill(buffer, offset, len, byte as u8)
        })
    }
    unsafe extern "C" fn weight_layout(
        dev: u64,
        desc: *const WeightDesc,
        lasting: u32,
        info: *mut WeightInfo,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's struct, valid for the call.
            let (dev, desc) = unsafe { (get::<Dev<P>>(dev, "device")?, grown(desc)?) };
            // SAFETY: the host's text and struct, valid for the call.
            unsafe { answered(info, |info| dev.weight_layout(&spec_of(&desc)?, lasting != 0, info)) }
        })
    }
    unsafe extern "C" fn weight_prepare(
        dev: u64,
        desc: *const WeightDesc,
        source: *const WeightSource,
        weight: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's structs and what they point to, valid for the call.
            let (dev, desc, source, weight) =
                unsafe { (get::<Dev<P>>(dev, "device")?, grown(desc)?, grown(source)?, out(weight)?) };
            // SAFETY: as above.
            let spec = unsafe { spec_of(&desc) }?;
            let name = spec.name;
            let copied;
            let bytes: &[u8] = if source.data.is_null() {
                let read = source
                    .read
                    .ok_or_else(|| PluginError::argument(format!("{name}: no data and no read function")))?;
                let len = usize::try_from(source.len)
                    .map_err(|_| PluginError::out_of_memory(format!("{name}: {} bytes", source.len)))?;
                let mut staging = Vec::new();
                staging
                    .try_reserve_exact(len)
                    .map_err(|_| PluginError::out_of_memory(format!("{name}: {len} bytes to stage")))?;
                staging.resize(len, 0u8);
                // SAFETY: `staging` has `len` bytes.
                match unsafe { read(source.user, 0, staging.as_mut_ptr(), source.len) } {
                    status::OK => {}
                    code => return Err(PluginError::new(code, format!("{name}: its bytes could not be read"))),
                }
                copied = staging;
                &copied
            } else {
                // SAFETY: as above.
                unsafe { input(source.data, source.len) }?
            };
            let flag = source.cancel as usize;
            // SAFETY: the flag is null or stays alive for the call; it is only accessed atomically.
            let cancelled =
                move || flag != 0 && unsafe { AtomicU32::from_ptr(flag as *mut u32) }.load(Ordering::Relaxed) != 0;
            let lasting = source.lasting != 0 && !source.data.is_null();
            let release = Release { function: source.release, user: source.user };
            *weight = into_handle(match (lasting, spec.usage & usage::PAGED != 0) {
                (false, true) => {
                    return Err(PluginError::argument(format!("{name}: a paged weight needs a source that lasts")));
                }
                // SAFETY: the host says so; the weight is dropped in `weight_free`.
                (true, true) => unsafe { dev.prepare_paged(&spec, bytes, release, &cancelled) }?,
                // SAFETY: as above.
                (true, false) => unsafe { dev.prepare_lasting(&spec, bytes, release, &cancelled) }?,
                (false, false) => dev.prepare(&spec, bytes, &cancelled)?,
            });
            Ok(())
        })
    }
    unsafe extern "C" fn weight_info(dev: u64, weight: u64, info: *mut WeightInfo, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: live handles.
            let (dev, weight) = unsafe { (get::<Dev<P>>(dev, "device")?, get::<Wgt<P>>(weight, "weight")?) };
            let fill = |info: &mut WeightInfo| {
                dev.weight_info(weight, info);
                Ok(())
            };
            // SAFETY: the host's struct.
            unsafe { answered(info, fill) }
        })
    }
    unsafe extern "C" fn weight_read_rows(
        dev: u64,
        weight: u64,
        first: u64,
        dst: *mut f32,
        n: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let (dev, weight, dst) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Wgt<P>>(weight, "weight")?, output(dst, n)?) };
            dev.read_rows(weight, first, dst)
        })
    }
    unsafe extern "C" fn weight_update(
        dev: u64,
        weight: u64,
        first: u64,
        src: *const f32,
        n: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let (dev, weight, src) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Wgt<P>>(weight, "weight")?, input(src, n)?) };
            dev.update_rows(weight, first, src)
        })
    }
    unsafe extern "C" fn weight_free(_dev: u64, weight: u64) {
        // SAFETY: freed once.
        unsafe { free::<Wgt<P>>(weight) }
    }
    unsafe extern "C" fn state_layout(
        dev: u64,
        desc: *const StateDesc,
        layout: *mut StateLayout,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's structs.
            let (dev, desc, layout) = unsafe { (get::<Dev<P>>(dev, "device")?, arg(desc)?, out(layout)?) };
            (layout.unit_bytes, layout.canonical_bytes) = dev.state_layout(desc)?;
            Ok(())
        })
    }
    unsafe fn state_unit<'a>(
        dev: u64,
        desc: *const StateDesc,
        buffer: u64,
        unit: u64,
        len: u64,
    ) -> Result<(&'a Dev<P>, &'a StateDesc, &'a Buf<P>)> {
        // SAFETY: live handles; the host's struct, valid for the call.
        let (dev, desc, buffer) =
            unsafe { (get::<Dev<P>>(dev, "device")?, arg(desc)?, get::<Buf<P>>(buffer, "buffer")?) };
        let (unit_bytes, canonical) = dev.state_layout(desc)?;
        let offset = unit.checked_mul(unit_bytes).ok_or_else(|| PluginError::argument("state unit overflows"))?;
        check_range(dev.buffer_len(buffer), offset, unit_bytes, "state unit")?;
        if len != canonical {
            return Err(PluginError::argument(format!("a canonical unit has {canonical} bytes, not {len}")));
        }
        Ok((dev, desc, buffer))
    }
    unsafe extern "C" fn state_export(
        dev: u64,
        _queue: u64,
        desc: *const StateDesc,
        buffer: u64,
        unit: u64,
        dst: *mut u8,
        len: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let ((dev, desc, buffer), dst) =
                unsafe { (Self::state_unit(dev, desc, buffer, unit, len)?, output(dst, len)?) };
            dev.state_export(desc, buffer, unit, dst)
        })
    }
    unsafe extern "C" fn state_import(
        dev: u64,
        _queue: u64,
        desc: *const StateDesc,
        buffer: u64,
        unit: u64,
        src: *const u8,
        len: u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's memory, valid for the call.
            let ((dev, desc, buffer), src) =
                unsafe { (Self::state_unit(dev, desc, buffer, unit, len)?, input(src, len)?) };
            dev.state_import(desc, buffer, unit, src)
        })
    }
    unsafe extern "C" fn compile(
        dev: u64,
        graph: *const crate::graph::Graph,
        exec: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handle; the host's graph, valid for the call.
            let (dev, graph, exec) = unsafe { (get::<Dev<P>>(dev, "device")?, GraphView::new(graph)?, out(exec)?) };
            *exec = into_handle(dev.compile(&graph)?);
            Ok(())
        })
    }
    unsafe extern "C" fn exec_info(dev: u64, exec: u64, info: *mut ExecInfo, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's struct.
            let (dev, exec, info) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Exe<P>>(exec, "exec")?, out(info)?) };
            info.scratch_bytes = dev.scratch_bytes(exec);
            Ok(())
        })
    }
    unsafe extern "C" fn exec_free(_dev: u64, exec: u64) {
        // SAFETY: freed once.
        unsafe { free::<Exe<P>>(exec) }
    }
    unsafe fn resolve(dev: &Dev<P>, b: &Binding) -> Result<Resolved<'static, Dev<P>>> {
        if b.handle == 0 {
            return Ok(Resolved::Empty);
        }
        // SAFETY: live handles, which the host keeps for as long as they are bound.
        unsafe {
            if b.len == 0 {
                return Ok(Resolved::Weight(get::<Wgt<P>>(b.handle, "weight")?));
            }
            let buffer = get::<Buf<P>>(b.handle, "buffer")?;
            check_range(dev.buffer_len(buffer), b.offset, b.len, "binding")?;
            Ok(Resolved::Buffer(buffer, b.offset, b.len))
        }
    }
    unsafe fn resolve_all(
        dev: &Dev<P>,
        bindings: *const Binding,
        n: u64,
        size: u32,
    ) -> Result<Vec<Resolved<'static, Dev<P>>>> {
        if (size as usize) < size_of::<Binding>() {
            return Err(PluginError::new(status::ABI, "bindings are smaller than version 1.0"));
        }
        // SAFETY: the host's array of `n` bindings, `size` bytes apart.
        (0..n as usize)
            .map(|i| unsafe { Self::resolve(dev, &*bindings.cast::<u8>().add(i * size as usize).cast::<Binding>()) })
            .collect()
    }
    unsafe extern "C" fn bind_set_create(
        dev: u64,
        bindings: *const Binding,
        n: u64,
        size: u32,
        set: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        guard(err, || {
            // SAFETY: live handles; the host's array, valid for the call.
            let (dev, set) = unsafe { (get::<Dev<P>>(dev, "device")?, out(set)?) };
            // SAFETY: as above.
            *set = into_handle(Bound(unsafe { Self::resolve_all(dev, bindings, n, size) }?));
            Ok(())
        })
    }
    unsafe extern "C" fn bind_set_free(_dev: u64, set: u64) {
        // SAFETY: freed once.
        unsafe { free::<Bound<Dev<P>>>(set) }
    }
    unsafe extern "C" fn run(
        dev: u64,
        _queue: u64,
        exec: u64,
        args: *const RunArgs,
        _ticket: *mut u64,
        err: *mut ErrorBuffer,
    ) -> Status {
        let status = guard(err, || {
            // SAFETY: live handles; the host's structs, valid for the call.
            let (dev, exec, args) =
                unsafe { (get::<Dev<P>>(dev, "device")?, get::<Exe<P>>(exec, "exec")?, arg(args)?) };
            if (args.header.struct_size as usize) < size_of::<RunArgs>() {
                return Err(PluginError::new(status::ABI, "RunArgs is smaller than version 1.0"));
            }
            // SAFETY: as above.
            let view = unsafe {
                RunView {
                    fixed: match args.bind_set {
                        0 => &[],
                        set => &get::<Bound<Dev<P>>>(set, "bind set")?.0,
                    },
                    steps: Self::resolve_all(dev, args.steps, u64::from(args.n_steps), args.binding_size)?,
                    arena: Self::resolve(dev, &args.arena)?,
                    scratch: Self::resolve(dev, &args.scratch)?,
                    dims: args.dims,
                    kv_bucket: args.kv_bucket,
                    args,
                }
            };
            dev.run(exec, &view)
        });
        // SAFETY: the host's struct, valid for the call.
        if let Some(args) = unsafe { args.as_ref() }
            && let Some(done) = args.done
        {
            // SAFETY: the host's callback.
            unsafe { done(args.done_user, status) }
        }
        status
    }
}

/// A weight as plugins see it, with its shape checked: 1 to 4 dimensions, none of them 0, whose product fits.
///
/// # Safety
/// The name is a text that is valid as long as `desc`.
unsafe fn spec_of(desc: &WeightDesc) -> Result<WeightSpec<'_>> {
    // SAFETY: passed on.
    let name = unsafe { desc.name.as_str() }.unwrap_or("?");
    let shape = desc.shape.get(..desc.rank as usize).filter(|s| !s.is_empty());
    let shape = shape.ok_or_else(|| PluginError::argument(format!("{name}: rank {} is not 1 to 4", desc.rank)))?;
    if shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).is_none_or(|n| n == 0) {
        return Err(PluginError::argument(format!("{name}: shape {shape:?} is empty or overflows")));
    }
    Ok(WeightSpec { dtype: desc.dtype, shape, usage: desc.usage, name, cache_bytes: desc.cache_bytes })
}

impl<P: Plugin> Glue<P> {
    /// The table.
    const TABLE: Backend = Backend {
        header: Header::of::<Backend>(),
        minor: MINOR,
        reserved: 0,
        name: Str::new(P::NAME),
        version: Str::new(P::VERSION),
        score: Some(Glue::<P>::score),
        device_count: Some(Glue::<P>::device_count),
        device_info: Some(Glue::<P>::device_info),
        device_open: Some(Glue::<P>::device_open),
        device_close: Some(Glue::<P>::device_close),
        memory: Some(Glue::<P>::memory),
        supports: Some(Glue::<P>::supports),
        // Work is synchronous: one queue, no tickets.
        queue_create: None,
        queue_free: None,
        ticket_poll: None,
        ticket_wait: None,
        buffer_alloc: Some(Glue::<P>::buffer_alloc),
        buffer_free: Some(Glue::<P>::buffer_free),
        buffer_write: Some(Glue::<P>::buffer_write),
        buffer_read: Some(Glue::<P>::buffer_read),
        buffer_copy: Some(Glue::<P>::buffer_copy),
        buffer_fill: Some(Glue::<P>::buffer_fill),
        weight_prepare: Some(Glue::<P>::weight_prepare),
        weight_info: Some(Glue::<P>::weight_info),
        weight_read_rows: Some(Glue::<P>::weight_read_rows),
        weight_update: Some(Glue::<P>::weight_update),
        weight_free: Some(Glue::<P>::weight_free),
        state_layout: Some(Glue::<P>::state_layout),
        state_export: Some(Glue::<P>::state_export),
        state_import: Some(Glue::<P>::state_import),
        compile: Some(Glue::<P>::compile),
        exec_info: Some(Glue::<P>::exec_info),
        exec_free: Some(Glue::<P>::exec_free),
        bind_set_create: Some(Glue::<P>::bind_set_create),
        bind_set_free: Some(Glue::<P>::bind_set_free),
        run: Some(Glue::<P>::run),
        extension: None,
        weight_layout: Some(Glue::<P>::weight_layout),
        peaks: Some(Glue::<P>::peaks),
    };

    /// The entry: stores the table's address.
    ///
    /// # Safety
    /// `table` is null or valid for writes; `err` is null or valid.
    pub unsafe extern "C" fn entry(_host: *const Host, table: *mut *const Backend, err: *mut ErrorBuffer) -> Status {
        guard(err, || {
            // SAFETY: the host's variable.
            *unsafe { out(table) }? = &Self::TABLE;
            Ok(())
        })
    }
}

/// Makes `pub unsafe extern "C" fn entry`, the plugin's [`Entry`](crate::Entry), for static registration.
/// A thin `cdylib` crate exports it under [`ENTRY_SYMBOL`](crate::ENTRY_SYMBOL) with
/// [`export_symbol!`](crate::export_symbol).
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        /// The plugin's entry: stores its function table.
        ///
        /// # Safety
        /// `out` is null or valid for writes; `host` and `err` are null or valid.
        pub unsafe extern "C" fn entry(
            host: *const $crate::Host,
            out: *mut *const $crate::Backend,
            err: *mut $crate::ErrorBuffer,
        ) -> $crate::Status {
            // SAFETY: the host's own arguments, passed on.
            unsafe { $crate::plugin::Glue::<$plugin>::entry(host, out, err) }
        }
    };
}

/// In a `cdylib` crate: exports `entry` of a plugin under the ABI's symbol name.
#[macro_export]
macro_rules! export_symbol {
    ($entry:path) => {
        #[cfg(all(panic = "abort", not(target_family = "wasm")))]
        compile_error!("a dynamic plugin must be built with unwinding, so that its panics stop at the boundary");

        /// The ABI's entry.
        ///
        /// # Safety
        /// See `tern_abi::Entry`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn tern_backend_v1(
            host: *const $crate::Host,
            out: *mut *const $crate::Backend,
            err: *mut $crate::ErrorBuffer,
        ) -> $crate::Status {
            // This library has its own copy of the standard library, whose hook would print; the host gets panics as errors.
            std::panic::set_hook(Box::new(|_| {}));
            // SAFETY: the host's own arguments, passed on.
            unsafe { $entry(host, out, err) }
        }
    };
}
