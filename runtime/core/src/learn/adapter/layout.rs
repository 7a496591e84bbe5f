//! Names and rows of a model's matrices: as GGUF files have them, as folders do, and as the graph does.

use super::{Adapter, AdapterError, Factors};
use crate::model::Model;
use crate::models::{Change, HeadOrder, Kind, TensorSpec, TensorTable};
use std::collections::HashSet;

/// The matrices of a model that can have factors.
pub(crate) struct Layout<'a> {
    table: &'a TensorTable,
    architecture: &'a str,
    /// Does the graph have rows in the order of folders?
    folder: bool,
}

impl<'a> Layout<'a> {
    pub fn of(model: &'a Model) -> Self {
        Self {
            table: model.table(),
            architecture: model.gguf_architecture(),
            folder: model.info().format == "safetensors",
        }
    }

    pub fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// The matrices that can have factors: those that the graph multiplies with. The embedding is chosen from, too.
    pub fn matrices(&self) -> impl Iterator<Item = &'a TensorSpec> + use<'a> {
        let matrix = |s: &&TensorSpec| {
            matches!(s.kind, Kind::Weight(bits) if bits & tern_abi::weight::usage::GATHER == 0) && s.shape.len() == 2
        };
        self.table.specs.iter().filter(matrix)
    }

    pub fn spec(&self, tensor: &str) -> Option<&'a TensorSpec> {
        self.matrices().find(|s| s.gguf == tensor)
    }

    /// The matrices that lie in the file's tensor `name`, in order. An adapter in a folder may be of the language model by itself where the
    /// model's folder has it as a part of a larger one, and the other way round; a GGUF file does not say which.
    pub fn in_file(&self, name: &str, gguf: bool) -> Vec<&'a TensorSpec> {
        let alone = |name: &str| if gguf { name.to_owned() } else { name.replacen("language_model.", "", 1) };
        let name = alone(name);
        self.matrices().filter(|s| alone(s.name_in(gguf)) == name).collect()
    }

    /// Does the adapter fit the model?
    pub fn check(&self, adapter: &Adapter) -> Result<(), AdapterError> {
        if adapter.architecture != self.architecture {
            let (found, expected) = (adapter.architecture.clone(), self.architecture.to_owned());
            return Err(AdapterError::Architecture { found, expected });
        }
        let mut seen = HashSet::new();
        for f in &adapter.factors {
            let tensor = || f.tensor.clone();
            let spec = self.spec(&f.tensor).ok_or_else(|| AdapterError::Tensor { tensor: tensor() })?;
            let (found, expected) = ([f.rows as u64, f.columns as u64], [spec.shape[0], spec.shape[1]]);
            if found != expected {
                return Err(AdapterError::Shape { tensor: tensor(), found, expected });
            }
            if !f.is_whole() {
                return Err(AdapterError::Incomplete { tensor: tensor() });
            }
            if !f.a.iter().chain(&f.b).chain([&f.scale]).all(|v| v.is_finite()) {
                return Err(AdapterError::NotFinite { tensor: tensor() });
            }
            if !seen.insert(&f.tensor) {
                return Err(AdapterError::Twice { tensor: tensor() });
            }
        }
        Ok(())
    }

    /// GGUF's factors with rows and columns as the graph has them.
    pub fn to_graph(&self, f: &Factors) -> Factors {
        if self.folder { self.to_folder(f) } else { f.clone() }
    }

    /// Factors as in GGUF, of those that the graph has.
    pub fn gguf_of_graph(&self, f: Factors) -> Factors {
        if self.folder { self.gguf_of_folder(&f) } else { f }
    }

    /// GGUF's factors with rows and columns as folders have them.
    pub fn to_folder(&self, f: &Factors) -> Factors {
        match (self.head_dim(&f.tensor), self.order(&f.tensor)) {
            (Some(head_dim), _) => f.moved(|row| gguf_row(row, head_dim)),
            (_, Some(order)) => f.ordered(&order, |i| order.in_gguf(i)),
            _ => f.clone(),
        }
    }

    /// Factors as in GGUF, of those that folders have.
    pub fn gguf_of_folder(&self, f: &Factors) -> Factors {
        match (self.head_dim(&f.tensor), self.order(&f.tensor)) {
            (Some(head_dim), _) => f.moved(|row| folder_row(row, head_dim)),
            (_, Some(order)) => f.ordered(&order, |i| order.in_folder(i)),
            _ => f.clone(),
        }
    }

    fn order(&self, tensor: &str) -> Option<HeadOrder> {
        self.spec(tensor)?.order
    }

    fn head_dim(&self, tensor: &str) -> Option<usize> {
        match self.spec(tensor)?.change {
            Change::Pairs(head_dim) => usize::try_from(head_dim).ok().filter(|&n| n >= 2),
            _ => None,
        }
    }
}

/// Rows `from(0), from(1), ...`.
fn moved(b: &[f32], width: usize, from: impl Fn(usize) -> usize) -> Vec<f32> {
    let rows = b.len() / width.max(1);
    (0..rows).flat_map(|row| b.get(from(row) * width..(from(row) + 1) * width).unwrap_or_default()).copied().collect()
}

/// Where a folder's row lies in GGUF: rotated pairs lie side by side there, half a head apart in a folder.
fn gguf_row(row: usize, head_dim: usize) -> usize {
    let (head, at, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim + at % half * 2 + at / half
}

/// Where a GGUF file's row lies in a folder.
fn folder_row(row: usize, head_dim: usize) -> usize {
    let (head, at, half) = (row / head_dim, row % head_dim, head_dim / 2);
    head * head_dim + at / 2 + at % 2 * half
}

impl Factors {
    /// With rows `from(0), from(1), ...` of B.
    fn moved(&self, from: impl Fn(usize) -> usize) -> Self {
        Self { b: moved(&self.b, self.rank, from), ..self.clone() }
    }

    /// With heads from other places: rows of B, or columns of A.
    fn ordered(&self, order: &HeadOrder, from: impl Fn(u64) -> u64) -> Self {
        match order.columns {
            true => Self { a: order.apply(&self.a, self.columns, from), ..self.clone() },
            false => Self { b: order.apply(&self.b, self.rank, from), ..self.clone() },
        }
    }

    /// The rows of a matrix that is part of a larger one, of the larger one's factors.
    pub(super) fn part(&self, tensor: &str, first: usize, rows: usize) -> Self {
        let b = self.b.get(first * self.rank..(first + rows) * self.rank).unwrap_or_default().to_vec();
        Self { tensor: tensor.to_owned(), rows, b, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_a_folder_and_back() {
        for head_dim in [2, 4, 64] {
            let rows: Vec<usize> = (0..3 * head_dim).collect();
            assert!(rows.iter().all(|&r| folder_row(gguf_row(r, head_dim), head_dim) == r));
        }
        // Head of four: GGUF has 0 2 1 3 of a folder's rows.
        assert_eq!(moved(&[0.0, 1.0, 2.0, 3.0], 1, |r| folder_row(r, 4)), [0.0, 2.0, 1.0, 3.0]);
    }
}
