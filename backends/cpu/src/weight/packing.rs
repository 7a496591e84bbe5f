//! Packing all of a weight, on the pool's threads.

use super::matrix::{Bytes, Matrix};
use super::rows::Rows;
use crate::memory::Memory;
use crate::pool::Pool;
use crate::stop::Stop;
use std::sync::atomic::{AtomicBool, Ordering};
use tern_abi::plugin::{PluginError, Result};
use tern_quant::DType;

impl Matrix {
    /// Packs, or copies rows, on the pool's threads.
    pub fn pack(dtype: DType, sizes: [usize; 3], src: &[u8], pool: &Pool, cancel: &dyn Fn() -> bool) -> Result<Self> {
        let mut to = std::ptr::null_mut();
        let this = Self::new(dtype, sizes, |bytes| {
            let memory = Memory::zeroed(bytes)?;
            to = memory.ptr();
            Ok(Bytes::Own(memory))
        })?;
        let total = this.experts() * this.panels();
        let given_up = AtomicBool::new(false);
        // About a quarter of a megabyte at a time: long enough for a claim to cost nothing, short enough to cancel.
        let chunk = ((256 << 10) / this.panel_bytes().max(1)).max(1);
        // SAFETY: `src` is readable for the call, and no longer used after it.
        let rows = unsafe { Rows::new(dtype, this.columns(), src) };
        let packer = Packer { matrix: &this, to, given_up: &given_up };
        // The caller's function must stay on its thread: worker 0, which every run has.
        let cancel = OnWorkerZero(cancel);
        pool.run(&Stop::never(), &|worker| {
            while let Some(range) = worker.claim(total, chunk) {
                if worker.index() == 0 && cancel.ask() {
                    packer.given_up.store(true, Ordering::Relaxed);
                }
                if packer.given_up.load(Ordering::Relaxed) {
                    return;
                }
                for panel in range {
                    packer.panel(panel, &rows);
                }
            }
        })?;
        if given_up.into_inner() {
            return Err(PluginError::cancelled());
        }
        Ok(this)
    }
}

/// Calls a function that is tied to the thread that made this.
struct OnWorkerZero<'a>(&'a dyn Fn() -> bool);
// SAFETY: `ask` is called by worker 0 only, which is the thread that runs the pool.
unsafe impl Sync for OnWorkerZero<'_> {}
impl OnWorkerZero<'_> {
    fn ask(&self) -> bool {
        (self.0)()
    }
}

/// What workers share while they pack.
struct Packer<'a> {
    matrix: &'a Matrix,
    to: *mut u8,
    given_up: &'a AtomicBool,
}

// SAFETY: each worker writes panels of its own.
unsafe impl Sync for Packer<'_> {}

impl Packer<'_> {
    fn panel(&self, index: usize, rows: &Rows) {
        let m = self.matrix;
        let to = self.to.wrapping_add(index * m.panel_bytes());
        // SAFETY: in the memory; each panel is claimed by one worker, and nobody reads before all are done.
        let panel = unsafe { std::slice::from_raw_parts_mut(to, m.panel_bytes()) };
        m.pack_panel(rows, index / m.panels(), index % m.panels(), panel);
    }
}
