//! Loops over a slice in whole vectors and a tail: maps, and sums and maxima in four chains of 16 lanes that
//! are joined in a fixed order.

use crate::simd::{LANES, Simd};

/// `lanes` elements; the test vanishes where `lanes` is the constant [`LANES`].
///
/// # Safety
/// `p` has `lanes <= 16` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn load<S: Simd>(p: *const f32, lanes: usize) -> S::F {
    // SAFETY: passed on.
    unsafe { if lanes == LANES { S::load(p) } else { S::load_n(p, lanes) } }
}

/// `out[i] = f(i)` over `n` elements; `f` gets an index and how many lanes from it exist.
macro_rules! map_over {
    ($S:ty, $n:expr, $out:expr, |$i:ident, $lanes:ident| $f:expr) => {{
        let n: usize = $n;
        let mut $i = 0;
        while $i + LANES <= n {
            let $lanes = LANES;
            <$S>::store($out.add($i), $f);
            $i += LANES;
        }
        if $i < n {
            let $lanes = n - $i;
            <$S>::store_n($out.add($i), $f, $lanes);
        }
    }};
}
pub(crate) use map_over;

/// `Σ f(x)` over `n` elements; `f` gets a vector and how many of its lanes count, and must give 0 in the
/// others.
macro_rules! sum_over {
    ($S:ty, $n:expr, |$i:ident, $lanes:ident| $f:expr) => {{
        let n: usize = $n;
        let mut a = [<$S>::zero(); 4];
        let mut $i = 0;
        #[allow(unused_variables)]
        {
            let $lanes = LANES;
            while $i + 4 * LANES <= n {
                for a in &mut a {
                    *a = <$S>::add(*a, $f);
                    $i += LANES;
                }
            }
            while $i + LANES <= n {
                a[0] = <$S>::add(a[0], $f);
                $i += LANES;
            }
        }
        if $i < n {
            let $lanes = n - $i;
            a[1] = <$S>::add(a[1], $f);
        }
        <$S>::reduce_add(<$S>::add(<$S>::add(a[0], a[1]), <$S>::add(a[2], a[3])))
    }};
}
pub(crate) use sum_over;

/// `Σ x`.
///
/// # Safety
/// `x` has `n` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn sum<S: Simd>(x: *const f32, n: usize) -> f32 {
    // SAFETY: passed on.
    unsafe { sum_over!(S, n, |i, lanes| load::<S>(x.add(i), lanes)) }
}

/// `Σ x²`.
///
/// # Safety
/// As [`sum`].
#[inline(always)]
pub unsafe fn sum_of_squares<S: Simd>(x: *const f32, n: usize) -> f32 {
    // SAFETY: passed on.
    unsafe {
        sum_over!(S, n, |i, lanes| {
            let v = load::<S>(x.add(i), lanes);
            S::mul(v, v)
        })
    }
}

/// `max x`; minus infinity for none.
///
/// # Safety
/// As [`sum`].
#[inline(always)]
pub unsafe fn max<S: Simd>(x: *const f32, n: usize) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let mut a = [S::splat(f32::NEG_INFINITY); 4];
        let mut i = 0;
        while i + 4 * LANES <= n {
            for a in &mut a {
                *a = S::max(*a, S::load(x.add(i)));
                i += LANES;
            }
        }
        while i + LANES <= n {
            a[0] = S::max(a[0], S::load(x.add(i)));
            i += LANES;
        }
        let mut top = S::reduce_max(S::max(S::max(a[0], a[1]), S::max(a[2], a[3])));
        for i in i..n {
            top = top.max(*x.add(i));
        }
        top
    }
}

crate::tier::tier_fn! {
    /// Asks for memory to be brought nearer: where it begins, and how many bytes.
    pub fn ask(from: *const u8, bytes: usize) = ask_for;
    /// Dot products of `rows` rows of `n` elements with one.
    pub fn dots(a: *const f32, x: *const f32, rows: usize, n: usize, out: *mut f32) = dots_of;
}
#[inline(always)]
unsafe fn dots_of<S: Simd>(a: *const f32, x: *const f32, rows: usize, n: usize, out: *mut f32) {
    // SAFETY: sizes as described.
    unsafe {
        for r in 0..rows {
            let a = a.add(r * n);
            out.add(r)
                .write(sum_over!(S, n, |i, lanes| S::mul(load::<S>(a.add(i), lanes), load::<S>(x.add(i), lanes))));
        }
    }
}
#[inline(always)]
unsafe fn ask_for<S: Simd>(from: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: any address may be asked for.
        unsafe { S::prefetch(from.wrapping_add(line)) }
    }
}
