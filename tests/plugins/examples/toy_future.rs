//! Built with a later minor version: its table goes on where this host's ends.

use tern_abi::{Backend, ErrorBuffer, Header, Host, MINOR, Status};
use tern_test_plugins::{Behaviour, Toy};

struct Future;

impl Behaviour for Future {
    const NAME: &'static str = "future";
    fn score() -> tern_abi::plugin::Result<i32> {
        Ok(20)
    }
}

#[repr(C)]
struct Longer {
    table: Backend,
    more: [usize; 8],
}

/// The long table.
///
/// # Safety
/// As every entry.
pub unsafe extern "C" fn entry(host: *const Host, out: *mut *const Backend, err: *mut ErrorBuffer) -> Status {
    // SAFETY: the host's own arguments.
    let status = unsafe { tern_abi::plugin::Glue::<Toy<Future>>::entry(host, out, err) };
    // SAFETY: the table that was just stored.
    let mut table = unsafe { **out };
    table.header = Header::of::<Longer>();
    table.minor = MINOR + 1;
    let longer = Box::leak(Box::new(Longer { table, more: [usize::MAX; 8] }));
    // SAFETY: the host's variable.
    unsafe { *out = std::ptr::from_ref(longer).cast() };
    status
}

tern_abi::export_symbol!(crate::entry);
