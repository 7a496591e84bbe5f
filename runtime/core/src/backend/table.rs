//! A plugin's function table, as the host keeps it.

use super::budget::Budget;
use super::call::{ErrorSpace, call};
use super::device::Device;
use super::error::{BackendError, Result};
use super::info::DeviceInfo;
use super::log;
use std::fmt;
use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;
use tern_abi::{Backend as Table, DeviceOptions, Entry, Header, Str, status};

/// Names go into error lines and file names.
const NAME_BYTES: u64 = 64;
/// More devices than any machine has; a count above it is garbage.
const MAX_DEVICES: u32 = 256;

/// A plugin that is ready to open devices. Cheap to clone.
#[derive(Clone)]
pub struct Backend(Arc<Inner>);

struct Inner {
    table: Table,
    name: String,
    version: String,
    origin: String,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({} {} from {})", self.0.name, self.0.version, self.0.origin)
    }
}

impl Backend {
    /// The plugin behind `entry`.
    ///
    /// # Safety
    /// `entry` and the functions of its table follow the ABI's rules.
    pub unsafe fn from_entry(entry: Entry) -> Result<Self> {
        // SAFETY: the caller vouches for the entry.
        unsafe { Self::new(entry, "registered") }
    }

    /// # Safety
    /// As [`Backend::from_entry`].
    pub(super) unsafe fn new(entry: Entry, origin: &str) -> Result<Self> {
        let mut space = ErrorSpace::new();
        let mut table = std::ptr::null();
        // SAFETY: the host struct lives as long as the process; the others live for the call.
        let code = unsafe { entry(log::host(), &mut table, space.as_ptr()) };
        if code != status::OK {
            return Err(BackendError::Entry { origin: origin.to_owned(), status: code, message: space.message() });
        }
        let wrong = |reason: String| BackendError::Table { origin: origin.to_owned(), reason };
        // SAFETY: the entry said OK, so the pointer is a table of the size it states, and stays one.
        let table = unsafe { copy(table) }.map_err(wrong)?;
        // SAFETY: a table's texts live as long as the process.
        let (name, version) = unsafe { (text(table.name), text(table.version)) };
        let name = name
            .filter(|n| valid_name(n))
            .ok_or_else(|| wrong("its name is not 1 to 64 lower-case letters, digits, '-' or '_'".to_owned()))?;
        let version = version.ok_or_else(|| wrong("its version is not UTF-8 of at most 64 bytes".to_owned()))?;
        let (name, version) = (name.to_owned(), super::call::one_line(version.as_bytes()));
        Ok(Self(Arc::new(Inner { table, name, version, origin: origin.to_owned() })))
    }

    /// Short name: "cpu".
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Version of the plugin.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Where it came from: its library's path, or "registered".
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Minor version of the ABI that the plugin was built with.
    pub fn abi_minor(&self) -> u32 {
        self.0.table.minor
    }

    /// How well it fits this machine: CPU plugins below 100, GPUs above. [`BackendError::Unusable`] where not at all.
    pub fn score(&self) -> Result<u32> {
        let function = self.need("score", self.table().score)?;
        let mut space = ErrorSpace::new();
        // SAFETY: a function of the plugin's table, with a live error buffer.
        let score = unsafe { function(space.as_ptr()) };
        match u32::try_from(score) {
            Ok(score) if score > 0 => Ok(score),
            _ if space.code() == status::PANIC => Err(space.error(self.name(), "score", status::PANIC)),
            _ => Err(BackendError::Unusable { name: self.name().to_owned(), reason: space.message() }),
        }
    }

    /// The devices that [`Backend::open`] opens.
    pub fn devices(&self) -> Result<Vec<DeviceInfo>> {
        (0..self.device_count()?).map(|index| self.device_info(index)).collect()
    }

    /// Opens device `index`. `threads` 0 and an empty `tier` let the plugin choose.
    pub fn open(&self, index: u32, threads: u32, tier: &str) -> Result<Arc<Device>> {
        self.open_within(index, threads, tier, &Budget::unlimited())
    }

