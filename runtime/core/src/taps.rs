//! What goes into a model's matrices while it reads a text: for importance matrices, tests and debugging.

use crate::backend::CancelFlag;
use crate::context::{Context, Want};
use crate::error::Error;
use crate::graph::Tap;
use crate::model::Model;
use crate::models::HeadOrder;
use crate::session::{KvType, SessionOptions};
use std::collections::HashMap;

/// Rows that go into one matrix in one step.
#[derive(Clone, Copy, Debug)]
pub struct Tapped<'a> {
    /// Name of the matrix in GGUF.
    pub weight: &'a str,
    /// Matrices in the stack: experts, or 1.
    pub experts: usize,
    /// Columns of a row.
    pub columns: usize,
    /// `[rows, columns]`, with columns as GGUF has them.
    pub rows: &'a [f32],
    /// For experts, whose row each is, `[rows]`: a row that several experts get is there once for each.
    pub expert: Option<&'a [u32]>,
}

/// A model whose matrices' inputs can be seen. It has a context of its own with exact keys and values.
pub struct Taps {
    context: Context,
    taps: Vec<Tap>,
    /// Of matrices whose columns the graph has in another order than GGUF.
    orders: HashMap<String, HeadOrder>,
    vocab: usize,
}

/// Tokens of a step: every input of it is kept until its end.
const CHUNK: u64 = 64;

impl Model {
    /// For texts of up to `positions` tokens.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Memory`], plan and backend errors.
    pub fn taps(&self, positions: u64) -> Result<Taps, Error> {
        let chunk = CHUNK.min(positions);
        let options = SessionOptions {
            context: Some(positions),
            chunk: Some(chunk),
            kv: KvType::F32,
            ..SessionOptions::default()
        };
        let size = options.size(self, chunk)?;
        let (context, taps) = self.tapped_context(size, KvType::F32.dtype())?;
        let folder = self.info().format == "safetensors";
        let ordered = self.table().specs.iter().filter(|_| folder).filter_map(|s| Some((s.gguf.clone(), s.order?)));
        let orders = ordered.filter(|(_, order)| order.columns).collect();
        Ok(Taps { context, taps, orders, vocab: self.tokenizer().vocab_size() })
    }
}

impl Taps {
    /// Reads `tokens` as a text of its own and hands out what went into every matrix, step by step.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Cancelled`], backend errors.
    pub fn run(&mut self, tokens: &[u32], cancel: &CancelFlag, sink: &mut dyn FnMut(&Tapped<'_>)) -> Result<(), Error> {
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= self.vocab) {
            return Err(Error::Token { id, vocab: self.vocab });
        }
        self.context.reset(0)?;
        // Nothing is taken from texts before: what is not computed cannot be seen.
        self.context.configure(0, None, true)?;
        self.context.push(0, tokens)?;
        self.context.begin(0)?;
        loop {
            let mut rows = 0;
            if !self.context.step(&[0], Want::All, cancel, &mut |_, _, _| rows += 1)? {
                return Ok(());
            }
            for tap in &self.taps {
                self.deliver(tap, rows, sink)?;
            }
        }
    }

    fn deliver(&self, tap: &Tap, rows: usize, sink: &mut dyn FnMut(&Tapped<'_>)) -> Result<(), Error> {
        let (experts, columns) = (tap.experts as usize, tap.columns as usize);
        let ranks = tap.ids.map_or(1, |(_, ranks)| ranks as usize);
        let per_row = if tap.per_rank { ranks } else { 1 };
        let mut x = self.context.output(tap.input, rows * per_row * columns)?;
        if let Some(order) = self.orders.get(&tap.weight) {
            x = order.apply(&x, columns, |i| order.in_folder(i));
        }
        let Some((ids, _)) = tap.ids else {
            sink(&Tapped { weight: &tap.weight, experts, columns, rows: &x, expert: None });
            return Ok(());
        };
        // Ids are integers of the same size as floats: their bits count.
        let expert: Vec<u32> = self.context.output(ids, rows * ranks)?.iter().map(|v| v.to_bits()).collect();
        let repeated: Vec<f32> = match tap.per_rank {
            true => x,
            false => {
                x.chunks(columns.max(1)).flat_map(|row| std::iter::repeat_n(row, ranks)).flatten().copied().collect()
            }
        };
        sink(&Tapped { weight: &tap.weight, experts, columns, rows: &repeated, expert: Some(&expert) });
        Ok(())
    }
}
