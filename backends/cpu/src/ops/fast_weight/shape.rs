//! What FAST_WEIGHT and its gradient take alike.

use crate::check::{Checker, fixed};
use crate::ops::sequences::Sequences;
use tern_abi::ops::{FastWeightParams, fast_weight_rule};
use tern_abi::plugin::{OpView, Result};

/// Bounds that keep sizes far from overflow.
pub const MAX_HEAD_DIM: usize = 1024;
/// See [`MAX_HEAD_DIM`].
pub const MAX_HIDDEN: usize = 4 * MAX_HEAD_DIM;
/// See [`MAX_HEAD_DIM`].
pub const MAX_CHUNK: usize = 1 << 14;

/// Checked inputs and sizes.
pub struct Shape {
    /// q, k, v, lr, w0, b0, ln_w, ln_b, token_scale.
    pub real: [usize; 9],
    /// w1 and b1, where the inner model has a second layer.
    pub second: Option<[usize; 2]>,
    pub sequences: Sequences,
    pub heads: usize,
    pub f: usize,
    /// Dimensions between two layers; 0 for one.
    pub hidden: usize,
    pub chunk: usize,
    pub eps: f32,
}

impl Shape {
    /// Names of the real inputs.
    pub const NAMES: [&str; 9] = ["q", "k", "v", "lr", "w0", "b0", "ln_w", "ln_b", "token_scale"];

    /// Inputs and outputs of each layer of the inner model.
    pub fn layers(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let (f, m) = (self.f, self.hidden);
        let layers = if m > 0 { [[f, m], [m, f]] } else { [[f, f], [0, 0]] };
        layers.into_iter().take(if m > 0 { 2 } else { 1 })
    }

    /// Checks parameters and inputs.
    pub fn new(c: &Checker<'_>, op: &OpView<'_>) -> Result<Self> {
        let p: FastWeightParams = op.params();
        let (heads, f, chunk) = (p.heads as usize, p.head_dim as usize, p.chunk as usize);
        c.ensure(heads > 0 && f > 0 && chunk > 0, "heads, head_dim or chunk is 0")?;
        if p.rule != fast_weight_rule::NORMED {
            return Err(c.lacking(format!("rule {}", p.rule)));
        }
        let alike = [(p.value_dim, f), (p.key_heads, heads)].iter().all(|&(n, own)| n == 0 || n as usize == own);
        c.ensure(
            alike && p.in_turns == 0 && op.input(13).is_none(),
            "heads of another size, or a decay, under this rule",
        )?;
        let hidden = p.hidden as usize;
        c.ensure((p.inner == 1) == (hidden > 0), "two layers and no dimensions between them, or the reverse")?;
        if p.inner > 1 || f > MAX_HEAD_DIM || hidden > MAX_HIDDEN || chunk > MAX_CHUNK || heads > MAX_CHUNK {
            return Err(c.lacking(format!("inner model {}, {heads} heads of {f}, chunk {chunk}", p.inner)));
        }
        let mut real = [0; 9];
        for (i, what) in Self::NAMES.iter().enumerate() {
            real[i] = c.f32_in(i, what)?;
        }
        let (tokens, h) = (c.first(real[0]), fixed(heads));
        let first = if hidden > 0 { hidden } else { f };
        for (i, what) in Self::NAMES.iter().enumerate() {
            match i {
                0..=2 => c.shaped(real[i], &[tokens, fixed(heads * f)], what)?,
                3 => c.shaped(real[i], &[tokens, h], what)?,
                4 => c.shaped(real[i], &[h, fixed(f), fixed(first)], what)?,
                5 => c.shaped(real[i], &[h, fixed(first)], what)?,
                6..=7 => c.shaped(real[i], &[h, fixed(f)], what)?,
                _ => c.shaped(real[i], &[fixed(chunk)], what)?,
            }
        }
        c.given(&[(9, "positions"), (10, "seq_start"), (12, "state_slots")])?;
        let sequences = Sequences::new(c, c.i32_in(9, "positions")?, c.i32_in(10, "seq_start")?, tokens)?;
        let second = if hidden > 0 { Some([c.f32_in(14, "w1")?, c.f32_in(15, "b1")?]) } else { None };
        match second {
            Some([w, b]) => {
                c.shaped(w, &[h, fixed(hidden), fixed(f)], "w1")?;
                c.shaped(b, &[h, fixed(f)], "b1")?;
            }
            None => c.ensure(op.input(14).or(op.input(15)).is_none(), "a second layer for an inner model of one")?,
        }
        Ok(Self { real, second, sequences, heads, f, hidden, chunk, eps: p.eps })
    }
}
