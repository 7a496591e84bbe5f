//! A library that is no plugin.

/// Something else.
#[unsafe(no_mangle)]
pub extern "C" fn tern_something_else() -> u32 {
    7
}
