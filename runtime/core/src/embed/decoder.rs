//! Rows of a decoder: sequences in a context, in which long texts go over several steps.

use super::{Pool, Pooling};
use crate::backend::CancelFlag;
use crate::context::{ContextSize, Want};
use crate::error::Error;
use crate::model::Model;
use crate::session::{KvType, SessionOptions};

/// Sequences of a step.
const SEQUENCES: usize = 16;
/// Rows of a step.
const CHUNK: u64 = 256;

/// Pools the rows of `texts`, none of which is empty.
pub fn pools(model: &Model, texts: &[&[u32]], pooling: Pooling, cancel: &CancelFlag) -> Result<Vec<Pool>, Error> {
    let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0) as u64;
    let session =
        SessionOptions { context: Some(longest), chunk: Some(CHUNK.min(longest)), ..SessionOptions::default() };
    // Checked as a session's sizes are.
    let one = session.size(model, CHUNK)?;
    let sequences = texts.len().min(SEQUENCES);
    let size = ContextSize::full(sequences as u64, one.positions, CHUNK, CHUNK);
    let mut context = model.hidden_context(size, KvType::F32.dtype())?;
    let want = if pooling == Pooling::Last { Want::Last } else { Want::All };
    let mut pools = Vec::with_capacity(texts.len());
    for group in texts.chunks(sequences) {
        for (i, text) in group.iter().enumerate() {
            context.reset(i)?;
            // Every row is wanted, and what others have computed is not looked at.
            context.configure(i, None, true)?;
            context.push(i, text)?;
        }
        let mut found = vec![Pool::default(); group.len()];
        let all: Vec<usize> = (0..group.len()).collect();
        context.compute(&all, want, cancel, &mut |i, position, row| match pooling {
            Pooling::Cls if position > 0 => {}
            _ => found[i].add(row),
        })?;
        pools.append(&mut found);
    }
    Ok(pools)
}
