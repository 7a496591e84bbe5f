//! Speaks the next major version only.

/// The entry of version 2, whatever that will be.
#[unsafe(no_mangle)]
pub extern "C" fn tern_backend_v2() -> i32 {
    0
}
