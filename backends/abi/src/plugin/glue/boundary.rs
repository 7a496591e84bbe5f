//! What crosses the boundary: errors and panics, handles, pointers of the host.

use super::{PluginError, Result};
use crate::{ErrorBuffer, Header, Status, status};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; turns an error or a panic into a status and a message.
pub(super) fn guard(err: *mut ErrorBuffer, body: impl FnOnce() -> Result<()>) -> Status {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return status::OK,
        Ok(Err(error)) => error,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "unknown panic".to_owned());
            // A payload's destructor could panic again, outside the guard.
            std::mem::forget(payload);
            PluginError::new(status::PANIC, format!("the plugin panicked: {text}"))
        }
    };
    // SAFETY: the caller passes null or its own error buffer.
    if let Some(buffer) = unsafe { err.as_mut() } {
        write_error(buffer, &error);
    }
    error.status
}

fn write_error(buffer: &mut ErrorBuffer, error: &PluginError) {
    buffer.code = error.status;
    buffer.len = 0;
    if buffer.message.is_null() {
        return;
    }
    let mut len = error.message.len().min(buffer.capacity as usize);
    while !error.message.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: the caller's buffer has `capacity` bytes, and `len` is no more.
    unsafe { std::ptr::copy_nonoverlapping(error.message.as_ptr(), buffer.message, len) };
    buffer.len = len as u64;
}

pub(super) fn into_handle<T>(value: T) -> u64 {
    Box::into_raw(Box::new(value)) as u64
}
/// # Safety: `handle` is 0 or came from `into_handle::<T>` and has not been freed.
pub(super) unsafe fn get<'a, T>(handle: u64, what: &str) -> Result<&'a T> {
    // SAFETY: as above.
    unsafe { (handle as *const T).as_ref() }.ok_or_else(|| PluginError::argument(format!("{what} handle is 0")))
}
/// # Safety: as [`get`]; the handle is not used again.
pub(super) unsafe fn free<T>(handle: u64) {
    if handle != 0 {
        // SAFETY: as above.
        let value = unsafe { Box::from_raw(handle as *mut T) };
        let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
    }
}
/// # Safety: `ptr` is null or valid for reads of `len` items for `'a`.
pub(super) unsafe fn input<'a, T>(ptr: *const T, len: u64) -> Result<&'a [T]> {
    match (ptr.is_null(), usize::try_from(len)) {
        (_, Ok(0)) => Ok(&[]),
        // SAFETY: as above.
        (false, Ok(len)) => Ok(unsafe { std::slice::from_raw_parts(ptr, len) }),
        _ => Err(PluginError::argument("null pointer or impossible length")),
    }
}
/// # Safety: `ptr` is null or valid for writes of `len` items for `'a`.
pub(super) unsafe fn output<'a, T>(ptr: *mut T, len: u64) -> Result<&'a mut [T]> {
    match (ptr.is_null(), usize::try_from(len)) {
        (_, Ok(0)) => Ok(&mut []),
        // SAFETY: as above.
        (false, Ok(len)) => Ok(unsafe { std::slice::from_raw_parts_mut(ptr, len) }),
        _ => Err(PluginError::argument("null pointer or impossible length")),
    }
}
/// # Safety: `ptr` is null or valid for reads and writes for `'a`.
pub(super) unsafe fn out<'a, T>(ptr: *mut T) -> Result<&'a mut T> {
    // SAFETY: as above.
    unsafe { ptr.as_mut() }.ok_or_else(|| PluginError::argument("output pointer is null"))
}
/// # Safety: `ptr` is null or valid for reads for `'a`.
pub(super) unsafe fn arg<'a, T>(ptr: *const T) -> Result<&'a T> {
    // SAFETY: as above.
    unsafe { ptr.as_ref() }.ok_or_else(|| PluginError::argument("argument pointer is null"))
}
/// A struct that has grown since version 1.0: what an older host's lacks is zero.
///
/// # Safety: `ptr` is null or readable for the size that the header says; a `T` may be all zeros, and begins with one.
pub(super) unsafe fn grown<T>(ptr: *const T) -> Result<T> {
    // SAFETY: as above.
    let header = unsafe { arg(ptr.cast::<Header>()) }?;
    let len = (header.struct_size as usize).min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `len` fits both sides; zeros are a `T`.
    unsafe {
        std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), len);
        Ok(value.assume_init())
    }
}
/// Fills a struct of the host that has grown since version 1.0: of what an older host's lacks nothing is written.
///
/// # Safety: `ptr` is null, or readable and writable for the size that the header says; a `T` is plain data that may be all zeros,
/// and begins with one.
pub(super) unsafe fn answered<T>(ptr: *mut T, fill: impl FnOnce(&mut T) -> Result<()>) -> Result<()> {
    // SAFETY: as above.
    let mut value: T = unsafe { grown(ptr) }?;
    fill(&mut value)?;
    // SAFETY: as above; the header is still the host's, and `len` fits both sides.
    unsafe {
        let len = ((*ptr.cast::<Header>()).struct_size as usize).min(size_of::<T>());
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), ptr.cast::<u8>(), len);
    }
    Ok(())
}
pub(super) fn check_range(len: u64, offset: u64, n: u64, what: &str) -> Result<()> {
    match offset.checked_add(n) {
        Some(end) if end <= len => Ok(()),
        _ => Err(PluginError::argument(format!("{what}: {n} bytes at {offset} exceed the buffer's {len}"))),
    }
}
