//! Tables of every length and with every kind of garbage.

use crate::setup::{Rig, entry, weight};
use crate::toy::{Behaviour, Good};
use std::cell::Cell;
use std::mem::offset_of;
use tern::backend::{Backend, BackendError, Result, StateDesc};
use tern_abi::{Backend as Table, ErrorBuffer, Header, Host, Status, Str, status};

thread_local! {
    static TABLE: Cell<*const Table> = const { Cell::new(std::ptr::null()) };
}

unsafe extern "C" fn handed_out(_: *const Host, out: *mut *const Table, _: *mut ErrorBuffer) -> Status {
    // SAFETY: the host's variable.
    unsafe { *out = TABLE.get() };
    status::OK
}

fn load(table: *const Table) -> Result<Backend> {
    TABLE.set(table);
    // SAFETY: the entry hands out what the test made.
    unsafe { Backend::from_entry(handed_out) }
}

fn good<B: Behaviour>() -> Table {
    let mut table = std::ptr::null();
    // SAFETY: the toy's entry with the test's variable.
    unsafe { entry::<B>()(std::ptr::null(), &mut table, std::ptr::null_mut()) };
    // SAFETY: the table that was just stored.
    unsafe { *table }
}

/// Uses every function there is; the names of the missing ones.
fn missing(backend: &Backend) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut note = |result: Result<()>| match result {
        Ok(()) => {}
        Err(BackendError::MissingFunction { function, .. }) => names.push(function),
        Err(other) => panic!("{other}"),
    };
    note(backend.score().map(drop));
    note(backend.devices().map(drop));
    match backend.open(0, 0, "") {
        Err(error) => note(Err(error)),
        Ok(device) => {
            let desc = StateDesc { header: Header::of::<StateDesc>(), kind: 1, dtype: 0, dims: [8, 0, 0, 0, 0, 0] };
            note(device.memory().map(drop));
            note(device.supports(&crate::setup::graph()).map(drop));
            note(device.state_layout(&desc).map(drop));
            note(weight(&device).and_then(|w| w.info()).map(drop));
            note(weight(&device).and_then(|w| w.read_rows(0, &mut [0.0; 4])));
            note(weight(&device).and_then(|w| w.update_rows(0, &[0.0; 4])));
            if let Ok(buffer) = device.alloc(64) {
                note(buffer.write(0, &[1]));
                note(buffer.read(0, &mut [1]));
                note(buffer.copy_from(0, &buffer, 8, 8));
                note(buffer.fill(0, 8, 0));
                note(buffer.state_export(&desc, 0, &mut [0; 8]));
                note(buffer.state_import(&desc, 0, &[0; 8]));
            }
            note(Rig::new(device).and_then(|rig| rig.run(1)));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn a_table_of_any_length_works_as_far_as_it_goes() {
    let table = good::<Good>();
    let first = offset_of!(Table, score);
    let pointer = size_of::<usize>();
    let mut fewest = usize::MAX;
    for len in (first..=size_of::<Table>()).step_by(pointer / 2) {
        // An allocation of just this length, so that a checker of memory would see a read past it.
        let mut short = vec![0u64; len.div_ceil(8)];
        // SAFETY: both have `len` bytes.
        unsafe {
            let at = short.as_mut_ptr().cast::<Table>();
            std::ptr::copy_nonoverlapping((&raw const table).cast::<u8>(), at.cast::<u8>(), len);
            (*at).header.struct_size = len as u32;
        }
        let backend = load(short.as_ptr().cast()).unwrap();
        drop(short);
        let names = missing(&backend);
        assert!(!names.is_empty() || len >= offset_of!(Table, extension), "{len} bytes");
        if len == first {
            assert_eq!(names, ["device_count", "score"]);
        }
        if len == offset_of!(Table, bind_set_create) {
            assert_eq!(names, ["bind_set_create"]);
        }
        fewest = fewest.min(names.len());
    }
    assert_eq!(fewest, 0);
}

#[test]
fn garbage_tables_are_refused_with_the_reason() {
    let refused = |change: fn(&mut Table)| {
        let mut table = good::<Good>();
        change(&mut table);
        load(&table).unwrap_err().to_string()
    };
    let null = load(std::ptr::null()).unwrap_err().to_string();
    assert_eq!(null, "backend registered: its table is wrong: the entry stored no table");
    let crooked = load(std::ptr::without_provenance(0x1003)).unwrap_err().to_string();
    assert_eq!(crooked, "backend registered: its table is wrong: it is not aligned");
    assert!(refused(|t| t.header.struct_size = 3).contains("it states 3 bytes, version 1.0 begins with"));
    let name = "its name is not 1 to 64 lower-case letters, digits, '-' or '_'";
    assert!(refused(|t| t.name = Str::EMPTY).ends_with(name));
    assert!(refused(|t| t.name = Str::new("../cpu")).ends_with(name));
    assert!(refused(|t| t.name = Str { ptr: b"\xff".as_ptr(), len: 1 }).ends_with(name));
    assert!(refused(|t| t.name = Str { ptr: b"x".as_ptr(), len: u64::MAX }).ends_with(name));
    assert!(refused(|t| t.name = Str { ptr: std::ptr::null(), len: 4 }).ends_with(name));
    assert!(refused(|t| t.version.len = 1 << 40).ends_with("its version is not UTF-8 of at most 64 bytes"));
}

#[test]
fn impossible_answers_are_refused() {
    unsafe extern "C" fn many() -> u32 {
        u32::MAX
    }
    unsafe extern "C" fn no_handle(_: u64, _: u64, _: *mut u64, _: *mut ErrorBuffer) -> Status {
        status::OK
    }
    unsafe extern "C" fn seven(_: u64, _: *mut tern_abi::MemoryInfo, _: *mut ErrorBuffer) -> Status {
        7
    }
    unsafe extern "C" fn crooked(_: u32, info: *mut tern_abi::DeviceInfo, _: *mut ErrorBuffer) -> Status {
        // SAFETY: the host's struct.
        unsafe { (*info).alignment = 48 };
        status::OK
    }
    let mut table = good::<Good>();
    table.device_count = Some(many);
    let error = load(&table).unwrap().devices().unwrap_err().to_string();
    assert_eq!(error, "backend \"good\", device_count: broke the ABI: 4294967295 devices, more than 256");

    let mut table = good::<Good>();
    table.device_info = Some(crooked);
    let error = load(&table).unwrap().devices().unwrap_err().to_string();
    assert!(error.ends_with("an alignment of 48, which is not a power of two"), "{error}");

    let mut table = good::<Good>();
    table.buffer_alloc = Some(no_handle);
    table.memory = Some(seven);
    let device = load(&table).unwrap().open(0, 0, "").unwrap();
    let error = device.alloc(8).unwrap_err().to_string();
    assert_eq!(error, "backend \"good\", buffer_alloc: broke the ABI: it returned no handle");
    let error = device.memory().unwrap_err().to_string();
    assert_eq!(error, "backend \"good\", memory: broke the ABI: it returned status 7");
}
