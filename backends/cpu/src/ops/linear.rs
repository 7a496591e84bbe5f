//! LINEAR: up to four matrix products that share their input, with norm before and bias, adapters, residual or gating
//! after.
//!
//! ```text
//! input.rs      norm, quantization
//! inner.rs      the adapters' inner values
//! layout.rs     where they are in the scratch
//! shape.rs      what is taken, here and by gradients
//! grad.rs       gradients
//! work.rs       strips of rows, claimed by workers: product, then everything that follows, while it is in cache
//! ```
//!
//! Few tokens are prepared by every worker for itself, which costs less than a barrier; more are shared out, with one
//! barrier before the products. Adapters' inner values are shared out in any case, since that reads their matrices: with few
//! tokens each worker computes some of the ranks, and needs those of the others only after its first strip.

pub mod grad;
mod inner;
mod input;
mod layout;
mod shape;
mod work;

use crate::check::{Checker, fixed};
use crate::kernels::activation;
use crate::kernels::{norm, vector};
use crate::matmul::finish::Finish;
use crate::matmul::strip::Multiplier;
use crate::matmul::tokens::{Form, Put};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use inner::Inner;
use layout::Layout;
use shape::{Lora, Matrix};
use tern_abi::graph::place;
use tern_abi::ops::LinearParams;
use tern_abi::plugin::{GraphView, OpView, Result};

/// Inputs before those of the weights, and of each weight.
const COMMON: usize = 5;
const PER_WEIGHT: usize = 4;
/// More weights than this do not share an input.
const MAX_WEIGHTS: u32 = 4;

struct Linear {
    x: usize,
    columns: usize,
    norm: Option<Norm>,
    residual: Option<usize>,
    adapters: Option<(usize, usize)>,
    parts: Vec<Part>,
    /// Activation of a GLU epilogue.
    gate: Option<u32>,
    max_tokens: usize,
    finish: Finish,
    inner: Inner,
    /// For [`Form::Blocks`] and [`Form::Whole`].
    quantize: [Put; 2],
    ask: unsafe fn(*const u8, usize),
    layout: Layout,
}

#[derive(Clone, Copy)]
struct Norm {
    w: Option<usize>,
    eps: f32,
    kernel: unsafe fn(&norm::Rows),
}

/// One weight.
struct Part {
    w: usize,
    rows: usize,
    bias: Option<usize>,
    lora: Option<Lora>,
    out: usize,
    multiplier: Multiplier,
}

/// Finds an optional input that is a vector of so many rows, with a name for messages.
type VectorInput<'a> = &'a dyn Fn(usize, usize, &str) -> Result<Option<usize>>;

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "LINEAR");
    let p = op.params::<LinearParams>();
    c.ensure((1..=MAX_WEIGHTS).contains(&p.n_weights), format!("{} weights, expected 1 to 4", p.n_weights))?;
    let n = p.n_weights as usize;
    let x = c.f32_in(0, "x")?;
    let columns = c.last(x, "x")?;
    c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
    let tokens = c.first(x);
    let vector = |i: usize, rows: usize, what: &str| -> Result<Option<usize>> {
        let Some(t) = op.input(i) else { return Ok(None) };
        c.shaped(t, &[fixed(rows)], what)?;
        if c.tensor(t).place == place::WEIGHT { Ok(Some(t)) } else { c.f32_maybe(i, what) }
    };
    let norm = match p.norm {
        0 => None,
        1 => Some(Norm { w: vector(1, columns, "norm_w")?, eps: p.eps, kernel: norm::rms_norm(ctx.tier) }),
        other => return Err(c.lacking(format!("norm {other}"))),
    };
    let gate = match p.glu {
        0 => None,
        1 if n == 2 && activation::known(p.activation) => Some(p.activation),
        1 => return Err(c.wrong("a GLU needs two weights and a known activation")),
        other => return Err(c.lacking(format!("glu {other}"))),
    };
    c.ensure(p.quantize <= 1, format!("quantize {}, expected 0 or 1", p.quantize))?;
    let residual = c.f32_maybe(2, "residual")?;
    c.ensure(residual.is_none() || (n == 1 && gate.is_none()), "a residual goes with one weight")?;
    let adapters = shape::adapters(&c, op, tokens)?;
    let mut parts = Vec::with_capacity(n);
    for i in 0..n {
        let out = c.f32_out(if gate.is_some() { 0 } else { i }, "output")?;
        let part = part(&c, op, ctx, (i, out), columns, adapters, &vector)?;
        c.shaped(out, &[tokens, fixed(part.rows)], "output")?;
        // Their kernels round activations in any case, and just so.
        if p.quantize == 1 && (part.multiplier.form() != Form::Whole || part.lora.is_some()) {
            return Err(c.lacking("rounded activations beside other than ternary weights, or with adapters"));
        }
        parts.push(part);
    }
    c.ensure(gate.is_none() || parts[0].rows == parts[1].rows, "the weights of a GLU differ in rows")?;
    if let Some(r) = residual {
        c.shaped(r, &[tokens, fixed(parts[0].rows)], "residual")?;
    }
    let max_tokens = c.max_of(tokens);
    let layout =
        Layout::new(&parts, columns, max_tokens, ctx.threads, adapters.is_some(), norm.is_some(), gate.is_some())
            .ok_or_else(|| c.wrong("scratch is larger than the address space"))?;
    let quantize = [Form::Blocks, Form::Whole].map(|form| form.put(ctx.tier));
    let finish = Finish::new(ctx.tier);
    let inner = Inner::new(columns, ctx.tier);
    let ask = vector::ask(ctx.tier);
    Ok(Box::new(Linear {
        x,
        columns,
        norm,
        residual,
        adapters,
        parts,
        gate,
        max_tokens,
        finish,
        inner,
        quantize,
        ask,
        layout,
    }))
}

fn part(
    c: &Checker<'_>,
    op: &OpView<'_>,
    ctx: &Ctx,
    (i, out): (usize, usize),
    columns: usize,
    adapters: Option<(usize, usize)>,
    vector: VectorInput<'_>,
) -> Result<Part> {
    let Matrix { w, rows, format } = shape::matrix(c, op, i, columns)?;
    let bias = vector(COMMON + i * PER_WEIGHT + 1, rows, "bias")?;
    let lora = shape::lora(c, op, i, (rows, columns), adapters)?;
    Ok(Part { w, rows, bias, lora, out, multiplier: Multiplier::new(format, columns, ctx.tier) })
}

impl CompiledOp for Linear {
    fn scratch_bytes(&self) -> usize {
        self.layout.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let tokens = step.rows(self.x).min(self.max_tokens);
        // SAFETY: shapes were checked, scratch has what the layout asked for, the tier is available; `prepare` ends
        // with a barrier where workers need what others prepared.
        unsafe {
            let input = self.prepare(step, worker, tokens);
            self.work(step, worker, &input);
        }
    }

    fn streams(&self) -> bool {
        true
    }

    unsafe fn warm(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: passed on; the tier is available.
        unsafe { self.ask_ahead(step, worker) }
    }
}

impl Linear {
    /// The elements of a vector, given as buffer or as weight; null where absent.
    fn vector(step: &Step<'_>, tensor: Option<usize>) -> *const f32 {
        let Some(t) = tensor else { return std::ptr::null() };
        match step.weight(t) {
            Some(w) => w.vector().unwrap_or(std::ptr::null()),
            None => step.f32(t),
        }
    }
}
