//! Weights: handed over once, kept in the layout that the plugin chooses.

use super::budget::Reserved;
use super::cancel::CancelFlag;
use super::device::Device;
use super::error::{BackendError, Result, argument};
use super::info::WeightInfo;
use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tern_abi::graph::Tensor;
use tern_abi::weight::{WeightDesc, WeightSource, usage};
use tern_abi::{Header, Str};
use tern_formats::SharedBytes;
use tern_quant::DType;

/// Bytes that stay where they are: of a mapped file, for one.
pub trait LastingBytes: AsRef<[u8]> + Send + Sync {
    /// Hint: `len` bytes from `offset` on were read and are not needed soon. They stay readable.
    fn release(&self, _offset: u64, _len: u64) {}
}

impl LastingBytes for Vec<u8> {}

impl LastingBytes for SharedBytes {
    fn release(&self, offset: u64, len: u64) {
        self.release(offset, len);
    }
}

/// A weight's bytes, where they may have to stay.
pub type WeightBytes = Arc<dyn LastingBytes>;

/// A weight as it is in the file.
#[derive(Debug, Clone, Copy)]
pub struct WeightSpec<'a> {
    /// Name in the file, for messages.
    pub name: &'a str,
    /// Element type code.
    pub dtype: u32,
    /// Outermost first, 1 to 4 dimensions.
    pub shape: &'a [u64],
    /// Bits of [`tern_abi::weight::usage`].
    pub usage: u32,
    /// Of a [`usage::PAGED`] weight: bytes that packed experts may take.
    pub cache_bytes: u64,
}

/// A prepared weight, freed on drop.
pub struct Weight {
    device: Arc<Device>,
    handle: tern_abi::Weight,
    name: String,
    dtype: u32,
    shape: Vec<u64>,
    /// Bytes that the plugin may work on until the handle is freed; fields are dropped after that.
    _source: Option<Box<WeightBytes>>,
    _reserved: Reserved,
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({} {:?} on {})", self.name, self.shape, self.device.info().name)
    }
}

impl Weight {
    pub(super) fn prepare(
        device: &Arc<Device>,
        spec: &WeightSpec<'_>,
        data: &[u8],
        cancel: &CancelFlag,
    ) -> Result<Self> {
        if spec.usage & usage::PAGED != 0 {
            return argument(CALL, format!("{}: a paged weight keeps its bytes; share them", spec.name));
        }
        let weight = Self::hand_over(device, spec, data, None, cancel)?;
        // A plugin that cannot tell is too simple to keep anything; only lasting bytes allow it to.
        if device.table().weight_info.is_some() && weight.info()?.keeps_source {
            // The weight is freed on return, while its bytes are still there.
            return Err(device.backend().bad(CALL, format!("it keeps the bytes of {}, which do not last", spec.name)));
        }
        Ok(weight)
    }

    pub(super) fn prepare_shared(
        device: &Arc<Device>,
        spec: &WeightSpec<'_>,
        data: WeightBytes,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        // In a place of its own, whose address the plugin has.
        let data = Box::new(data);
        let mut weight = Self::hand_over(device, spec, (**data).as_ref(), Some(&data), cancel)?;
        // Kept unless the plugin says that it has no need of it.
        if device.table().weight_info.is_none() || weight.info()?.keeps_source {
            weight._source = Some(data);
        }
        Ok(weight)
    }

