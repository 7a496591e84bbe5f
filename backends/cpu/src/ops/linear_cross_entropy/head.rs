//! Products of tokens with parts of the vocabulary, and what is kept of them.

use crate::check::{Checker, fixed};
use crate::kernels::loss::head::{self, Rule};
use crate::matmul::decode::Source;
use crate::matmul::finish::{Finish, Results, Target};
use crate::matmul::share;
use crate::matmul::strip::{Multiplier, RESULTS};
use crate::matmul::tokens::{Form, Put, Tiling};
use crate::op::{Ctx, Step};
use crate::places::Places;
use crate::pool::Worker;
use crate::weight::{Format, STRIP};
use std::mem::MaybeUninit;
use std::ops::Range;
use tern_abi::dtype;
use tern_abi::graph::place;
use tern_abi::ops::LinearCrossEntropyParams;
use tern_abi::plugin::{OpView, PluginError, Result};

/// Rows of a part. Fixed, because the order of joining parts is part of the result.
pub const PART: usize = 512;
/// Tokens whose products with a part a worker holds, a multiple of every tile's width.
const TOKENS: usize = 10 * share::CUT;

/// A linear layer's weight, tokens, and targets.
pub struct Head {
    pub x: usize,
    pub w: usize,
    pub targets: usize,
    pub rows: usize,
    pub columns: usize,
    pub format: Format,
    pub rule: Rule,
    pub max_tokens: usize,
    pub bytes: usize,
    /// Behind all that is below, where there is more to keep.
    pub end: Places,
    multiplier: Multiplier,
    put: Put,
    finish: Finish,
    reduce: unsafe fn(*mut f32, usize, Rule, *mut [f32; 2]),
    /// Activations in the form that the weight takes; floats are `x` itself.
    tiles: Option<usize>,
    /// `[part][token]`: the largest logit, and the sum of exponentials.
    parts: usize,
    /// The targets' logits.
    picked: usize,
    workers: usize,
    per_worker: usize,
    products: usize,
}

#[repr(align(64))]
struct Buffer([MaybeUninit<f32>; RESULTS]);

