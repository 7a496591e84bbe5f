//! Rows of an encoder: every text lies whole in a step, since its rows see each other, and several lie side by side.

use super::{Pool, Pooling, kept};
use crate::backend::CancelFlag;
use crate::context::{ContextCost, ContextSize, Rows, Runner};
use crate::error::Error;
use crate::model::Model;
use crate::plan::Plan;
use std::collections::HashMap;
use tern_abi::dtype::F32;

/// Rows of a step, if no text is longer: enough to read each weight seldom, few enough to cancel within milliseconds.
const ROWS: u64 = 256;
/// Texts of a step.
const TEXTS: u64 = 64;

/// Sizes for texts of which the longest has `longest` tokens, and all together `total`.
pub fn size(longest: u64, total: u64, texts: u64) -> ContextSize {
    let rows = longest.max(ROWS.min(total));
    ContextSize { sequences: texts.min(TEXTS).min(rows), positions: longest, chunk: rows, outputs: rows, pages: 0 }
}

fn runner(model: &Model, needed: ContextSize) -> Result<(ContextSize, Runner), Error> {
    let roomy = size(kept::positions(needed.positions, model.default_context()), u64::MAX, TEXTS);
    model.kept().encoder.take_or_make(needed, roomy, |size| {
        let graph = model.graph(size, F32)?;
        let devices = model.devices();
        let plan = Plan::new(devices, &graph, size.class())?;
        let cost = ContextCost::of(devices, &graph, &plan, size)?;
        cost.check(devices, cost.total(), size)?;
        let none = vec![HashMap::new(); devices.len()];
        Runner::new(model, (plan, graph), &none, size)
    })
}

/// Pools the rows of `texts`, none of which is empty or longer than the model has positions for.
pub fn pools(model: &Model, texts: &[&[u32]], pooling: Pooling, cancel: &CancelFlag) -> Result<Vec<Pool>, Error> {
    let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0) as u64;
    let needed = size(longest, texts.iter().map(|t| t.len() as u64).sum(), texts.len() as u64);
    let (size, mut runner) = runner(model, needed)?;
    let mut pools = Vec::with_capacity(texts.len());
    let width = model.info().width as usize;
    let mut hidden = vec![0.0; size.outputs as usize * width];
    let mut left = texts;
    while !left.is_empty() {
        let (now, later) = left.split_at(side_by_side(left, size));
        left = later;
        let rows = rows(now, pooling);
        runner.run(&rows, cancel)?;
        let hidden = &mut hidden[..rows.outputs.len() * width];
        runner.read(0, hidden)?;
        let mut found = vec![Pool::default(); now.len()];
        for (row, &at) in hidden.chunks_exact(width).zip(&rows.outputs) {
            found[rows.sequence_of(at)].add(row);
        }
        pools.append(&mut found);
    }
    model.kept().encoder.put((size, runner));
    Ok(pools)
}

/// How many of the first texts fit one step; at least one.
fn side_by_side(texts: &[&[u32]], size: ContextSize) -> usize {
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as u64;
        Some(*end)
    });
    ends.take(size.sequences as usize).take_while(|&end| end <= size.chunk).count().max(1)
}

fn rows(texts: &[&[u32]], pooling: Pooling) -> Rows {
    let mut rows = Rows::default();
    for (i, text) in texts.iter().enumerate() {
        rows.begin_sequence(i, None, std::iter::empty());
        for (position, &token) in text.iter().enumerate() {
            let wanted = match pooling {
                Pooling::Mean => true,
                Pooling::Cls => position == 0,
                Pooling::Last => position + 1 == text.len(),
            };
            rows.push(token, position, 0, wanted);
        }
    }
    rows
}
