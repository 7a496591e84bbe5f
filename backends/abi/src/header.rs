//! Struct headers, strings, status codes and the caller's error buffer.

/// First field of every extensible struct.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Bytes of the struct as its writer knows it.
    pub struct_size: u32,
    /// What the struct is, for structs reached through `next`; 0 elsewhere. With
    /// [`Header::MUST_UNDERSTAND`] set, a reader that does not know it returns [`status::UNSUPPORTED`].
    pub kind: u32,
    /// Next struct of an extension chain, or null.
    pub next: *const Header,
}

// SAFETY: the chain is only followed within the call that a struct is passed to, on that call's thread.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

impl Header {
    /// Bit of `kind`: a reader that does not know this extension must refuse the call.
    pub const MUST_UNDERSTAND: u32 = 1 << 31;

    /// Header of a `T` without extensions.
    pub const fn of<T>() -> Self {
        Self { struct_size: size_of::<T>() as u32, kind: 0, next: core::ptr::null() }
    }
}

/// UTF-8 text: not NUL-terminated, owned by whoever wrote it, valid for the call (or, in a
/// [`Backend`](crate::Backend) table, for the life of the process).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// First byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: u64,
}

impl Str {
    /// The empty text.
    pub const EMPTY: Self = Self { ptr: core::ptr::null(), len: 0 };

    /// Borrows `text`.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() as u64 }
    }

    /// The text, or `None` where it is not UTF-8.
    ///
    /// # Safety
    /// `ptr` and `len` describe readable memory that stays valid and unchanged for `'a`.
    pub unsafe fn as_str<'a>(self) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: the caller vouches for pointer and length.
        let bytes = unsafe { core::slice::from_raw_parts(self.ptr, usize::try_from(self.len).ok()?) };
        core::str::from_utf8(bytes).ok()
    }
}

/// Result of a call: [`status::OK`], [`status::PENDING`], or a negative error code.
pub type Status = i32;

/// The values of [`Status`].
pub mod status {
    use super::Status;

    /// Done.
    pub const OK: Status = 0;
    /// Under way: ask the ticket.
    pub const PENDING: Status = 1;
    /// A defect of the plugin.
    pub const INTERNAL: Status = -1;
    /// The device or its driver is not there.
    pub const UNAVAILABLE: Status = -2;
    /// The plugin does not have this function, op, dtype or shape.
    pub const UNSUPPORTED: Status = -3;
    /// The plugin panicked; the panic was caught.
    pub const PANIC: Status = -4;
    /// Struct sizes or versions do not fit together.
    pub const ABI: Status = -5;
    /// An argument is wrong.
    pub const ARGUMENT: Status = -6;
    /// Memory could not be had.
    pub const OUT_OF_MEMORY: Status = -7;
    /// The device is gone; every later call fails likewise.
    pub const DEVICE_LOST: Status = -8;
    /// The caller's cancel flag was seen.
    pub const CANCELLED: Status = -9;
}

/// Where a call writes why it failed. Owned by the caller; calls accept null.
#[repr(C)]
#[derive(Debug)]
pub struct ErrorBuffer {
    /// Size of this struct.
    pub header: Header,
    /// The status that was returned.
    pub code: Status,
    /// Must be zero.
    pub reserved: u32,
    /// The driver's own error code, where there is one.
    pub native: i64,
    /// Bytes written to `message`; never more than `capacity`.
    pub len: u64,
    /// Bytes that `message` has room for.
    pub capacity: u64,
    /// UTF-8, cut at a character boundary.
    pub message: *mut u8,
}
