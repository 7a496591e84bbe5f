//! Moving float weights out of the host's mapped file into huge pages of our own, a little in each step that waits for memory.
//!
//! A copy at load would come before the first token, which is worth more; a prompt is bound by arithmetic. So what moves are the
//! weights of steps with few tokens, as they are run: a model that only reads long texts keeps its file's pages, which other
//! processes share. Nothing moves where it would take a large part of the machine's memory.

use crate::matmul::share::FEW;
use crate::memory;
use crate::pool::Pool;
use crate::stop::Stop;
use crate::weight::{Matrix, Prepared, Resting};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

/// Bytes that a step moves: some 2 ms with two threads.
const PER_STEP: usize = 16 << 20;
/// One worker's part at a time: what a page fault makes.
const PIECE: usize = memory::HUGE;

/// What a device's weights have left to move.
#[derive(Default)]
pub struct Moving {
    /// Matrices that may move and have not wholly, so that steps of others need not look at their weights.
    left: AtomicUsize,
    /// One at a time moves.
    busy: Mutex<()>,
}

/// Bytes that one worker copies.
struct Piece<'a> {
    rows: &'a Resting,
    bytes: Range<usize>,
    to: *mut u8,
}
// SAFETY: addresses; each piece is claimed by one worker.
unsafe impl Sync for Piece<'_> {}

impl Moving {
    /// A weight that the device has from now on.
    pub fn expect(&self, weight: &Prepared) {
        if weight.matrix().and_then(Matrix::as_resting).is_some_and(Resting::rests) {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes on with the weights of a step of so many tokens.
    pub fn go_on<'a>(&self, pool: &Pool, tokens: usize, weights: impl Iterator<Item = &'a Prepared>) {
        if tokens == 0 || tokens > FEW || self.left.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut resting = weights.filter_map(|w| w.matrix()?.as_resting()).filter(|r| r.rests()).peekable();
        if resting.peek().is_none() {
            return;
        }
        let _alone = match self.busy.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            // Another step is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        let (mut bytes_left, mut parts, mut pieces) = (PER_STEP, Vec::new(), Vec::new());
        for rows in resting {
            if bytes_left == 0 {
                break;
            }
            let next = (rows.moved() > 0 || memory::has_room(rows.bytes())).then(|| rows.next(bytes_left));
            let Some(Ok((bytes, to))) = next else {
                rows.stay();
                self.left.fetch_sub(1, Ordering::Relaxed);
                continue;
            };
            bytes_left = bytes_left.saturating_sub(bytes.len());
            parts.push((rows, bytes.end));
            cut(rows, bytes, to, &mut pieces);
        }
        let copied = pool.run(&Stop::never(), &|worker| {
            while let Some(range) = worker.claim(pieces.len(), 1) {
                for piece in &pieces[range] {
                    // SAFETY: pieces of what comes next, each of which one worker claims.
                    unsafe { piece.rows.copy(piece.bytes.clone(), piece.to) };
                }
            }
        });
        if copied.is_ok() {
            for (rows, end) in parts {
                rows.settle(end);
                self.left.fetch_sub(usize::from(!rows.rests()), Ordering::Relaxed);
            }
        }
    }
}

/// Pieces of one page each, so that no two workers wait for the same.
fn cut<'a>(rows: &'a Resting, bytes: Range<usize>, mut to: *mut u8, pieces: &mut Vec<Piece<'a>>) {
    let mut first = bytes.start;
    while first < bytes.end {
        let len = (PIECE - to.addr() % PIECE).min(bytes.end - first);
        pieces.push(Piece { rows, bytes: first..first + len, to });
        (first, to) = (first + len, to.wrapping_add(len));
    }
}