    fn hand_over(
        device: &Arc<Device>,
        spec: &WeightSpec<'_>,
        data: &[u8],
        lasting: Option<&WeightBytes>,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        check_spec(spec, data.len())?;
        if cancel.is_cancelled() {
            let backend = device.backend().name().to_owned();
            return Err(BackendError::Cancelled { backend, call: CALL });
        }
        let function = device.need(CALL, device.table().weight_prepare)?;
        let expected = layout(device, spec, data.len() as u64, lasting.is_some())?;
        // What is left in place is the caller's, but in memory all the same; of what is paged, the cache is.
        let in_place = expected.keeps_source && spec.usage & usage::PAGED == 0;
        let kept = if in_place { data.len() as u64 } else { 0 };
        let reserved = device.reserve(CALL, expected.resident_bytes.saturating_add(kept))?;
        let desc = describe(spec);
        let source = WeightSource {
            header: Header::of::<WeightSource>(),
            data: data.as_ptr(),
            len: data.len() as u64,
            read: None,
            user: lasting.map_or(std::ptr::null_mut(), |bytes| std::ptr::from_ref(bytes).cast_mut().cast()),
            cancel: cancel.as_ptr(),
            lasting: u32::from(lasting.is_some()),
            reserved: 0,
            release: lasting.map(|_| release as _),
        };
        let mut handle = 0;
        // SAFETY: a live device; the structs and what they point to live for the call.
        device.call(CALL, |err| unsafe { function(device.handle(), &desc, &source, &mut handle, err) })?;
        Ok(Self {
            handle: device.backend().handle(CALL, handle)?,
            device: Arc::clone(device),
            name: spec.name.to_owned(),
            dtype: spec.dtype,
            shape: spec.shape.to_vec(),
            _source: None,
            _reserved: reserved,
        })
    }

    /// What became of it.
    pub fn info(&self) -> Result<WeightInfo> {
        let function = self.device.need("weight_info", self.device.table().weight_info)?;
        let mut raw = empty();
        self.device.call("weight_info", |err| {
            // SAFETY: live handles; the struct lives for the call.
            unsafe { function(self.device.handle(), self.handle, &mut raw, err) }
        })?;
        Ok(told(&raw))
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Element type code, as in the file.
    pub fn dtype(&self) -> u32 {
        self.dtype
    }

    /// Outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Where it is.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Dequantizes rows of the innermost dimension from row `first` on, as many as `out` has room for.
    pub fn read_rows(&self, first: u64, out: &mut [f32]) -> Result<()> {
        self.check_rows("weight_read_rows", first, out.len())?;
        let function = self.device.need("weight_read_rows", self.device.table().weight_read_rows)?;
        let (ptr, len) = (out.as_mut_ptr(), out.len() as u64);
        // SAFETY: live handles; `out` is writable for the call. On the queue, so that no update is under way.
        self.device.call_queued("weight_read_rows", |err| unsafe {
            function(self.device.handle(), self.handle, first, ptr, len, err)
        })
    }

    /// Replaces rows of a trainable weight from row `first` on.
    pub fn update_rows(&self, first: u64, src: &[f32]) -> Result<()> {
        self.check_rows("weight_update", first, src.len())?;
        let function = self.device.need("weight_update", self.device.table().weight_update)?;
        let (ptr, len) = (src.as_ptr(), src.len() as u64);
        // SAFETY: live handles; `src` is readable for the call. On the queue, so that no step is under way.
        self.device.call_queued("weight_update", |err| unsafe {
            function(self.device.handle(), self.handle, first, ptr, len, err)
        })
    }

    pub(super) fn handle(&self) -> tern_abi::Weight {
        self.handle
    }

    /// Is it what `tensor` of a compiled graph says?
    pub(super) fn fits(&self, tensor: &Tensor) -> bool {
        self.dtype == tensor.dtype && tensor.shape.get(..tensor.rank as usize) == Some(&self.shape[..])
    }

    fn check_rows(&self, call: &'static str, first: u64, n: usize) -> Result<()> {
        let (n, row) = (n as u64, self.shape.last().copied().unwrap_or(1));
        let rows: u64 = self.shape.iter().rev().skip(1).product();
        match (n % row, first.checked_add(n / row)) {
            (0, Some(end)) if end <= rows => Ok(()),
            _ => argument(call, format!("{}: {n} numbers from row {first} of {rows} rows of {row}", self.name)),
        }
    }
}

/// The callback of a weight whose bytes stay. A panic must not unwind into a plugin.
unsafe extern "C" fn release(user: *mut c_void, offset: u64, len: u64) {
    // SAFETY: the weight's own, which is there until `weight_free`.
    let bytes = unsafe { &*user.cast::<WeightBytes>() };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| bytes.release(offset, len))) {
        // Its destructor could panic again, outside the guard.
        std::mem::forget(payload);
    }
}

