//! Rows of a decoder: sequences in a context, in which long texts go over several steps.

use super::{Pool, Pooling, kept};
use crate::backend::CancelFlag;
use crate::context::{Context, ContextSize, Want};
use crate::error::Error;
use crate::model::Model;
use crate::session::{KvType, SessionOptions};

/// Sequences of a step.
const SEQUENCES: usize = 16;
/// Rows of a step.
const CHUNK: u64 = 256;
/// Tokens of texts that are called long: for them nothing is kept, since it is large, and made in less time than it is used.
const LONG: u64 = 256;

/// Pools the rows of `texts`, none of which is empty.
pub fn pools(model: &Model, texts: &[&[u32]], pooling: Pooling, cancel: &CancelFlag) -> Result<Vec<Pool>, Error> {
    let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0) as u64;
    let (size, mut context) = context(model, longest, texts.len().min(SEQUENCES) as u64)?;
    let sequences = size.sequences as usize;
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
    if size.positions <= LONG {
        model.kept().decoder.put((size, context));
    }
    Ok(pools)
}

/// The context of the call before, or one for texts about as long.
fn context(model: &Model, longest: u64, sequences: u64) -> Result<(ContextSize, Context), Error> {
    let sized = |positions: u64, sequences| {
        let chunk = Some(CHUNK.min(positions));
        let options = SessionOptions { context: Some(positions), chunk, ..SessionOptions::default() };
        // Checked as a session's sizes are.
        let one = options.size(model, CHUNK)?;
        Ok::<_, Error>(ContextSize::full(sequences, one.positions, CHUNK, CHUNK))
    };
    let needed = sized(longest, sequences)?;
    let most = model.default_context().min(model.reach());
    let roomy = match longest {
        ..=LONG => sized(kept::positions(longest, most), sequences.next_power_of_two())?,
        _ => needed,
    };
    let make = |size| model.hidden_context(size, KvType::F32.dtype());
    model.kept().decoder.take_or_make(needed, roomy, make)
}
