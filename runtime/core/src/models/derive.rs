//! Tensors whose numbers a folder has in another form than rows that can be taken as they are.

use super::{Change, TensorSpec};

impl TensorSpec {
    /// The tensor's numbers, from those of its [`sources`](Self::sources) in a folder, whose shapes fit; `None` for a tensor that is
    /// no such one.
    pub fn derived(&self, parts: &[Vec<f32>]) -> Option<Vec<f32>> {
        match (self.change, &self.shape[..], parts) {
            (Change::Column { at, of }, _, [whole]) => {
                let (at, of) = (usize::try_from(at).ok()?, usize::try_from(of).ok()?);
                Some(whole.iter().skip(at).step_by(of.max(1)).copied().collect())
            }
            (Change::LowRank { rank }, &[_, columns, rows], [left, right]) => {
                let [columns, rows, rank] = [columns, rows, rank].map(|n| usize::try_from(n).unwrap_or(0).max(1));
                let heads = left.chunks_exact(rows * rank).zip(right.chunks_exact(rank * columns));
                Some(heads.flat_map(|(left, right)| product(left, right, rank, columns)).collect())
            }
            _ => None,
        }
    }
}

/// `(left right + I / 2)ᵀ` of `left [rows, rank]` and `right [rank, columns]` (Zhang et al., arXiv 2505.23884, section 5.2).
fn product(left: &[f32], right: &[f32], rank: usize, columns: usize) -> Vec<f32> {
    let rows = left.len() / rank;
    let mut out = vec![0.0; rows * columns];
    let mut line = vec![0.0f64; columns];
    for (r, left) in left.chunks_exact(rank).enumerate() {
        line.fill(0.0);
        for (&factor, right) in left.iter().zip(right.chunks_exact(columns)) {
            line.iter_mut().zip(right).for_each(|(sum, &x)| *sum += f64::from(factor) * f64::from(x));
        }
        for (c, (sum, out)) in line.iter().zip(out.chunks_exact_mut(rows)).enumerate() {
            out[r] = (sum + if r == c { 0.5 } else { 0.0 }) as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::TensorTable;

    #[test]
    fn a_product_is_turned_and_has_half_a_diagonal() {
        let mut t = TensorTable::default();
        let spec = t.numbers("w", "w.{}", &[1, 3, 2]).changed(super::Change::LowRank { rank: 1 }).clone();
        assert_eq!(spec.sources(false), [("w.w_left".into(), vec![1, 2, 1]), ("w.w_right".into(), vec![1, 1, 3])]);
        let found = spec.derived(&[vec![2.0, 3.0], vec![5.0, 7.0, 11.0]]).unwrap();
        assert_eq!(found, [10.5, 15.0, 14.0, 21.5, 22.0, 33.0]);
    }

    #[test]
    fn a_column_is_taken_out() {
        let mut t = TensorTable::default();
        let spec = t.vector("x", "both", 3).changed(super::Change::Column { at: 1, of: 2 }).clone();
        assert_eq!(spec.sources(false), [("both".into(), vec![3, 2])]);
        assert_eq!(spec.derived(&[vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]).unwrap(), [2.0, 4.0, 6.0]);
    }
}
