//! Small matrix products for attention: `C = A B`, every element one chain over k in order, so that the
//! result does not depend on how rows and columns are grouped, or on where a sum is interrupted.

use crate::simd::{LANES, Simd};
use crate::tier::Tier;

/// Elements that `B` may have.
pub trait Element: Copy {
    /// Is B read from memory in this form, and not only from a copy that is in the cache?
    const AHEAD: bool;
    /// Sixteen of them.
    ///
    /// # Safety
    /// `p` has 16 elements; see [`Simd`].
    unsafe fn load<S: Simd>(p: *const Self) -> S::F;
    /// The product with this element.
    fn product(products: &Products) -> unsafe fn(&Product<Self>, usize);
}
/// Elements that stand for a number by themselves.
pub trait Float: Element {
    /// Rounds and stores sixteen.
    ///
    /// # Safety
    /// `p` has 16 elements; see [`Simd`].
    unsafe fn store<S: Simd>(p: *mut Self, x: S::F);
}
impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load(p) }
    }
    fn product(products: &Products) -> unsafe fn(&Product<Self>, usize) {
        products.single
    }
    const AHEAD: bool = false;
}
impl Float for f32 {
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut Self, x: S::F) {
        // SAFETY: passed on.
        unsafe { S::store(p, x) }
    }
}
/// Bits of a half.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Half(pub u16);
impl Element for Half {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(p.cast()) }
    }
    fn product(products: &Products) -> unsafe fn(&Product<Self>, usize) {
        products.half
    }
    const AHEAD: bool = true;
}
impl Float for Half {
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut Self, x: S::F) {
        // SAFETY: passed on.
        unsafe { S::store_f16(p.cast(), x) }
    }
}
/// A code of 8 bits. Its scale is not the product's business.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Code(pub i8);
impl Element for Code {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const Self) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_i8(p.cast()) }
    }
    fn product(products: &Products) -> unsafe fn(&Product<Self>, usize) {
        products.code
    }
    const AHEAD: bool = true;
}

/// Rows that one call of [`product`] takes at most.
pub const MAX_ROWS: usize = 6;

/// A product's operands. Row `r` of `A` is at `a + r * a_stride`, and so on.
#[derive(Clone, Copy)]
pub struct Product<E> {
    /// `[rows, k]`.
    pub a: *const f32,
    /// Elements between rows of A.
    pub a_stride: usize,
    /// `[k, width]`.
    pub b: *const E,
    /// Elements between rows of B.
    pub b_stride: usize,
    /// `[rows, width]`.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_stride: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Columns, a multiple of 16.
    pub width: usize,
    /// Continue the sums in C, instead of starting at zero.
    pub resume: bool,
    /// Memory, laid out as B, that is wanted next, or B itself: it is asked for while B is in use. Only for halves and
    /// codes, which come straight from the cache of keys and values. Into the second-level cache: the first has so
    /// few buffers for what is under way that asking stalls (decode at 4,096 positions took half as long again).
    pub next: *const E,
}

/// Bytes that one prefetch asks for.
pub const CACHE_LINE: usize = 64;

/// Does a tier have 32 registers of 16 lanes?
#[inline(always)]
fn wide<S: Simd>() -> bool {
    align_of::<S::F>() >= 64
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn any<S: Simd, E: Element>(p: &Product<E>, rows: usize) {
    // SAFETY: passed on.
    unsafe {
        match rows {
            1 => columns::<S, E, 1>(p),
            2 => columns::<S, E, 2>(p),
            3 => columns::<S, E, 3>(p),
            4 => columns::<S, E, 4>(p),
            5 => columns::<S, E, 5>(p),
            6 => columns::<S, E, 6>(p),
            _ => {}
        }
    }
}

#[inline(always)]
unsafe fn columns<S: Simd, E: Element, const R: usize>(p: &Product<E>) {
    let mut at = 0;
    // SAFETY: columns below `width`.
    unsafe {
        // As many sums at once as the registers hold: the fewer rows, the more columns.
        if wide::<S>() {
            while at + 4 * LANES <= p.width {
                block::<S, E, R, 4>(p, at);
                at += 4 * LANES;
            }
        } else if R <= 3 {
            while at + 2 * LANES <= p.width {
                block::<S, E, R, 2>(p, at);
                at += 2 * LANES;
            }
        }
        while at < p.width {
            block::<S, E, R, 1>(p, at);
            at += LANES;
        }
    }
}

#[inline(always)]
unsafe fn block<S: Simd, E: Element, const R: usize, const C: usize>(p: &Product<E>, at: usize) {
    // SAFETY: rows below R, columns below `width`, terms below `k`.
    unsafe {
        let mut acc = [[S::zero(); C]; R];
        if p.resume {
            for (r, row) in acc.iter_mut().enumerate() {
                for (c, sum) in row.iter_mut().enumerate() {
                    *sum = S::load(p.c.add(r * p.c_stride + at + c * LANES));
                }
            }
        }
        let mut b = p.b.add(at);
        let mut next = p.next.wrapping_add(at);
        for k in 0..p.k {
            if E::AHEAD {
                for c in (0..C).step_by(CACHE_LINE / (LANES * size_of::<E>())) {
                    S::prefetch(next.wrapping_add(c * LANES).cast());
                }
                next = next.wrapping_add(p.b_stride);
            }
            let mut column = [S::zero(); C];
            for (c, x) in column.iter_mut().enumerate() {
                *x = E::load::<S>(b.add(c * LANES));
            }
            for (r, row) in acc.iter_mut().enumerate() {
                let a = S::splat(*p.a.add(r * p.a_stride + k));
                for (sum, &x) in row.iter_mut().zip(&column) {
                    *sum = S::fma(a, x, *sum);
                }
            }
            b = b.wrapping_add(p.b_stride);
        }
        for (r, row) in acc.iter().enumerate() {
            for (c, &sum) in row.iter().enumerate() {
                S::store(p.c.add(r * p.c_stride + at + c * LANES), sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn any_code<S: Simd>(p: &Product<Code>, rows: usize) {
    // SAFETY: passed on.
    unsafe { any::<S, Code>(p, rows) }
}
#[inline(always)]
unsafe fn any_half<S: Simd>(p: &Product<Half>, rows: usize) {
    // SAFETY: passed on.
    unsafe { any::<S, Half>(p, rows) }
}
#[inline(always)]
unsafe fn any_single<S: Simd>(p: &Product<f32>, rows: usize) {
    // SAFETY: passed on.
    unsafe { any::<S, f32>(p, rows) }
}

crate::tier::tier_fn! {
    fn code(p: &Product<Code>, rows: usize) = any_code;
    fn half(p: &Product<Half>, rows: usize) = any_half;
    fn single(p: &Product<f32>, rows: usize) = any_single;
}

/// The products of a tier, for up to [`MAX_ROWS`] rows. They are functions of their own, called through
/// pointers, because they are large and have several callers.
#[derive(Clone, Copy)]
pub struct Products {
    code: unsafe fn(&Product<Code>, usize),
    half: unsafe fn(&Product<Half>, usize),
    single: unsafe fn(&Product<f32>, usize),
}

impl Products {
    /// Of a tier.
    pub fn of(tier: Tier) -> Self {
        Self { code: code(tier), half: half(tier), single: single(tier) }
    }
    /// The product of floats.
    pub fn single(&self) -> unsafe fn(&Product<f32>, usize) {
        self.single
    }
}
