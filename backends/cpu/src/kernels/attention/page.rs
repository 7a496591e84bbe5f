//! One group of pages against a tile.

use super::merge::{Merge, merge_row, merge_rows};
use super::{CONVERT_ROWS, Tile, group_pages, softmax};
use crate::kernels::product::{Element, Half, MAX_ROWS, Product};
use crate::simd::{LANES, Simd};

/// Attends to the pages of group `group` and merges the result into the tile's total.
///
/// # Safety
/// As the tile's fields say; see [`Simd`].
#[inline(always)]
unsafe fn attend<S: Simd, E: Element>(t: &Tile, group: usize, convert: bool) {
    let (page_size, per_group) = (t.layout.page_size, group_pages(t.layout.page_size));
    let seen = t.seen_pages();
    let pages = seen.start.max(group * per_group)..seen.end.min((group + 1) * per_group);
    // SAFETY: only pages that a row sees are read; rows are those of the tile.
    unsafe {
        for r in 0..t.rows() {
            *t.work.part.m.add(r) = f32::NEG_INFINITY;
        }
        for page in pages {
            let start = page * page_size;
            // Tokens that see the page are consecutive: not before it, and within the window after it.
            let first = start.saturating_sub(t.position);
            let last = match t.window {
                0 => t.tokens,
                w => (start + page_size + w - 1).saturating_sub(t.position).min(t.tokens),
            };
            if first >= last {
                continue;
            }
            let number = *t.pages.add(page) as usize;
            let keys = t.base.add(number * t.layout.page_bytes()).cast::<E>();
            let values = keys.add(t.layout.values_at());
            let rows = (first * t.group, last * t.group);
            if convert && rows.1 - rows.0 >= CONVERT_ROWS {
                let places = (t.position + last - start).min(page_size);
                copy::<S, E>(keys, t.work.keys, t.layout.values_at());
                copy::<S, E>(values, t.work.values, places * t.layout.head_stride());
                rows_of_page::<S, f32>(t, start, rows, t.work.keys, t.work.values);
            } else {
                rows_of_page::<S, E>(t, start, rows, keys, values);
            }
        }
        let (to, part, stride) = (t.total, t.work.part, t.layout.head_stride());
        merge_rows::<S>(&Merge { to, part, rows: t.rows(), stride });
    }
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
unsafe fn rows_of_page<S: Simd, E: Element>(
    t: &Tile,
    start: usize,
    (mut row, last): (usize, usize),
    keys: *const E,
    values: *const E,
) {
    while row < last {
        let n = MAX_ROWS.min(last - row);
        // SAFETY: rows of the tile.
        unsafe { block::<S, E>(t, start, row, n, keys, values) };
        row += n;
    }
}

/// Up to [`MAX_ROWS`] rows: scores, weights, weighted values, and the merge into the group's state.
#[inline(always)]
unsafe fn block<S: Simd, E: Element>(t: &Tile, start: usize, row: usize, n: usize, keys: *const E, values: *const E) {
    let (page_size, d, stride) = (t.layout.page_size, t.layout.head_dim, t.layout.head_stride());
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
                b: keys.add(span.0),
                b_stride: page_size,
                c: w.scores.add(span.0),
                c_stride: page_size,
                k: d,
                width: span.1 - span.0,
                resume: false,
            },
            n,
        );
        for r in 0..n {
            let (m, l) = softmax::weights::<S>(w.scores.add(r * page_size), span, seen[r], t.scale, t.softcap);
            *w.m.add(r) = m;
            *w.l.add(r) = l;
        }
        weigh::<E>(t, &seen, n, values);
        for r in 0..n {
            merge_row::<S>(&w.part, row + r, *w.m.add(r), *w.l.add(r), w.out.add(r * stride), stride);
        }
    }
}

/// `out = weights · values`, each row over exactly the places it sees: what all rows of the block see at once,
/// what only some see row by row, always in order of places.
#[inline(always)]
unsafe fn weigh<E: Element>(t: &Tile, seen: &[(usize, usize); MAX_ROWS], n: usize, values: *const E) {
    let (page_size, stride) = (t.layout.page_size, t.layout.head_stride());
    let w = &t.work;
    let multiply = E::product(&t.products);
    // SAFETY: places within the page, rows within the block.
    unsafe {
        let part = |row: usize, from: usize, to: usize, resume: bool| Product {
            a: w.scores.add(row * page_size + from),
            a_stride: page_size,
            b: values.add(from * stride),
            b_stride: stride,
            c: w.out.add(row * stride),
            c_stride: stride,
            k: to.saturating_sub(from),
            width: stride,
            resume,
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
unsafe fn attend_half<S: Simd>(t: &Tile, group: usize) {
    // SAFETY: passed on.
    unsafe { attend::<S, Half>(t, group, true) }
}
#[inline(always)]
unsafe fn attend_single<S: Simd>(t: &Tile, group: usize) {
    // SAFETY: passed on.
    unsafe { attend::<S, f32>(t, group, false) }
}

crate::tier::tier_fn! {
    /// Attends to a group of F16 pages.
    pub fn attend_f16(tile: &Tile, group: usize) = attend_half;
    /// Attends to a group of F32 pages.
    pub fn attend_f32(tile: &Tile, group: usize) = attend_single;
}
