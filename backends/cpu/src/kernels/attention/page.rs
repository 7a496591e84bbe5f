//! One group of pages against a tile.

use super::merge::{Merge, merge_block, merge_rows};
use super::softmax::{Scores, exponentials, prepare};
use super::{CONVERT_ROWS, Tile, group_pages, state_stride};
use crate::kernels::product::{CACHE_LINE, Code, Element, Half, MAX_ROWS, Product};
use crate::simd::{LANES, Simd};
use std::ptr;

/// Attends to the pages of group `group` and merges the result into the tile's total. `CODES`: of 8 bits, with scales.
///
/// # Safety
/// As the tile's fields say; see [`Simd`].
#[inline(always)]
unsafe fn attend<S: Simd, E: Element, const CODES: bool>(t: &Tile, group: usize, convert: bool) {
    let (page_size, per_group) = (t.layout.page_size, group_pages(t.layout.page_size));
    let seen = t.seen_pages();
    let pages = seen.start.max(group * per_group)..seen.end.min((group + 1) * per_group);
    // SAFETY: only pages that a row sees are read; rows are those of the tile.
    unsafe {
        t.work.part.clear(t.rows(), state_stride(&t.layout));
        for page in pages.clone() {
            let start = page * page_size;
            // Tokens that see the page are consecutive: not too far before it, and within the window after it.
            let first = (start + 1).saturating_sub(t.position + t.ahead.reach);
            let last = match t.window {
                0 => t.tokens,
                w => (start + page_size + w - 1).saturating_sub(t.position).min(t.tokens),
            };
            if first >= last {
                continue;
            }
            let keys = keys_of::<E>(t, page);
            let values = keys.add(t.layout.values_at());
            let scales = if CODES { keys.byte_add(t.layout.scales_at()).cast() } else { ptr::null() };
            // Beyond the group as well: whoever goes on there shares at least the last level of caches.
            let next = if page + 1 < seen.end { keys_of::<E>(t, page + 1) } else { keys };
            let rows = (first * t.group, last * t.group);
            for at in (t.layout.scales_at()..t.layout.head_bytes()).step_by(CACHE_LINE) {
                S::prefetch(next.cast::<u8>().wrapping_add(at));
            }
            if convert && rows.1 - rows.0 >= CONVERT_ROWS {
                let places = (t.ahead.end_seen(t.position + last - 1) - start).min(page_size);
                copy::<S, E>(keys, t.work.keys, t.layout.values_at());
                copy::<S, E>(values, t.work.values, places * t.layout.head_stride());
                let (keys, values) = (t.work.keys.cast_const(), t.work.values.cast_const());
                rows_of_page::<S, f32, CODES>(t, start, rows, Head { keys, values, next: keys, scales });
            } else {
                rows_of_page::<S, E, CODES>(t, start, rows, Head { keys, values, next, scales });
            }
        }
        let (to, part, stride) = (t.total, t.work.part, state_stride(&t.layout));
        merge_rows::<S>(&Merge { to, part, rows: t.rows(), stride });
    }
}

/// One head of a page, and the keys of the page after it.
#[derive(Clone, Copy)]
struct Head<E> {
    keys: *const E,
    values: *const E,
    next: *const E,
    /// Of its keys, then of its values, `[page_size]` each; null unless they are codes, or were before a copy.
    scales: *const f32,
}

#[inline(always)]
unsafe fn keys_of<E>(t: &Tile, page: usize) -> *const E {
    // SAFETY: a page of the sequence.
    unsafe { t.base.add(*t.pages.add(page) as usize * t.layout.page_bytes()).cast() }
}

#[inline(always)]
unsafe fn copy<S: Simd, E: Element>(from: *const E, to: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        // SAFETY: both have `n` elements, a multiple of 16.
        unsafe { S::store(to.add(i), E::load::<S>(from.add(i))) };
        i += LANES;
    }
}

#[inline(always)]
unsafe fn rows_of_page<S: Simd, E: Element, const CODES: bool>(
    t: &Tile,
    start: usize,
    (mut row, last): (usize, usize),
    head: Head<E>,
) {
    while row < last {
        let n = MAX_ROWS.min(last - row);
        // SAFETY: rows of the tile.
        unsafe { block::<S, E, CODES>(t, start, row, n, head) };
        row += n;
    }
}

