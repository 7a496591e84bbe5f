//! Ctrl-C: the first one asks the work under way to stop, and a few more end the program whatever it does.

use crate::failure::{Exit, Failure, Result};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use tern::CancelFlag;

/// Whom Ctrl-C is meant for now.
static TARGET: Mutex<Option<CancelFlag>> = Mutex::new(None);
/// How often it was pressed since work began.
static PRESSES: AtomicU32 = AtomicU32::new(0);
/// Interactive: Ctrl-C ends the answer, not the program.
static STAYS: AtomicBool = AtomicBool::new(false);

/// After so many presses work that does not stop is left as it is: once more than needed, and where the program
/// should stay, often enough to be meant.
const LAST_PRESS: u32 = 2;
const LAST_PRESS_STAYING: u32 = 5;

/// Starts listening. Once per process.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(pressed).map_err(|e| Failure::new(Exit::Failure, format!("cannot listen to Ctrl-C: {e}")))
}

/// From now on Ctrl-C does not end the program while nothing is under way.
pub fn stay() {
    STAYS.store(true, Ordering::Relaxed);
}

/// Ctrl-C sets `flag` until the guard is dropped.
pub fn watch(flag: CancelFlag) -> Watch {
    PRESSES.store(0, Ordering::Relaxed);
    *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = Some(flag);
    Watch(())
}

/// See [`watch`].
pub struct Watch(());

impl Watch {
    /// Was Ctrl-C pressed since?
    pub fn pressed(&self) -> bool {
        PRESSES.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn pressed() {
    let presses = PRESSES.fetch_add(1, Ordering::Relaxed) + 1;
    let stays = STAYS.load(Ordering::Relaxed);
    let working = match &*TARGET.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(flag) => {
            flag.cancel();
            true
        }
        None => false,
    };
    let last = if stays { LAST_PRESS_STAYING } else { LAST_PRESS };
    if (working && presses >= last) || (!working && !stays) {
        // A signal's thread cannot make main return.
        #[allow(clippy::exit)]
        std::process::exit(Exit::Cancelled as i32);
    }
}