impl Head {
    /// Checks the op's inputs.
    pub fn new(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Self> {
        let p: LinearCrossEntropyParams = op.params();
        let (x, targets) = (c.f32_in(0, "x")?, c.i32_in(2, "targets")?);
        c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
        let (tokens, columns) = (c.first(x), c.last(x, "x")?);
        c.shaped(targets, &[tokens], "targets")?;
        let w = op.input(1).ok_or_else(|| c.wrong("w is missing"))?;
        let (tensor, dims) = (c.tensor(w), c.dims(w));
        c.ensure(dims.len() == 2, "w is not a matrix")?;
        let rows = c.max_of(dims[0]);
        c.shaped(w, &[fixed(rows), fixed(columns)], "w")?;
        if tensor.place != place::WEIGHT && tensor.dtype != dtype::F32 {
            return Err(c.lacking(format!("w has dtype {} and is not prepared", tensor.dtype)));
        }
        c.elements(x)?;
        let format = Format::for_columns(tensor.dtype, columns as u64)?;
        let multiplier = Multiplier::new(format, columns, ctx.tier);
        let max_tokens = c.max_of(tokens);
        let mut all = Places::default();
        let mut own = Places::default();
        let mut places = || {
            let tiles = match multiplier.form() {
                Form::Floats => None,
                _ => Some(all.take(max_tokens, multiplier.token_bytes())?),
            };
            let parts = all.take(rows.div_ceil(PART).checked_mul(max_tokens)?, 8)?;
            let picked = all.take(max_tokens, 4)?;
            own.take(1, multiplier.scratch_bytes())?;
            let products = own.take(max_tokens.min(TOKENS), PART * 4)?;
            Some((tiles, parts, picked, products, all.with_workers(&own, ctx.threads)?))
        };
        let (tiles, parts, picked, products, bytes) =
            places().ok_or_else(|| c.wrong("scratch is larger than the address space"))?;
        let (workers, per_worker) = (all.bytes(), own.bytes());
        let mut end = Places::default();
        end.take(bytes, 1).ok_or_else(|| c.wrong("scratch is larger than the address space"))?;
        Ok(Self {
            x,
            w,
            targets,
            rows,
            columns,
            format,
            rule: Rule { scale: if p.scale == 0.0 { 1.0 } else { p.scale }, softcap: p.softcap },
            max_tokens,
            bytes,
            end,
            put: multiplier.form().put(ctx.tier),
            multiplier,
            finish: Finish::new(ctx.tier),
            reduce: head::reduce(ctx.tier),
            tiles,
            parts,
            picked,
            workers,
            per_worker,
            products,
        })
    }

    /// Where the weight is.
    pub fn source<'a>(&self, step: &Step<'a>) -> Source<'a> {
        match step.weight(self.w).and_then(|w| w.matrix()) {
            Some(matrix) => Source::Prepared(matrix, 0),
            None => Source::Plain(step.f32(self.w)),
        }
    }

    fn at(step: &Step<'_>, place: usize) -> *mut f32 {
        step.scratch().wrapping_add(place).cast()
    }
    /// The targets' logits, after [`reduce`](Self::reduce).
    pub fn picked(&self, step: &Step<'_>) -> *mut f32 {
        Self::at(step, self.picked)
    }
    /// Tokens up to the last that has a target: what lies behind is not computed.
    ///
    /// # Safety
    /// The step is of this op's graph.
    pub unsafe fn tokens(&self, step: &Step<'_>) -> usize {
        // SAFETY: an I32 input.
        unsafe { step.i32s(self.targets) }.iter().rposition(|&t| t >= 0).map_or(0, |last| last + 1)
    }
    fn tiling(&self, tokens: usize) -> Tiling {
        Tiling::new(tokens, self.multiplier.tile())
    }

    /// Puts all tokens into the weight's form, and checks targets. Ends with a barrier.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`].
    pub unsafe fn prepare(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: rows of `x`, places of the scratch.
        unsafe {
            let targets = step.i32s(self.targets);
            if let Some(&target) = targets.iter().find(|&&t| usize::try_from(t).is_ok_and(|t| t >= self.rows)) {
                let message = format!("LINEAR_CROSS_ENTROPY: target {target} of {} is wanted", self.rows);
                step.fail(PluginError::argument(message));
            }
            let tokens = self.tokens(step);
            let tiling = self.tiling(tokens);
            while let Some(range) = self.tiles.and_then(|_| worker.claim(tokens, share::CUT)) {
                for token in range {
                    let tile = tiling.tile_of(token);
                    let to = self.tile(step, tile.first);
                    let x = step.f32(self.x).add(token * self.columns);
                    (self.put)(x, self.columns, to.cast_mut(), tile.width, token - tile.first);
                }
            }
            worker.barrier();
        }
    }

    /// Where the activations of the tile that begins with a token are.
    fn tile(&self, step: &Step<'_>, token: usize) -> *const u8 {
        let base = match self.tiles {
            Some(at) => step.scratch().wrapping_add(at),
            None => step.f32(self.x).cast(),
        };
        base.wrapping_add(token * self.multiplier.token_bytes())
    }

    /// Products of tokens, which are whole tiles, with rows of the weight that begin a strip: token by token at `to`.
    ///
    /// # Safety
    /// As [`prepare`](Self::prepare), which has run; `to` has the tokens' rows.
    pub unsafe fn products(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        rows: Range<usize>,
        tokens: Range<usize>,
        to: Target,
    ) {
        // SAFETY: passed on.
        let tiling = self.tiling(unsafe { self.tokens(step) });
        let mut y = Buffer([MaybeUninit::uninit(); RESULTS]);
        let nothing = Target { at: std::ptr::null_mut(), stride: 0 };
        for first in rows.clone().step_by(STRIP) {
            let count = (rows.end - first).min(STRIP);
            // SAFETY: strips of the weight; a worker's own memory; the buffer takes any tile.
            unsafe {
                let scratch = step.scratch().add(self.workers + worker.index() * self.per_worker);
                let strip = match self.source(step) {
                    Source::Prepared(matrix, expert) => self.multiplier.strip(matrix, expert, first / STRIP),
                    Source::Plain(w) => self.multiplier.plain_strip(w.add(first * self.columns), count),
                };
                self.multiplier.open(strip, tiling, scratch);
                for tile in tiling.tiles(tokens.start, tokens.end) {
                    let y = y.0.as_mut_ptr().cast::<f32>();
                    self.multiplier.multiply(strip, tiling, scratch, self.tile(step, 0), tile, y);
                    let results = Results { y, pitch: tile.width, width: tile.width, rows: count };
                    let at = to.at.add((tile.first - tokens.start) * to.stride + first - rows.start);
                    (self.finish.write)(&results, Target { at, ..to }, nothing);
                }
            }
        }
    }

    /// Largest logits, sums of exponentials and the targets' logits, of all parts. Ends with a barrier.
    ///
    /// # Safety
    /// As [`prepare`](Self::prepare), which has run.
    pub unsafe fn reduce(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: as above; each item has its own parts of the scratch.
        unsafe {
            let targets = step.i32s(self.targets);
            let all = self.tokens(step);
            let (parts, blocks) = (self.rows.div_ceil(PART), all.div_ceil(TOKENS));
            let own = step.scratch().add(self.workers + worker.index() * self.per_worker + self.products).cast::<f32>();
            while let Some(range) = worker.claim(parts * blocks, 1) {
                if step.cancelled() {
                    break;
                }
                for item in range {
                    let (part, first) = (item / blocks, item % blocks * TOKENS);
                    let rows = part * PART..((part + 1) * PART).min(self.rows);
                    let tokens = first..(first + TOKENS).min(all);
                    self.products(step, worker, rows.clone(), tokens.clone(), Target { at: own, stride: PART });
                    for t in tokens {
                        let logits = own.add((t - first) * PART);
                        (self.reduce)(logits, rows.len(), self.rule, self.part(step, part, t));
                        if let Some(target) = usize::try_from(targets[t]).ok().filter(|t| rows.contains(t)) {
                            self.picked(step).add(t).write(logits.add(target - rows.start).read());
                        }
                    }
                }
            }
            worker.barrier();
        }
    }

    fn part(&self, step: &Step<'_>, part: usize, token: usize) -> *mut [f32; 2] {
        Self::at(step, self.parts).cast::<[f32; 2]>().wrapping_add(part * self.max_tokens + token)
    }

    /// A token's largest logit, and the sum of exponentials relative to it.
    ///
    /// # Safety
    /// [`reduce`](Self::reduce) has run.
    pub unsafe fn partition(&self, step: &Step<'_>, token: usize) -> (f32, f64) {
        // SAFETY: parts of the token.
        let part = |part: usize| unsafe { self.part(step, part, token).read() };
        let parts = self.rows.div_ceil(PART);
        let top = (0..parts).map(|i| part(i)[0]).fold(f32::NEG_INFINITY, f32::max);
        let sum = |[largest, sum]: [f32; 2]| f64::from(sum) * (f64::from(largest) - f64::from(top)).exp();
        (top, (0..parts).map(|i| sum(part(i))).sum())
    }

    /// Keeps two numbers of a token in place of its first part.
    ///
    /// # Safety
    /// The token's parts are no longer wanted.
    pub unsafe fn keep(&self, step: &Step<'_>, token: usize, numbers: [f32; 2]) {
        // SAFETY: passed on.
        unsafe { self.part(step, 0, token).write(numbers) }
    }
    /// What [`keep`](Self::keep) has kept.
    ///
    /// # Safety
    /// It has.
    pub unsafe fn kept(&self, step: &Step<'_>, token: usize) -> [f32; 2] {
        // SAFETY: passed on.
        unsafe { self.part(step, 0, token).read() }
    }
}
