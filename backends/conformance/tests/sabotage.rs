//! Plugins that are wrong are found out: the reference behind functions that spoil what they pass on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tern_abi::{Backend, Device, DeviceOptions, Entry, ErrorBuffer, Host, Status, Ticket, status};
use tern_conformance::judge::Verdict;
use tern_conformance::report::{Options, Report};

fn original() -> &'static Backend {
    let mut table: *const Backend = std::ptr::null();
    // SAFETY: `table` is valid for writes; the other pointers may be null.
    assert_eq!(unsafe { tern_reference::entry(std::ptr::null(), &mut table, std::ptr::null_mut()) }, status::OK);
    // SAFETY: the table lives as long as the process.
    unsafe { &*table }
}

type Read = unsafe extern "C" fn(Device, u64, u64, u64, *mut u8, u64, *mut Ticket, *mut ErrorBuffer) -> Status;

/// Reads as the reference does and lets `spoil` change the words.
///
/// # Safety
/// As `buffer_read`.
unsafe fn read(arguments: (Device, u64, u64, u64, *mut u8, u64), spoil: impl Fn(&mut u32)) -> Status {
    let (dev, queue, buffer, offset, dst, len) = arguments;
    let read = original().buffer_read.unwrap();
    // SAFETY: the caller's arguments, passed on.
    let status = unsafe { read(dev, queue, buffer, offset, dst, len, &mut 0, std::ptr::null_mut()) };
    if len > 0 {
        // SAFETY: `dst` has `len` bytes.
        for word in unsafe { std::slice::from_raw_parts_mut(dst, len as usize) }.as_chunks_mut::<4>().0 {
            let mut bits = u32::from_le_bytes(*word);
            // Guards, ids and zeros are no floats of ordinary size.
            if (1e-3..1e6).contains(&f32::from_bits(bits).abs()) {
                spoil(&mut bits);
            }
            *word = bits.to_le_bytes();
        }
    }
    status
}

/// A plugin like the reference, but for what `change` puts into its table.
fn with(cell: &'static OnceLock<Backend>, out: *mut *const Backend, change: impl FnOnce(&mut Backend)) -> Status {
    let table = cell.get_or_init(|| {
        let mut table = *original();
        change(&mut table);
        table
    });
    // SAFETY: the host's variable.
    unsafe { *out = table };
    status::OK
}

macro_rules! saboteur {
    ($name:ident, $change:expr) => {
        unsafe extern "C" fn $name(_: *const Host, out: *mut *const Backend, _: *mut ErrorBuffer) -> Status {
            static TABLE: OnceLock<Backend> = OnceLock::new();
            with(&TABLE, out, $change)
        }
    };
}

/// Every result is off by a thousandth.
unsafe extern "C" fn inexact(
    d: u64,
    q: u64,
    b: u64,
    o: u64,
    p: *mut u8,
    n: u64,
    _: *mut u64,
    _: *mut ErrorBuffer,
) -> Status {
    // SAFETY: the host's arguments, passed on.
    unsafe { read((d, q, b, o, p, n), |bits| *bits = (f32::from_bits(*bits) * 1.001).to_bits()) }
}
saboteur!(inexact_entry, |table| table.buffer_read = Some(inexact as Read));

static THREE: AtomicU64 = AtomicU64::new(0);
unsafe extern "C" fn open(i: u32, options: *const DeviceOptions, out: *mut Device, err: *mut ErrorBuffer) -> Status {
    // SAFETY: the host's arguments, passed on and valid for the call.
    unsafe {
        let status = original().device_open.unwrap()(i, options, out, err);
        if (*options).threads == 3 {
            THREE.store(*out, Ordering::Relaxed);
        }
        status
    }
}
/// With three threads, the last bit is another.
unsafe extern "C" fn three(
    d: u64,
    q: u64,
    b: u64,
    o: u64,
    p: *mut u8,
    n: u64,
    _: *mut u64,
    _: *mut ErrorBuffer,
) -> Status {
    // SAFETY: the host's arguments, passed on.
    unsafe { read((d, q, b, o, p, n), |bits| *bits ^= u32::from(d == THREE.load(Ordering::Relaxed))) }
}
saboteur!(three_entry, |table| {
    table.device_open = Some(open);
    table.buffer_read = Some(three as Read);
});

/// The last bit depends on how much is computed at once.
unsafe extern "C" fn sized(
    d: u64,
    q: u64,
    b: u64,
    o: u64,
    p: *mut u8,
    n: u64,
    _: *mut u64,
    _: *mut ErrorBuffer,
) -> Status {
    // SAFETY: the host's arguments, passed on.
    unsafe { read((d, q, b, o, p, n), |bits| *bits ^= (n / 4 % 2) as u32) }
}
saboteur!(sized_entry, |table| table.buffer_read = Some(sized as Read));

/// Panics that reached the boundary would abort; a refusal must be reported as a failure.
unsafe extern "C" fn refuse(
    _: u64,
    _: u64,
    _: u64,
    _: *const tern_abi::run::RunArgs,
    _: *mut u64,
    _: *mut ErrorBuffer,
) -> Status {
    status::INTERNAL
}
saboteur!(refusing_entry, |table| table.run = Some(refuse));

/// Ops with failures in a section.
fn failures(entry: Entry, filter: &str, section: &str) -> BTreeSet<String> {
    let options = Options { filter: filter.into(), ..Options::default() };
    let report = Report::run(entry, &options).unwrap();
    let failed = |l: &&tern_conformance::report::Line| l.section == section && matches!(l.verdict, Verdict::Failed(_));
    report.lines.iter().filter(failed).map(|l| l.op.clone()).collect()
}

#[test]
fn a_thousandth_is_too_much_for_every_op() {
    let found = failures(inexact_entry, "", "forward");
    assert_eq!(found.len(), tern_abi::ops::COUNT as usize, "{found:?}");
    let found = failures(inexact_entry, "", "gradient");
    // All but ROPE_TABLE and QUANTIZE_TOKENS.
    assert_eq!(found.len(), tern_abi::ops::COUNT as usize - 2, "{found:?}");
}

#[test]
fn one_bit_that_depends_on_threads_is_found() {
    assert_eq!(failures(three_entry, "RMS_NORM", "forward"), BTreeSet::new());
    assert!(failures(three_entry, "RMS_NORM", "threads").contains("RMS_NORM"));
}

#[test]
fn one_bit_that_depends_on_the_size_of_a_step_is_found() {
    for op in ["RMS_NORM", "LINEAR"] {
        assert!(failures(sized_entry, op, "splits").contains(op), "{op}");
    }
}

#[test]
fn errors_are_failures() {
    assert!(failures(refusing_entry, "SUM", "forward").contains("SUM"));
}
