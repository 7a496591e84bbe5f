//! Plugins whose work goes on after the call.

use crate::setup::{Rig, entry};
use crate::toy::Behaviour;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use tern::backend::{Backend, BackendError};
use tern_abi::{Backend as Table, ErrorBuffer, Host, Status, Ticket, status};

struct Later;

impl Behaviour for Later {
    const NAME: &'static str = "later";
}

/// Polls that are left until the ticket is done, and what it then yields.
static LEFT: AtomicI32 = AtomicI32::new(0);
static OUTCOME: AtomicI32 = AtomicI32::new(status::OK);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const TICKET: Ticket = 77;

fn inner() -> Table {
    let mut table = std::ptr::null();
    // SAFETY: the toy's entry with the test's variable.
    unsafe { entry::<Later>()(std::ptr::null(), &mut table, std::ptr::null_mut()) };
    // SAFETY: the table that was just stored.
    unsafe { *table }
}

unsafe extern "C" fn run(
    dev: u64,
    queue: u64,
    exec: u64,
    args: *const tern_abi::run::RunArgs,
    ticket: *mut Ticket,
    err: *mut ErrorBuffer,
) -> Status {
    // SAFETY: the host's own arguments.
    unsafe {
        let status = inner().run.unwrap()(dev, queue, exec, args, ticket, err);
        assert_eq!(status, status::OK);
        *ticket = TICKET;
    }
    LEFT.store(3, Ordering::Relaxed);
    status::PENDING
}

unsafe extern "C" fn poll(_dev: u64, ticket: Ticket, _err: *mut ErrorBuffer) -> Status {
    assert_eq!(ticket, TICKET);
    let left = LEFT.fetch_sub(1, Ordering::Relaxed);
    assert!(left > 0, "a spent ticket is polled");
    if left > 1 { status::PENDING } else { OUTCOME.load(Ordering::Relaxed) }
}

unsafe extern "C" fn wait(dev: u64, ticket: Ticket, timeout: u64, err: *mut ErrorBuffer) -> Status {
    assert!(timeout > 0);
    // SAFETY: the host's own arguments.
    unsafe { poll(dev, ticket, err) }
}

/// A table that `change` has changed, as an entry.
fn backend(change: fn(&mut Table)) -> Backend {
    static TABLE: Mutex<Option<&'static Table>> = Mutex::new(None);
    unsafe extern "C" fn changed(_: *const Host, out: *mut *const Table, _: *mut ErrorBuffer) -> Status {
        let table = TABLE.lock().unwrap().unwrap();
        // SAFETY: the host's variable.
        unsafe { *out = table };
        status::OK
    }
    let mut table = inner();
    table.run = Some(run);
    change(&mut table);
    *TABLE.lock().unwrap() = Some(Box::leak(Box::new(table)));
    // SAFETY: the toy's functions, with those above.
    unsafe { Backend::from_entry(changed) }.unwrap()
}

fn check(change: fn(&mut Table)) {
    let rig = Rig::new(backend(change).open(0, 0, "").unwrap()).unwrap();
    rig.run(1).unwrap();
    assert_eq!(LEFT.load(Ordering::Relaxed), 0, "the host waited for the end");
    assert_eq!(rig.result(2).unwrap(), [100.0, 101.0]);
    OUTCOME.store(status::INTERNAL, Ordering::Relaxed);
    let error = rig.run(1).unwrap_err();
    OUTCOME.store(status::OK, Ordering::Relaxed);
    assert!(matches!(error, BackendError::Call { call: "run", status: status::INTERNAL, .. }), "{error}");
}

#[test]
fn the_end_is_awaited_by_polling_or_by_waiting() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    check(|table| table.ticket_poll = Some(poll));
    check(|table| table.ticket_wait = Some(wait));
}

#[test]
fn work_whose_end_cannot_be_known_costs_the_device() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::new(backend(|_| ()).open(0, 0, "").unwrap()).unwrap();
    let error = rig.run(1).unwrap_err().to_string();
    assert_eq!(error, "backend \"later\", run: broke the ABI: it is pending, and there is no ticket function");
    assert!(matches!(rig.result(1), Err(BackendError::DeviceLost { .. })));
}
