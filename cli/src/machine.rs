//! What this machine and process say about themselves.

use std::mem::MaybeUninit;

/// The most memory that this process has held, in bytes. `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn peak_memory() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// As above.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn peak_memory() -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the struct is writable and consists of numbers, for which zeros are valid.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).ok().map(|peak| peak * unit)
}

/// As above.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

/// Bytes that this process has had read from storage so far, pages of mapped files among them. `None` where the system does not tell.
pub fn fetched() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}

/// Memory of the machine in bytes: all, and what can still be had.
pub fn memory() -> Option<(u64, u64)> {
    let info = "/proc/meminfo";
    Some((kilobytes(info, "MemTotal:")?, kilobytes(info, "MemAvailable:")?))
}

/// A line `key   123 kB` of one of Linux's status files, in bytes.
fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Characters that fit a line of the terminal on stderr, where there is one.
#[cfg(unix)]
pub fn terminal_width() -> Option<usize> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the struct is writable and consists of numbers, for which zeros are valid.
    let size = unsafe {
        if libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) != 0 {
            return None;
        }
        size.assume_init()
    };
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// As above.
#[cfg(not(unix))]
pub fn terminal_width() -> Option<usize> {
    None
}

/// Asks the system to use huge pages for `memory`. It may refuse, which costs nothing.
pub fn advise_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let range = memory.as_mut_ptr_range();
        let (start, end) = ((range.start as usize).next_multiple_of(PAGE), range.end as usize / PAGE * PAGE);
        if start < end {
            let pointer = range.start.wrapping_byte_add(start - range.start as usize);
            // SAFETY: advice on whole pages inside memory that is ours; contents do not change.
            unsafe { libc::madvise(pointer.cast(), end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Threads that the system runs at once for this process.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Instruction sets that matter to backends, each with whether it is there.
pub fn cpu_features() -> Vec<(&'static str, bool)> {
    macro_rules! features {
        ($detected:ident: $($name:tt)*) => { vec![$(($name, std::arch::$detected!($name))),*] };
    }
    #[cfg(target_arch = "x86_64")]
    return features!(is_x86_feature_detected: "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512vl" "avx512dq"
        "avx512vnni" "avx512bf16" "avx512fp16");
    #[cfg(target_arch = "aarch64")]
    return features!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "fp16" "bf16" "sve" "sve2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Vec::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        assert!(peak_memory().unwrap() > 100_000);
        let (all, free) = memory().unwrap();
        assert!(all >= free && free > 0);
        assert_eq!(kilobytes("/proc/meminfo", "NoSuchLine:"), None);
    }
}
