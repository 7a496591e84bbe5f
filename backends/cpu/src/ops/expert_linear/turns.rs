//! Chosen experts, all at once or, where they are paged, in turns of those that are in memory together.

use crate::op::Step;
use crate::pool::Worker;
use crate::weight::{Matrix, Paged};

/// Panels that a worker packs at a time.
const PANELS: usize = 4;

/// Calls `work` with experts whose matrices can be used, until it has had all that `paged` has begun with; the second argument says
/// whether these are the last. All workers call this after the barrier behind [`Paged::begin`], and share `work` by claims; it ends
/// without a barrier. Where the step is stopped, the rest is left out.
///
/// # Safety
/// `paged` is that of `matrix`; all workers of the run make this call.
pub(super) unsafe fn in_turns(
    (matrix, paged): (&Matrix, &Paged),
    step: &Step<'_>,
    worker: &Worker<'_>,
    mut work: impl FnMut(&[u32], bool),
) {
    loop {
        let turn = paged.turn();
        let missing = turn.missing();
        if !missing.is_empty() {
            while let Some(range) = worker.claim(missing.len() * matrix.panels(), PANELS) {
                if step.cancelled() {
                    break;
                }
                for item in range {
                    let expert = missing[item / matrix.panels()] as usize;
                    // SAFETY: each panel is claimed by one worker, and used behind the barrier.
                    unsafe { matrix.pack_missing(paged, expert, item % matrix.panels()) };
                }
            }
            worker.barrier();
            if worker.stopped() {
                return;
            }
            if worker.index() == 0 {
                paged.settle(&turn);
            }
        }
        let last = turn.is_last();
        work(turn.now(), last);
        drop(turn);
        if last {
            return;
        }
        worker.barrier();
        if worker.stopped() {
            return;
        }
        if worker.index() == 0 {
            paged.advance();
        }
        worker.barrier();
    }
}
