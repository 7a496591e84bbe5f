//! Adapters: low-rank factors (LoRA, Hu et al., arXiv 2106.09685) that are added to matrices of a model.
//!
//! ```text
//! error.rs   what can be wrong with one
//! layout.rs  rows and names as GGUF files, folders and graphs have them
//! read.rs    from GGUF files and PEFT folders
//! write.rs   to them
//! ```

mod error;
mod layout;
mod read;
mod write;

pub use error::AdapterError;
pub(crate) use layout::Layout;

use crate::error::Error;
use crate::model::Model;

/// Factors for some matrices of a model. Names and the order of rows are those of GGUF files, whatever the model was read from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// The model's architecture, as GGUF names it.
    pub architecture: String,
    /// At most one per matrix.
    pub factors: Vec<Factors>,
}

/// What is added to one matrix W `[rows, columns]`: `scale * B A`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// The matrix's name in GGUF, as `blk.0.attn_q.weight`. A matrix that files have as part of a larger one has its own name here.
    pub tensor: String,
    /// Shared dimension of the factors.
    pub rank: usize,
    /// Rows of the matrix, and of B.
    pub rows: usize,
    /// Columns of the matrix, and of A.
    pub columns: usize,
    /// alpha / rank, or alpha / sqrt(rank) for a rank-stabilised one.
    pub scale: f32,
    /// `[rank, columns]`.
    pub a: Vec<f32>,
    /// `[rows, rank]`.
    pub b: Vec<f32>,
}

impl Adapter {
    /// The largest rank.
    pub fn rank(&self) -> usize {
        self.factors.iter().map(|f| f.rank).max().unwrap_or(0)
    }

    /// Numbers in all factors.
    pub fn parameters(&self) -> usize {
        self.factors.iter().map(|f| f.a.len() + f.b.len()).sum()
    }

    /// The factors of a matrix.
    pub fn get(&self, tensor: &str) -> Option<&Factors> {
        self.factors.iter().find(|f| f.tensor == tensor)
    }

    /// For each matrix, how large what is added is beside it: `|scale B A| / |W|` in the Frobenius norm.
    ///
    /// # Errors
    /// [`Error::Adapter`] where it does not fit the model; backend errors.
    pub fn norm_ratios(&self, model: &Model) -> Result<Vec<(String, f64)>, Error> {
        Layout::of(model).check(self)?;
        self.factors.iter().map(|f| Ok((f.tensor.clone(), f.norm() / model.matrix_norm(&f.tensor)?))).collect()
    }
}

impl Factors {
    /// The Frobenius norm of `scale * B A`: its square is the sum of `(BᵀB) ∘ (A Aᵀ)`, two small matrices.
    pub fn norm(&self) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.rank {
            for j in 0..self.rank {
                let (x, y) = (&self.a[i * self.columns..], &self.a[j * self.columns..]);
                let aa: f64 = x.iter().zip(y).take(self.columns).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                let bb: f64 = self.b.chunks_exact(self.rank).map(|row| f64::from(row[i]) * f64::from(row[j])).sum();
                sum += aa * bb;
            }
        }
        f64::from(self.scale.abs()) * sum.max(0.0).sqrt()
    }

    /// Do the factors have the sizes that they say?
    pub(crate) fn is_whole(&self) -> bool {
        self.rank > 0
            && self.rank.checked_mul(self.columns) == Some(self.a.len())
            && self.rank.checked_mul(self.rows) == Some(self.b.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_the_product() {
        let f = Factors {
            tensor: "t".to_owned(),
            rank: 2,
            rows: 3,
            columns: 2,
            scale: -0.5,
            a: vec![1.0, 2.0, 3.0, -1.0],
            b: vec![1.0, 0.5, -2.0, 1.0, 0.0, 4.0],
        };
        let product = |i: usize, j: usize| (0..2).map(|k| f.b[i * 2 + k] * f.a[k * 2 + j]).sum::<f32>() * f.scale;
        let sum: f64 = (0..3).flat_map(|i| (0..2).map(move |j| f64::from(product(i, j)).powi(2))).sum();
        assert!((f.norm() - sum.sqrt()).abs() < 1e-6);
        assert!(f.is_whole() && !Factors { rank: 3, ..f }.is_whole());
    }
}
