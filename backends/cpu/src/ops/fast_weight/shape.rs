//! What FAST_WEIGHT and its gradient take alike.

use crate::check::{Checker, fixed};
use crate::ops::sequences::Sequences;
use tern_abi::graph::place;
use tern_abi::ops::FastWeightParams;
use tern_abi::plugin::{OpView, Result};

/// Bounds that keep sizes far from overflow.
const MAX_HEAD_DIM: usize = 1024;
const MAX_CHUNK: usize = 1 << 14;

/// Checked inputs and sizes.
pub struct Shape {
    /// q, k, v, lr, w0, b0, ln_w, ln_b, token_scale.
    pub real: [usize; 9],
    pub sequences: Sequences,
    pub heads: usize,
    pub f: usize,
    pub chunk: usize,
    pub eps: f32,
}

impl Shape {
    /// Names of the real inputs.
    pub const NAMES: [&str; 9] = ["q", "k", "v", "lr", "w0", "b0", "ln_w", "ln_b", "token_scale"];

    /// Checks parameters and inputs.
    pub fn new(c: &Checker<'_>, op: &OpView<'_>) -> Result<Self> {
        let p: FastWeightParams = op.params();
        let (heads, f, chunk) = (p.heads as usize, p.head_dim as usize, p.chunk as usize);
        c.ensure(heads > 0 && f > 0 && chunk > 0, "heads, head_dim or chunk is 0")?;
        if p.inner != 0 || f > MAX_HEAD_DIM || chunk > MAX_CHUNK || heads > MAX_CHUNK {
            return Err(c.lacking(format!("inner model {}, {heads} heads of {f}, chunk {chunk}", p.inner)));
        }
        let mut real = [0; 9];
        for (i, what) in Self::NAMES.iter().enumerate() {
            real[i] = c.f32_in(i, what)?;
        }
        let (tokens, h) = (c.first(real[0]), fixed(heads));
        for (i, what) in Self::NAMES.iter().enumerate() {
            match i {
                0..=2 => c.shaped(real[i], &[tokens, fixed(heads * f)], what)?,
                3 => c.shaped(real[i], &[tokens, h], what)?,
                4 => c.shaped(real[i], &[h, fixed(f), fixed(f)], what)?,
                5..=7 => c.shaped(real[i], &[h, fixed(f)], what)?,
                _ => c.shaped(real[i], &[fixed(chunk)], what)?,
            }
        }
        for (i, what) in [(9, "positions"), (10, "seq_start")] {
            // They are checked once, before the step; so no op may write them.
            if op.input(i).is_some_and(|t| c.tensor(t).place == place::ARENA) {
                return Err(c.lacking(format!("{what} is computed by the graph, expected an input of it")));
            }
        }
        let sequences = Sequences::new(c, c.i32_in(9, "positions")?, c.i32_in(10, "seq_start")?, tokens)?;
        Ok(Self { real, sequences, heads, f, chunk, eps: p.eps })
    }
}