const CALL: &str = "weight_prepare";

/// See [`Device::weight_layout`].
pub(super) fn layout(device: &Device, spec: &WeightSpec<'_>, file_bytes: u64, lasting: bool) -> Result<WeightInfo> {
    const CALL: &str = "weight_layout";
    check_spec(spec, usize::try_from(file_bytes).unwrap_or(usize::MAX))?;
    let unknown = WeightInfo { resident_bytes: file_bytes, stream_bytes: file_bytes, ..WeightInfo::default() };
    let Some(function) = device.table().weight_layout else { return Ok(unknown) };
    let (desc, mut raw) = (describe(spec), empty());
    let called = device.call(CALL, |err| {
        // SAFETY: a live device; the structs live for the call.
        unsafe { function(device.handle(), &desc, u32::from(lasting), &mut raw, err) }
    });
    match called {
        Ok(()) => Ok(told(&raw)),
        // It cannot tell, or cannot take it: why, `weight_prepare` will say.
        Err(_) => Ok(unknown),
    }
}

fn describe(spec: &WeightSpec<'_>) -> WeightDesc {
    let mut shape = [1; 4];
    shape[..spec.shape.len()].copy_from_slice(spec.shape);
    WeightDesc {
        header: Header::of::<WeightDesc>(),
        dtype: spec.dtype,
        rank: spec.shape.len() as u32,
        usage: spec.usage,
        reserved: 0,
        shape,
        name: Str::new(spec.name),
        cache_bytes: spec.cache_bytes,
    }
}

fn empty() -> tern_abi::weight::WeightInfo {
    tern_abi::weight::WeightInfo {
        header: Header::of::<tern_abi::weight::WeightInfo>(),
        resident_bytes: 0,
        stream_bytes: 0,
        keeps_source: 0,
        layout: 0,
        // An older plugin leaves these.
        hits: 0,
        misses: 0,
        read_bytes: 0,
    }
}

fn told(raw: &tern_abi::weight::WeightInfo) -> WeightInfo {
    WeightInfo {
        resident_bytes: raw.resident_bytes,
        stream_bytes: raw.stream_bytes,
        keeps_source: raw.keeps_source != 0,
        layout: raw.layout,
        hits: raw.hits,
        misses: raw.misses,
        read_bytes: raw.read_bytes,
    }
}

fn check_spec(spec: &WeightSpec<'_>, bytes: usize) -> Result<()> {
    let WeightSpec { name, shape, .. } = *spec;
    let Some((&row, outer)) = shape.split_last().filter(|_| shape.len() <= 4) else {
        return argument(CALL, format!("{name}: rank {} is not 1 to 4", shape.len()));
    };
    let rows = outer.iter().try_fold(1u64, |n, &size| n.checked_mul(size));
    let Some(rows) = rows.filter(|&n| n.checked_mul(row).is_some_and(|all| all != 0)) else {
        return argument(CALL, format!("{name}: shape {shape:?} is empty or overflows"));
    };
    // A dtype that only the plugin knows is its own affair.
    let Some(dtype) = DType::from_code(spec.dtype) else { return Ok(()) };
    let row_bytes = usize::try_from(row).ok().and_then(|row| dtype.row_bytes(row));
    let blocks = row_bytes.and_then(|bytes| (bytes as u64).checked_mul(rows));
    match blocks.and_then(|bytes| bytes.checked_add(dtype.tail_bytes() as u64)) {
        Some(expected) if expected == bytes as u64 => Ok(()),
        Some(expected) => argument(CALL, format!("{name}: {dtype} {shape:?} takes {expected} bytes, not {bytes}")),
        None => argument(CALL, format!("{name}: a row of {row} is no whole number of {dtype} blocks")),
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        if let Some(free) = self.device.table().weight_free {
            // SAFETY: live handles; whatever binds the weight holds it, so nothing uses it any more.
            unsafe { free(self.device.handle(), self.handle) }
        }
    }
}