/// Up to [`MAX_ROWS`] rows: scores, weights, weighted values, and the merge into the group's state.
#[inline(always)]
unsafe fn block<S: Simd, E: Element, const CODES: bool>(t: &Tile, start: usize, row: usize, n: usize, head: Head<E>) {
    let (page_size, d, stride) = (t.layout.page_size, t.layout.head_dim, state_stride(&t.layout));
    let w = &t.work;
    let mut seen = [(0, 0); MAX_ROWS];
    let (mut low, mut high) = (page_size, 0);
    for (r, seen) in seen.iter_mut().enumerate().take(n) {
        *seen = t.seen(row + r, start);
        low = low.min(seen.0);
        high = high.max(seen.1);
    }
    let span = (low / LANES * LANES, high.next_multiple_of(LANES));
    let multiply = E::product(&t.products);
    // SAFETY: `span` lies within the page, whose size is a multiple of 16.
    unsafe {
        multiply(
            &Product {
                a: t.q.add(row * d),
                a_stride: d,
                b: head.keys.add(span.0),
                b_stride: page_size,
                c: w.scores.add(span.0),
                c_stride: page_size,
                k: d,
                width: span.1 - span.0,
                resume: false,
                next: head.next.wrapping_add(span.0),
            },
            n,
        );
        let (scale, softcap, scales) = (t.scale, t.softcap, head.scales);
        let scores = Scores { at: w.scores, stride: page_size, span, scale, softcap, scales };
        for (r, &seen) in seen.iter().enumerate().take(n) {
            *w.m.add(r) = prepare::<S, CODES>(&scores, r, seen);
        }
        for r in 0..n {
            // The sum of weights is kept behind the weighted values, and merged like them.
            exponentials::<S, CODES>(&scores, r, *w.m.add(r), w.out.add((r + 1) * stride - LANES));
        }
        weigh::<E>(t, &seen, n, head);
        merge_block::<S>(&w.part, row, n, w.m, w.out, stride);
    }
}

/// `out = weights · values`, each row over exactly the places it sees: what all rows of the block see at once,
/// what only some see row by row, always in order of places.
#[inline(always)]
unsafe fn weigh<E: Element>(t: &Tile, seen: &[(usize, usize); MAX_ROWS], n: usize, head: Head<E>) {
    let (page_size, stride) = (t.layout.page_size, t.layout.head_stride());
    let out_stride = state_stride(&t.layout);
    let w = &t.work;
    let multiply = E::product(&t.products);
    // SAFETY: places within the page, rows within the block.
    unsafe {
        let part = |row: usize, from: usize, to: usize, resume: bool| Product {
            a: w.scores.add(row * page_size + from),
            a_stride: page_size,
            b: head.values.add(from * stride),
            b_stride: stride,
            c: w.out.add(row * out_stride),
            c_stride: out_stride,
            k: to.saturating_sub(from),
            width: stride,
            resume,
            next: head.next.wrapping_add(t.layout.values_at() + from * stride),
        };
        let (mut from, mut to) = (0, page_size);
        for s in &seen[..n] {
            from = from.max(s.0);
            to = to.min(s.1);
        }
        if from >= to {
            for (r, s) in seen.iter().enumerate().take(n) {
                multiply(&part(r, s.0, s.1, false), 1);
            }
            return;
        }
        let before = seen[..n].iter().any(|s| s.0 < from);
        if before {
            for (r, s) in seen.iter().enumerate().take(n) {
                multiply(&part(r, s.0, from, false), 1);
            }
        }
        multiply(&part(0, from, to, before), n);
        for (r, s) in seen.iter().enumerate().take(n) {
            if s.1 > to {
                multiply(&part(r, to, s.1, true), 1);
            }
        }
    }
}

#[inline(always)]
unsafe fn attend_code<S: Simd>(t: &Tile, group: usize) {
    // SAFETY: passed on.
    unsafe { attend::<S, Code, true>(t, group, true) }
}
#[inline(always)]
unsafe fn attend_half<S: Simd>(t: &Tile, group: usize) {
    // SAFETY: passed on.
    unsafe { attend::<S, Half, false>(t, group, true) }
}
#[inline(always)]
unsafe fn attend_single<S: Simd>(t: &Tile, group: usize) {
    // SAFETY: passed on.
    unsafe { attend::<S, f32, false>(t, group, false) }
}

crate::tier::tier_fn! {
    /// Attends to a group of I8 pages.
    pub fn attend_i8(tile: &Tile, group: usize) = attend_code;
    /// Attends to a group of F16 pages.
    pub fn attend_f16(tile: &Tile, group: usize) = attend_half;
    /// Attends to a group of F32 pages.
    pub fn attend_f32(tile: &Tile, group: usize) = attend_single;
}
