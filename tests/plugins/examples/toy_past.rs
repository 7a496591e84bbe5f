//! Built with an ABI whose table ended before bind sets: there is nothing behind its last function.

use std::mem::offset_of;
use tern_abi::{Backend, ErrorBuffer, Host, Status};
use tern_test_plugins::{Behaviour, Toy};

struct Past;

impl Behaviour for Past {
    const NAME: &'static str = "past";
}

/// The short table.
///
/// # Safety
/// As every entry.
pub unsafe extern "C" fn entry(host: *const Host, out: *mut *const Backend, err: *mut ErrorBuffer) -> Status {
    // SAFETY: the host's own arguments.
    let status = unsafe { tern_abi::plugin::Glue::<Toy<Past>>::entry(host, out, err) };
    let len = offset_of!(Backend, bind_set_create);
    // Exactly as long as it states, so that a read past its end is one past an allocation.
    let table = Box::leak(vec![0u64; len / 8].into_boxed_slice()).as_mut_ptr().cast::<Backend>();
    // SAFETY: both sides have `len` bytes, and the header is within them.
    unsafe {
        std::ptr::copy_nonoverlapping((*out).cast::<u8>(), table.cast::<u8>(), len);
        (*table).header.struct_size = len as u32;
        *out = table;
    }
    status
}

tern_abi::export_symbol!(crate::entry);
