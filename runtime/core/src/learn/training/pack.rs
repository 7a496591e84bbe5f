//! Examples to micro-batches: as many as fit side by side, each a sequence of its own.

use super::Example;
use crate::context::{ContextSize, Rows};
use crate::error::Error;
use crate::graph::{LOSS_ROWS, loss_inputs};

/// Rows of one run.
#[derive(Default)]
pub struct Micro {
    pub rows: Rows,
    /// For each output row, its example and its target.
    targets: Vec<(usize, u32)>,
    /// Groups of rows that the loss is computed for.
    groups: u64,
    /// For each target, the slopes that are taken off its loss, as bits; or none at all.
    slopes: Vec<i32>,
}

/// How examples are packed.
#[derive(Clone, Copy)]
pub struct Packing {
    /// Of a run, at most.
    pub size: ContextSize,
    /// Tokens that there are.
    pub vocab: usize,
    /// Of what the head is applied to.
    pub width: usize,
    /// Which of the adapters the runs take; none: the base model.
    pub adapter: Option<u32>,
}

/// Packs `examples`, in order, into runs.
///
/// # Errors
/// [`Error::Setting`] for an example that is too long or has another number of marks, [`Error::Token`].
pub fn pack(examples: &[impl AsRef<Example>], packing: &Packing) -> Result<Vec<Micro>, Error> {
    let Packing { size, vocab, adapter, .. } = packing;
    let mut micros: Vec<Micro> = Vec::new();
    for (number, example) in examples.iter().enumerate() {
        let Example { tokens, counts } = example.as_ref();
        let bad = |setting, found: usize, expected| Err(Error::Setting { setting, found: found.to_string(), expected });
        if tokens.len() as u64 > size.chunk {
            return bad("tokens of an example", tokens.len(), "at most the context of the training");
        }
        if counts.len() != tokens.len() {
            return bad("marks of an example", counts.len(), "one for each token");
        }
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= *vocab) {
            return Err(Error::Token { id, vocab: *vocab });
        }
        // What follows the last target changes nothing.
        let Some(last) = (1..tokens.len()).rev().find(|&i| counts[i]) else { continue };
        let fits = |m: &Micro| {
            m.rows.tokens.len() + last <= size.chunk as usize && (m.rows.sequences.len() as u64) < size.sequences
        };
        if !micros.last().is_some_and(fits) {
            micros.push(Micro { groups: size.outputs.div_ceil(LOSS_ROWS), ..Micro::default() });
        }
        let Some(micro) = micros.last_mut() else { continue };
        let sequence = micro.rows.sequences.len();
        micro.rows.begin_sequence(sequence, *adapter, std::iter::empty());
        for i in 0..last {
            micro.rows.push(tokens[i], i, 0, counts[i + 1]);
            if counts[i + 1] {
                micro.targets.push((number, tokens[i + 1]));
            }
        }
    }
    micros.iter_mut().for_each(|m| m.write_targets(packing.width));
    Ok(micros)
}

impl Micro {
    /// Tokens that count.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// What the gradient is multiplied with.
    pub fn set_seed(&mut self, seed: f32) {
        // Inputs travel as i32 words.
        self.rows.others.insert("seed".to_owned(), vec![seed.to_bits().cast_signed()]);
    }

    /// Takes slopes off the losses: those of each example's targets, one after the other, example by example.
    pub fn set_slopes<'a>(&mut self, of: impl Fn(usize) -> &'a [f32], width: usize) {
        let mut examples: Vec<usize> = self.targets.iter().map(|&(example, _)| example).collect();
        examples.dedup();
        self.slopes = examples.into_iter().flat_map(of).map(|s| s.to_bits().cast_signed()).collect();
        self.write_targets(width);
    }

    fn write_targets(&mut self, width: usize) {
        for group in 0..self.groups {
            let first = (group * LOSS_ROWS) as usize;
            let own = self.targets.iter().skip(first).take(LOSS_ROWS as usize);
            let mut targets: Vec<i32> = own.map(|&(_, t)| t as i32).collect();
            let mut rows: Vec<i32> = (first..first + targets.len()).map(|r| r as i32).collect();
            // Rows of no target compute row 0 again, which counts for nothing.
            rows.resize(LOSS_ROWS as usize, 0);
            targets.resize(LOSS_ROWS as usize, -1);
            let mut slopes: Vec<i32> =
                self.slopes.iter().skip(first * width).take(LOSS_ROWS as usize * width).copied().collect();
            slopes.resize(LOSS_ROWS as usize * width, 0);
            let [row_input, target_input, slope_input] = loss_inputs(group);
            self.rows.others.insert(row_input, rows);
            self.rows.others.insert(target_input, targets);
            self.rows.others.insert(slope_input, slopes);
        }
    }

    /// For each group, the example of each of its targets.
    pub fn examples(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        self.targets.chunks(LOSS_ROWS as usize).map(|own| own.iter().map(|&(example, _)| example).collect())
    }

    /// Hands out each target's nats with its example, from the groups that `read` gives.
    pub fn nats(
        &self,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), Error>,
        each: &mut dyn FnMut(usize, f64),
    ) -> Result<(), Error> {
        let mut nats = vec![0.0; LOSS_ROWS as usize];
        for (group, targets) in self.targets.chunks(LOSS_ROWS as usize).enumerate() {
            read(group, &mut nats)?;
            targets.iter().zip(&nats).for_each(|(&(example, _), &n)| each(example, f64::from(n)));
        }
        Ok(())
    }
}
