//! Importance matrices: how strongly every input column of every matrix is used, as the mean of squares over a text.
//!
//! ```text
//! mod.rs       what a matrix is, merging
//! file.rs      GGUF files as llama.cpp writes them today
//! legacy.rs    the binary files that it wrote before
//! collect.rs   from a model and a text
//! ```

mod collect;
mod file;
mod legacy;

pub use collect::{CollectOptions, Collected};

use crate::error::ConvertError;
use std::collections::BTreeMap;

/// See the module. Entries are by the name of the tensor in GGUF, such as `blk.0.attn_q.weight`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    /// One per matrix.
    pub entries: BTreeMap<String, Entry>,
    /// The texts it was made from, as paths or names.
    pub datasets: Vec<String>,
    /// Pieces of text that were read.
    pub chunks: u32,
    /// Tokens of a piece; 0 where the file does not say.
    pub chunk_size: u32,
}

/// The sums of one matrix, or of a stack of one matrix per expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Sums of squares, `[experts, columns]`; finite, not negative.
    pub sums: Vec<f32>,
    /// Rows that each expert's sums are over, `[experts]`; one for all where a file does not tell them apart.
    pub counts: Vec<f32>,
}

impl Entry {
    /// Means of squares, `[experts, columns]`. An expert that no token went to counts every column the same.
    pub fn means(&self) -> Vec<f32> {
        let columns = self.sums.len().checked_div(self.counts.len()).unwrap_or(0).max(1);
        let experts = self.sums.chunks(columns).zip(&self.counts);
        experts.flat_map(|(sums, &n)| sums.iter().map(move |s| if n > 0.0 { s / n } else { 1.0 })).collect()
    }
}

impl Imatrix {
    /// The entry of a tensor.
    pub fn get(&self, tensor: &str) -> Option<&Entry> {
        self.entries.get(tensor)
    }

    /// Adds what another text showed.
    ///
    /// # Errors
    /// [`ConvertError::ImatrixSize`] where an entry has another size.
    pub fn merge(&mut self, other: Self) -> Result<(), ConvertError> {
        for (name, entry) in &other.entries {
            let Some(own) = self.entries.get(name) else { continue };
            if (own.sums.len(), own.counts.len()) != (entry.sums.len(), entry.counts.len()) {
                let (found, expected) = (entry.sums.len() as u64, own.sums.len() as u64);
                return Err(ConvertError::ImatrixSize { tensor: name.clone(), found, expected });
            }
        }
        for (name, entry) in other.entries {
            let own = self
                .entries
                .entry(name)
                .or_insert_with(|| Entry { sums: vec![0.0; entry.sums.len()], counts: vec![0.0; entry.counts.len()] });
            own.sums.iter_mut().zip(entry.sums).for_each(|(a, b)| *a += b);
            own.counts.iter_mut().zip(entry.counts).for_each(|(a, b)| *a += b);
        }
        self.datasets.extend(other.datasets);
        self.chunks = self.chunks.saturating_add(other.chunks);
        if self.chunk_size == 0 {
            self.chunk_size = other.chunk_size;
        }
        Ok(())
    }
}

/// Refuses numbers that are no sums of squares.
fn check(file: &str, name: &str, values: &[f32]) -> Result<(), ConvertError> {
    match values.iter().find(|v| !v.is_finite() || **v < 0.0) {
        None => Ok(()),
        Some(v) => Err(ConvertError::Imatrix {
            file: file.to_owned(),
            what: format!("{name} has {v}; expected finite numbers from 0 up"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(sums: &[f32], counts: &[f32]) -> Imatrix {
        let entry = Entry { sums: sums.to_vec(), counts: counts.to_vec() };
        Imatrix { entries: BTreeMap::from([("w".into(), entry)]), datasets: vec!["a".into()], chunks: 1, chunk_size: 8 }
    }

    #[test]
    fn an_expert_without_tokens_has_no_preference() {
        let m = matrix(&[2.0, 4.0, 0.0, 0.0], &[2.0, 0.0]);
        assert_eq!(m.get("w").unwrap().means(), [1.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn merging_adds_and_refuses_other_models() {
        let mut m = matrix(&[2.0, 4.0], &[2.0]);
        m.merge(matrix(&[1.0, 1.0], &[1.0])).unwrap();
        assert_eq!(m.get("w").unwrap(), &Entry { sums: vec![3.0, 5.0], counts: vec![3.0] });
        assert_eq!((m.chunks, m.datasets.len()), (2, 2));
        let before = m.clone();
        assert!(matches!(m.merge(matrix(&[1.0], &[1.0])), Err(ConvertError::ImatrixSize { .. })));
        assert_eq!(m, before);
    }
}
