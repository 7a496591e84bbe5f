//! Says that all is well, and hands out nothing.

use tern_abi::{Backend, ErrorBuffer, Host, Status, status};

/// Does nothing.
///
/// # Safety
/// Always.
pub unsafe extern "C" fn entry(_host: *const Host, _out: *mut *const Backend, _err: *mut ErrorBuffer) -> Status {
    status::OK
}

tern_abi::export_symbol!(crate::entry);