    /// The same, with buffers and weights counting against `budget`.
    pub fn open_within(&self, index: u32, threads: u32, tier: &str, budget: &Arc<Budget>) -> Result<Arc<Device>> {
        let count = self.device_count()?;
        if index >= count {
            return super::error::argument(
                "device_open",
                format!("backend \"{}\" has {count} devices, there is no device {index}", self.name()),
            );
        }
        let info = self.device_info(index)?;
        let function = self.need("device_open", self.table().device_open)?;
        let options =
            DeviceOptions { header: Header::of::<DeviceOptions>(), threads, reserved: 0, tier: Str::new(tier) };
        let mut handle = 0;
        // SAFETY: a function of the plugin's table; the arguments live for the call.
        call(self.name(), "device_open", |err| unsafe { function(index, &options, &mut handle, err) })?;
        Device::new(self.clone(), self.handle("device_open", handle)?, info, Arc::clone(budget))
    }

    fn device_count(&self) -> Result<u32> {
        let function = self.need("device_count", self.table().device_count)?;
        // SAFETY: a function of the plugin's table.
        match unsafe { function() } {
            count if count <= MAX_DEVICES => Ok(count),
            count => Err(self.bad("device_count", format!("{count} devices, more than {MAX_DEVICES}"))),
        }
    }

    fn device_info(&self, index: u32) -> Result<DeviceInfo> {
        let function = self.need("device_info", self.table().device_info)?;
        let mut raw = tern_abi::DeviceInfo {
            header: Header::of::<tern_abi::DeviceInfo>(),
            kind: 0,
            flags: 0,
            name: [0; 64],
            tier: [0; 32],
            memory_total: 0,
            max_buffer: 0,
            alignment: 0,
        };
        // SAFETY: a function of the plugin's table; the struct lives for the call.
        call(self.name(), "device_info", |err| unsafe { function(index, &mut raw, err) })?;
        DeviceInfo::from_abi(&raw).map_err(|reason| self.bad("device_info", reason))
    }

    pub(super) fn table(&self) -> &Table {
        &self.0.table
    }

    /// A function of the table, which an older plugin may not have.
    pub(super) fn need<F>(&self, name: &'static str, function: Option<F>) -> Result<F> {
        function.ok_or_else(|| BackendError::MissingFunction { backend: self.name().to_owned(), function: name })
    }

    /// A handle that a call reported as made.
    pub(super) fn handle(&self, call: &'static str, handle: u64) -> Result<u64> {
        if handle == 0 { Err(self.bad(call, "it returned no handle".to_owned())) } else { Ok(handle) }
    }

    pub(super) fn bad(&self, call: &'static str, reason: String) -> BackendError {
        BackendError::BadAnswer { backend: self.name().to_owned(), call, reason }
    }
}

/// Is this a name that a backend may have?
pub(super) fn valid_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=NAME_BYTES as usize).contains(&name.len()) && name.bytes().all(ok)
}

/// The part of a plugin's table that both sides know; what it lacks is `None`.
///
/// # Safety
/// `table` is null, or points to a table of the size that it states.
unsafe fn copy(table: *const Table) -> std::result::Result<Table, String> {
    const FIXED: usize = offset_of!(Table, score);
    if table.is_null() {
        return Err("the entry stored no table".to_owned());
    }
    if !table.is_aligned() {
        return Err("it is not aligned".to_owned());
    }
    // SAFETY: every struct begins with its header.
    let stated = unsafe { (*table).header.struct_size } as usize;
    if stated < FIXED {
        return Err(format!("it states {stated} bytes, version 1.0 begins with {FIXED}"));
    }
    // Half a pointer is none.
    let functions = (stated.min(size_of::<Table>()) - FIXED) / size_of::<usize>();
    let len = FIXED + functions * size_of::<usize>();
    let mut copy = MaybeUninit::<Table>::zeroed();
    // SAFETY: `len` is within both tables; zeros are absent functions and empty texts, so all is initialized.
    unsafe {
        std::ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), len);
        Ok(copy.assume_init())
    }
}

/// # Safety
/// `text` is null or readable for the life of the process.
unsafe fn text(text: Str) -> Option<&'static str> {
    // SAFETY: as above; a longer one is garbage and is not read.
    if text.len > NAME_BYTES { None } else { unsafe { text.as_str() } }
}
