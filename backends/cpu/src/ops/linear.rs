//! LINEAR: up to four matrix products that share their input, with norm before and bias, adapters, residual or gating
//! after.
//!
//! ```text
//! input.rs      norm, quantization, the adapters' inner values
//! layout.rs     where they are in the scratch
//! grad.rs       gradients
//! work.rs       strips of rows, claimed by workers: product, then everything that follows, while it is in cache
//! ```
//!
//! Few tokens are prepared by every worker for itself, which costs less than a barrier; more are shared out, with one
//! barrier before the products.

pub mod grad;
mod input;
mod layout;
mod work;

use crate::check::{Checker, Dim, fixed};
use crate::kernels::activation;
use crate::kernels::{norm, vector};
use crate::matmul::finish::Finish;
use crate::matmul::strip::Multiplier;
use crate::matmul::tokens::{Form, Put};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::weight::Format;
use layout::Layout;
use tern_abi::dtype;
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

#[derive(Clone, Copy)]
struct Lora {
    a: usize,
    b: usize,
    rank: usize,
    banks: usize,
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
    let adapters = match op.input(3) {
        None => None,
        Some(_) => {
            let (index, scale) = (c.i32_in(3, "adapter_index")?, c.f32_in(4, "adapter_scale")?);
            c.shaped(index, &[tokens], "adapter_index")?;
            c.ensure(c.dims(scale).len() == 1, "adapter_scale is not a vector")?;
            Some((index, scale))
        }
    };
    let mut parts = Vec::with_capacity(n);
    for i in 0..n {
        let out = c.f32_out(if gate.is_some() { 0 } else { i }, "output")?;
        let part = part(&c, op, ctx, (i, out), columns, adapters.map(|(_, scale)| c.dims(scale)[0]), &vector)?;
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
    banks: Option<Dim>,
    vector: VectorInput<'_>,
) -> Result<Part> {
    let first = COMMON + i * PER_WEIGHT;
    let w = op.input(first).ok_or_else(|| c.wrong(format!("weight {i} is missing")))?;
    let tensor = c.tensor(w);
    let dims = c.dims(w);
    c.ensure(dims.len() == 2, format!("weight {i} is not a matrix"))?;
    let rows = c.max_of(dims[0]);
    c.shaped(w, &[fixed(rows), fixed(columns)], "weight")?;
    if tensor.place != place::WEIGHT && tensor.dtype != dtype::F32 {
        return Err(c.lacking(format!("weight {i} has dtype {} and is not prepared", tensor.dtype)));
    }
    let format = Format::for_columns(tensor.dtype, columns as u64)?;
    let bias = vector(first + 1, rows, "bias")?;
    let lora = match (op.input(first + 2), op.input(first + 3), banks) {
        (Some(_), Some(_), Some(banks)) => {
            let (a, b) = (c.f32_in(first + 2, "lora_a")?, c.f32_in(first + 3, "lora_b")?);
            c.ensure(c.dims(a).len() == 3, "lora_a is not [banks, rank, columns]")?;
            let rank = c.dims(a)[1];
            c.shaped(a, &[banks, rank, fixed(columns)], "lora_a")?;
            c.shaped(b, &[banks, fixed(rows), rank], "lora_b")?;
            let (rank, banks) = (c.max_of(rank), c.max_of(banks));
            c.shaped(a, &[fixed(banks), fixed(rank), fixed(columns)], "lora_a")?;
            Some(Lora { a, b, rank, banks })
        }
        (None, None, _) => None,
        _ => return Err(c.wrong(format!("adapters of weight {i} are incomplete"))),
    };
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

    /// Bank and scale of a token's adapter, where it has one that does anything.
    ///
    /// # Safety
    /// The step is of this op's graph.
    unsafe fn adapter(&self, step: &Step<'_>, token: usize, banks: usize) -> Option<(usize, f32)> {
        // SAFETY: passed on.
        unsafe { adapter(step, self.adapters?, token, banks) }
    }
}

/// Bank and scale of a token's adapter, of `adapter_index` and `adapter_scale`, where it has one that does anything.
///
/// # Safety
/// Both tensors are vectors of the step, of a length per token and per bank.
unsafe fn adapter(step: &Step<'_>, (index, scale): (usize, usize), token: usize, banks: usize) -> Option<(usize, f32)> {
    // SAFETY: passed on.
    unsafe {
        let bank = usize::try_from(*step.i32s(index).get(token)?).ok().filter(|&b| b < banks)?;
        let scale = step.f32(scale).add(bank).read();
        (scale != 0.0).then_some((bank, scale))
    }
}
