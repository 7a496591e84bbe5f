//! Gradients of LINEAR: with respect to its input through any weight, to adapters, biases and plain weights.
//!
//! ```text
//! layout.rs    where intermediate values are in the scratch
//! adapters.rs  inner values of adapters and their gradients
//! work.rs      the products, shared out in tiles
//! ```
//!
//! `dx = Σ dy_i W_i` decodes a tile of each weight once for many tokens and multiplies in f32. Every element is one
//! chain: over the weights and their rows in order, then over the adapter's. Gradients of weights are chains over tokens in order.
//! So nothing depends on how tiles are shared out.
//!
//! A norm before and a gate after are not taken: gradients are made of the unfused graph.

mod adapters;
mod layout;
mod work;

use super::inner::Inner;
use super::shape::{self, Matrix};
use super::{COMMON, MAX_WEIGHTS, PER_WEIGHT};
use crate::check::{Checker, fixed};
use crate::matmul::decode::Decoder;
use crate::matmul::dense::Dense;
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use layout::Layout;
use tern_abi::graph::place;
use tern_abi::ops::LinearParams;
use tern_abi::plugin::{GraphView, OpView, Result};

struct LinearGrad {
    x: usize,
    columns: usize,
    dx: Option<usize>,
    /// A residual's gradient is that of the output.
    residual: Option<usize>,
    adapters: Option<(usize, usize)>,
    parts: Vec<Part>,
    dense: Dense,
    inner: Inner,
    layout: Layout,
}

/// One weight.
struct Part {
    w: usize,
    rows: usize,
    decoder: Decoder,
    /// Gradient of its output; absent where it is zero.
    dy: Option<usize>,
    dw: Option<usize>,
    bias: Option<usize>,
    lora: Option<Lora>,
}

/// A weight's adapters, and their gradients where wanted.
#[derive(Clone, Copy)]
struct Lora {
    of: shape::Lora,
    da: Option<usize>,
    db: Option<usize>,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "LINEAR's gradient");
    let p = op.params::<LinearParams>();
    c.ensure((1..=MAX_WEIGHTS).contains(&p.n_weights), format!("{} weights, expected 1 to 4", p.n_weights))?;
    if p.norm != 0 || p.glu != 0 || p.quantize != 0 {
        return Err(c.lacking("only of the form without norm, rounding and gate"));
    }
    let n = p.n_weights as usize;
    let x = c.f32_in(0, "x")?;
    let columns = c.last(x, "x")?;
    c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
    let tokens = c.first(x);
    let adapters = shape::adapters(&c, op, tokens)?;
    (1..COMMON).filter(|&i| i != 2).try_for_each(|i| c.no_gradient(i))?;
    let mut parts = Vec::with_capacity(n);
    for i in 0..n {
        parts.push(part(&c, op, ctx, (i, COMMON + n * PER_WEIGHT + i), columns, adapters)?);
    }
    let residual = c.f32_out_maybe(2, "gradient of residual")?;
    if let Some(residual) = residual {
        c.ensure(n == 1, "a residual goes with one weight")?;
        c.shaped(residual, &[tokens, fixed(parts[0].rows)], "gradient of residual")?;
    }
    c.elements(x)?;
    let layout = Layout::new(&parts, columns, c.max_of(tokens), ctx.threads)
        .ok_or_else(|| c.wrong("scratch is larger than the address space"))?;
    Ok(Box::new(LinearGrad {
        x,
        columns,
        dx: c.gradient(0, "gradient of x")?,
        residual,
        adapters,
        parts,
        dense: Dense::of(ctx.tier),
        inner: Inner::new(columns, ctx.tier),
        layout,
    }))
}

fn part(
    c: &Checker<'_>,
    op: &OpView<'_>,
    ctx: &Ctx,
    (i, seed): (usize, usize),
    columns: usize,
    adapters: Option<(usize, usize)>,
) -> Result<Part> {
    let first = COMMON + i * PER_WEIGHT;
    let tokens = c.first(c.f32_in(0, "x")?);
    let Matrix { w, rows, format } = shape::matrix(c, op, i, columns)?;
    let dw = c.gradient(first, "gradient of a weight")?;
    c.ensure(dw.is_none() || c.tensor(w).place != place::WEIGHT, "a prepared weight has no gradient")?;
    let dy = c.f32_maybe(seed, "gradient of an output")?;
    if let Some(dy) = dy {
        c.shaped(dy, &[tokens, fixed(rows)], "gradient of an output")?;
        c.elements(dy)?;
    }
    let bias = c.f32_out_maybe(first + 1, "gradient of a bias")?;
    if let Some(bias) = bias {
        c.shaped(bias, &[fixed(rows)], "gradient of a bias")?;
    }
    let lora = match shape::lora(c, op, i, (rows, columns), adapters)? {
        None => None,
        Some(of) => {
            let (da, db) = (c.gradient(first + 2, "gradient of lora_a")?, c.gradient(first + 3, "gradient of lora_b")?);
            Some(Lora { of, da, db })
        }
    };
    let decoder = Decoder::new(format, columns, ctx.tier);
    Ok(Part { w, rows, decoder, dy, dw, bias, lora })
}

impl CompiledOp for LinearGrad {
    fn scratch_bytes(&self) -> usize {
        self.layout.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked, the scratch has what the layout asked for, the tier is available; every worker passes the
        // same barriers.
        unsafe {
            self.prepare(step, worker);
            if self.parts.iter().any(|p| p.lora.is_some() && p.dy.is_some()) {
                self.prepare_adapters(step, worker);
            }
            self.work(step, worker);
        }
    }
}
