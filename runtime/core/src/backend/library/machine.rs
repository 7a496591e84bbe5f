//! What a manifest may ask of the machine.

macro_rules! detected {
    ($macro:path, $name:expr, [$($feature:tt)*]) => {
        match $name {
            $($feature => Some({ use $macro as detect; detect!($feature) }),)*
            _ => None,
        }
    };
}

/// Does the processor have a feature? `None` where this build knows none of that name.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(super) fn has_feature(name: &str) -> Option<bool> {
    detected!(std::arch::is_x86_feature_detected, name, [
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "bmi1" "bmi2" "avx" "f16c" "fma" "avx2" "avxvnni"
        "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512vbmi" "avx512bf16"
    ])
}

/// Does the processor have a feature? `None` where this build knows none of that name.
#[cfg(target_arch = "aarch64")]
pub(super) fn has_feature(name: &str) -> Option<bool> {
    detected!(std::arch::is_aarch64_feature_detected, name, [
        "neon" "fp16" "dotprod" "i8mm" "bf16" "sve" "sve2"
    ])
}

/// Does the processor have a feature? `None` where this build knows none of that name.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn has_feature(_name: &str) -> Option<bool> {
    None
}

/// Can the system load a driver's library?
pub(super) fn has_driver(name: &str) -> bool {
    match load(name) {
        Ok(library) => {
            // The plugin will load it again; drivers do not bear being closed.
            std::mem::forget(library);
            true
        }
        Err(_) => false,
    }
}

#[cfg(unix)]
fn load(name: &str) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix;
    // SAFETY: loading runs the driver's initializers; the name has no path, so it is one of the system's.
    unsafe { unix::Library::open(Some(name), unix::RTLD_LAZY | unix::RTLD_LOCAL) }.map(Into::into)
}

#[cfg(windows)]
fn load(name: &str) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::windows;
    // SAFETY: loading runs the driver's initializers; it is looked for in the system's folder only.
    unsafe { windows::Library::load_with_flags(name, windows::LOAD_LIBRARY_SEARCH_SYSTEM32) }.map(Into::into)
}
