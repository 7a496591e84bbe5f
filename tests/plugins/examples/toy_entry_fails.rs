//! Its entry fails, with a message that is no UTF-8 and claims to be longer than there is room for.

use tern_abi::{Backend, ErrorBuffer, Host, Status, status};

/// Fails.
///
/// # Safety
/// `err` is the host's.
pub unsafe extern "C" fn entry(_host: *const Host, _out: *mut *const Backend, err: *mut ErrorBuffer) -> Status {
    let text = b"driver too old \xff";
    // SAFETY: the host's buffer has room for more than this text.
    unsafe {
        (*err).message.copy_from_nonoverlapping(text.as_ptr(), text.len());
        (*err).message.add(text.len()).write_bytes(b' ', 100);
        (*err).len = u64::MAX;
    }
    status::UNAVAILABLE
}

tern_abi::export_symbol!(crate::entry);
