//! Steps: which rows they compute, and what becomes of them.

use super::Context;
use super::inputs::Rows;
use super::memory::{self, Step};
use crate::backend::CancelFlag;
use crate::error::Error;

/// What a step computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSize {
    /// Rows in all.
    pub rows: usize,
    /// Those of drafts.
    pub drafts: usize,
    /// Those of prompts: of sequences that lacked more than one token.
    pub prompts: usize,
}

/// Whose logits [`Context::compute`] delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// After the last token of each sequence, and after each of its drafts.
    Last,
    /// After every token.
    All,
}

/// Receives logits: `(sequence, position, logits)` for the token at `position`.
pub type Sink<'a> = &'a mut dyn FnMut(usize, usize, &[f32]);

/// Rows of prompts in a step that also decodes: what keeps such a step short, so that nobody who decodes stalls.
const PROMPT_BESIDE_DECODE: usize = 64;

impl Context {
    /// Computes every pushed token of `sequences` and hands out logits. With nothing to compute, a sequence's last token is
    /// computed again.
    ///
    /// # Errors
    /// As [`Context::step`].
    pub fn compute(
        &mut self,
        sequences: &[usize],
        want: Want,
        cancel: &CancelFlag,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        for &i in sequences {
            self.begin(i)?;
        }
        while self.step(sequences, want, cancel, sink)? {}
        Ok(())
    }

    /// Runs one step for `sequences`, the first of which come first where not all fit; false where there was nothing left to
    /// compute. Sequences that lack one token get it before drafts, and those before prompts get their share.
    ///
    /// # Errors
    /// [`Error::Cancelled`] within milliseconds of the flag; the tokens stay pushed and a later call goes on. Backend errors.
    pub fn step(
        &mut self,
        sequences: &[usize],
        want: Want,
        cancel: &CancelFlag,
        sink: Sink<'_>,
    ) -> Result<bool, Error> {
        let rows = self.next_rows(sequences, want)?;
        if rows.tokens.is_empty() {
            return Ok(false);
        }
        self.run(&rows, cancel)?;
        let out = &self.plan.outputs[0];
        let width = out.shape.last().copied().unwrap_or(0) as usize;
        let mut logits = vec![0.0; width];
        for (r, &row) in rows.outputs.iter().enumerate() {
            self.memory[out.device].read(out, (r * width * 4) as u64, &mut logits)?;
            sink(rows.sequence_of(row), rows.positions[row as usize] as usize, &logits);
        }
        Ok(true)
    }

    /// What the last step computed.
    pub fn last_step(&self) -> StepSize {
        self.last_step
    }

    /// The first `len` elements of the graph's output number `index`, as the last step left them.
    ///
    /// # Errors
    /// [`Error::Internal`] where there is no such output or it is smaller; backend errors.
    pub fn output(&self, index: usize, len: usize) -> Result<Vec<f32>, Error> {
        let missing = || Error::Internal { what: format!("output {index} has no {len} elements") };
        let out = self.plan.outputs.get(index).ok_or_else(missing)?;
        if len as u64 > out.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(d)) {
            return Err(missing());
        }
        let mut values = vec![0.0; len];
        self.memory[out.device].read(out, 0, &mut values)?;
        Ok(values)
    }

    /// The rows of the next step.
    fn next_rows(&mut self, sequences: &[usize], want: Want) -> Result<Rows, Error> {
        let (chunk, outputs) = (self.size.chunk as usize, self.size.outputs as usize);
        let decoding = sequences.iter().filter(|&&i| self.sequences[i].missing() == 1).count().min(chunk);
        // Whoever's last token is computed in this step must have its logits.
        let spare = (chunk - decoding).min(outputs.saturating_sub(sequences.len()));
        let room = if want == Want::Last { spare } else { 0 };
        let drafts = self.share_drafts(sequences, room);
        let drafted = drafts.iter().sum::<usize>();
        let mut prompts = chunk - decoding - drafted;
        if decoding > 0 && want == Want::Last {
            prompts = prompts.min(PROMPT_BESIDE_DECODE);
        }
        let mut rows = Rows::default();
        for (&i, drafts) in sequences.iter().zip(drafts) {
            let s = &self.sequences[i];
            let missing = s.missing();
            let mut n = match missing {
                0 => continue,
                1 => chunk.saturating_sub(rows.tokens.len()).min(1),
                n => n.min(prompts).min(s.slice.unwrap_or(usize::MAX)),
            };
            let free_outputs = outputs.saturating_sub(rows.outputs.len());
            n = if want == Want::All { n.min(free_outputs) } else { n };
            if n == 0 || free_outputs == 0 {
                continue;
            }
            if missing > 1 {
                prompts -= n;
            }
            let end = s.computed + n + drafts;
            self.make_room(i, end)?;
            let s = &self.sequences[i];
            rows.begin_sequence(i, s.adapter.map(|a| a.slot), s.page_table());
            for position in s.computed..end {
                let wanted = want == Want::All || position + 1 >= s.tokens.len();
                rows.push(s.token(position), position, s.page(position), wanted);
            }
            self.last_step.prompts += if missing > 1 { n } else { 0 };
        }
        (self.last_step.rows, self.last_step.drafts) = (rows.tokens.len(), drafted);
        Ok(rows)
    }

    /// How many drafts of each sequence a step with room for so many computes: of all the first ones before any second.
    fn share_drafts(&mut self, sequences: &[usize], room: usize) -> Vec<usize> {
        self.last_step = StepSize::default();
        let waiting = |i: usize| if self.sequences[i].missing() == 1 { self.sequences[i].drafted.len() } else { 0 };
        let waiting: Vec<usize> = sequences.iter().map(|&i| waiting(i)).collect();
        let mut shares = vec![0; waiting.len()];
        let deepest = waiting.iter().copied().max().unwrap_or(0);
        let in_turn = (0..deepest).flat_map(|depth| (0..waiting.len()).map(move |k| (depth, k)));
        for (_, k) in in_turn.filter(|&(depth, k)| depth < waiting[k]).take(room) {
            shares[k] += 1;
        }
        shares
    }

    fn run(&mut self, rows: &Rows, cancel: &CancelFlag) -> Result<(), Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let step = Step { rows, cancel, profile: self.profile.as_deref() };
        let result = memory::run(&self.plan, &mut self.memory, &step);
        for &(i, end) in &rows.ends() {
            let start = self.sequences[i].computed as u64;
            self.sequences[i].computed = match &result {
                Ok(()) => {
                    self.recurrent.advanced(&self.states, i, start, end as u64)?;
                    end
                }
                // A step that stopped half-way has advanced some layers' recurrent states and not others.
                Err(_) => self.recurrent.recover(&self.states, i, start)? as usize,
            };
            // Drafts that had no room or were lost with the step.
            let s = &mut self.sequences[i];
            s.drafted.truncate(s.computed.saturating_sub(s.tokens.len()));
            self.settle(i);
        }
        result
    }
}
