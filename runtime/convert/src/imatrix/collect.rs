//! From a model and texts to an importance matrix.

use super::{Entry, Imatrix};
use crate::error::ConvertError;
use std::collections::BTreeMap;
use tern::{CancelFlag, Model, Tapped, Taps};

/// How to collect.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// Tokens of a piece of text. Every piece is read on its own.
    pub context: u32,
    /// Pieces to read at most, of all texts together.
    pub chunks: Option<u32>,
    /// What was collected before: its pieces are skipped, its sums are added to.
    pub resumed: Option<Imatrix>,
    /// Ends the work.
    pub cancel: CancelFlag,
}

/// What was collected.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The matrix; after a cancellation of the pieces that were complete.
    pub imatrix: Imatrix,
    /// Pieces that there were to read, those of before included.
    pub pieces: u32,
    /// Was it cancelled?
    pub cancelled: bool,
}

/// Sums of one matrix. Double precision: a sum of millions of squares of one magnitude.
struct Sums {
    values: Vec<f64>,
    counts: Vec<f64>,
}

impl Imatrix {
    /// Runs `model` over texts `(name, text)`, cut into pieces of the same number of tokens; a rest is left out. Each piece
    /// begins with the token that the model begins with, if it has one. What goes into the matrices of layers is collected;
    /// the head is left out, since it is used at a few places of a text only.
    ///
    /// # Errors
    /// [`ConvertError::Imatrix`] for texts that are too short, and for `resumed` of another text or size;
    /// [`ConvertError::Model`].
    pub fn collect(
        model: &Model,
        texts: &[(String, String)],
        options: &CollectOptions,
        progress: &mut dyn FnMut(u32, u32),
    ) -> Result<Collected, ConvertError> {
        let context = options.context.max(1) as usize;
        let mut pieces = Vec::new();
        for (name, text) in texts {
            let tokens = model.encode(text)?;
            let before = pieces.len();
            pieces.extend(tokens.chunks_exact(context).map(<[u32]>::to_vec));
            if pieces.len() == before {
                let what = format!("{} tokens, fewer than a piece has ({context}); give more text", tokens.len());
                return Err(ConvertError::Imatrix { file: name.clone(), what });
            }
        }
        pieces.truncate(options.chunks.map_or(usize::MAX, |n| n as usize));
        let tokenizer = model.tokenizer();
        if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
            pieces.iter_mut().filter_map(|p| p.first_mut()).for_each(|first| *first = bos);
        }
        let datasets: Vec<String> = texts.iter().map(|t| t.0.clone()).collect();
        let mut sums = begin(options, &datasets)?;
        let skipped = options.resumed.as_ref().map_or(0, |m| m.chunks);
        let total = pieces.len() as u32;
        let mut taps = model.taps(context as u64)?;
        let (mut done, mut cancelled) = (skipped.min(total), false);
        for piece in pieces.iter().skip(skipped as usize) {
            progress(done, total);
            match read(&mut taps, piece, &options.cancel) {
                Err(ConvertError::Cancelled) => {
                    cancelled = true;
                    break;
                }
                found => add(&mut sums, found?),
            }
            done += 1;
        }
        let chunks = done.max(skipped);
        let entries = sums.into_iter().map(|(name, s)| (name, s.into_entry())).collect();
        let imatrix = Imatrix { entries, datasets, chunks, chunk_size: options.context };
        Ok(Collected { imatrix, pieces: total, cancelled })
    }
}

/// What the sums begin with.
fn begin(options: &CollectOptions, datasets: &[String]) -> Result<BTreeMap<String, Sums>, ConvertError> {
    let Some(before) = &options.resumed else { return Ok(BTreeMap::new()) };
    if before.datasets != datasets || before.chunk_size != options.context {
        let what = format!(
            "is of {:?} in pieces of {} tokens, not of {datasets:?} in pieces of {}",
            before.datasets, before.chunk_size, options.context
        );
        return Err(ConvertError::Imatrix { file: "the matrix to go on with".into(), what });
    }
    let doubles = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
    let entries = before.entries.iter();
    Ok(entries.map(|(n, e)| (n.clone(), Sums { values: doubles(&e.sums), counts: doubles(&e.counts) })).collect())
}

/// The sums of one piece.
fn read(taps: &mut Taps, piece: &[u32], cancel: &CancelFlag) -> Result<BTreeMap<String, Sums>, ConvertError> {
    let mut found = BTreeMap::new();
    taps.run(piece, cancel, &mut |tapped| {
        if tapped.weight.starts_with("blk.") {
            found.entry(tapped.weight.to_owned()).or_insert_with(|| Sums::new(tapped)).add(tapped);
        }
    })
    .map_err(|e| if e.is_cancelled() { ConvertError::Cancelled } else { e.into() })?;
    Ok(found)
}

fn add(sums: &mut BTreeMap<String, Sums>, more: BTreeMap<String, Sums>) {
    for (name, more) in more {
        match sums.get_mut(&name) {
            Some(own) => {
                own.values.iter_mut().zip(&more.values).for_each(|(a, b)| *a += b);
                own.counts.iter_mut().zip(&more.counts).for_each(|(a, b)| *a += b);
            }
            None => _ = sums.insert(name, more),
        }
    }
}

impl Sums {
    fn new(tapped: &Tapped<'_>) -> Self {
        Self { values: vec![0.0; tapped.experts * tapped.columns], counts: vec![0.0; tapped.experts] }
    }

    fn add(&mut self, tapped: &Tapped<'_>) {
        for (i, row) in tapped.rows.chunks_exact(tapped.columns.max(1)).enumerate() {
            let expert = tapped.expert.and_then(|e| e.get(i)).map_or(0, |&e| e as usize);
            let Some(count) = self.counts.get_mut(expert) else { continue };
            *count += 1.0;
            let sums = self.values.iter_mut().skip(expert * tapped.columns);
            sums.zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
        }
    }

    fn into_entry(self) -> Entry {
        let singles = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect();
        Entry { sums: singles(self.values), counts: singles(self.counts) }
    }
}
