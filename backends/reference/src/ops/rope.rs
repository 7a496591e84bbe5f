//! Rotary positions: ROPE_TABLE, ROPE.

use super::Operation;
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::dtype;
use tern_abi::ops::{RopeParams, RopeTableParams, rope_layout};

/// [`ROPE_TABLE`](tern_abi::ops::ROPE_TABLE).
#[derive(Clone, Copy, Debug)]
pub struct RopeTable(pub RopeTableParams);

impl Operation for RopeTable {
    const NAME: &'static str = "ROPE_TABLE";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, _i: usize) -> bool {
        false
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [t] = s.int(0, "positions")?;
        // Frequencies are F32 in an F64 graph too: the angle is defined by the f32 frequency.
        let meta = s.need(1, "inv_freq")?;
        if meta.dtype != dtype::F32 {
            return Err(Error::Dtype { op: s.op, tensor: "inv_freq", found: meta.dtype, expected: "F32" });
        }
        let [half] = meta.shape[..] else { return Err(s.shape_error(1, "inv_freq", "rank 1")) };
        Ok(vec![s.out(&[t, 2 * half])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let frequencies = x.real(1)?;
        let mut out = Vec::new();
        let period = i32::try_from(self.0.period).unwrap_or(i32::MAX);
        for &position in x.int(0)? {
            let position = if period > 0 { position.rem_euclid(period) } else { position };
            for frequency in frequencies {
                // In f64 whatever R is: at position 100,000 an f32 angle has lost three digits.
                let (sin, cos) = (f64::from(position) * frequency.value()).sin_cos();
                let magnitude = f64::from(self.0.magnitude);
                out.extend([R::of(cos * magnitude), R::of(sin * magnitude)]);
            }
        }
        Ok(vec![Output::Real(out)])
    }
}

/// Rotates one head in place. `table` has cosine and sine alternating.
pub(crate) fn rotate<R: Real>(head: &mut [R], table: &[R], layout: u32, inverse: bool) {
    let n_rot = table.len();
    for (i, pair) in table.chunks_exact(2).enumerate() {
        let (a, b) = if layout == rope_layout::HALVES { (i, i + n_rot / 2) } else { (2 * i, 2 * i + 1) };
        let (cos, sin) = (pair[0], if inverse { -pair[1] } else { pair[1] });
        let (x, y) = (head[a], head[b]);
        head[a] = R::dot([(x, cos), (-y, sin)].into_iter());
        head[b] = R::dot([(x, sin), (y, cos)].into_iter());
    }
}

/// Checks a table of `n_rot` columns against a head.
pub(crate) fn check_rotation(s: &Signature, n_rot: u32, head_dim: u32, layout: u32) -> Result<()> {
    s.parameter(n_rot.is_multiple_of(2) && n_rot <= head_dim, "n_rot", n_rot.into(), "even, at most head_dim")?;
    s.parameter(layout <= rope_layout::HALVES, "layout", layout.into(), "one of tern_abi::ops::rope_layout")
}

/// [`ROPE`](tern_abi::ops::ROPE).
#[derive(Clone, Copy, Debug)]
pub struct Rope(pub RopeParams);

impl Operation for Rope {
    const NAME: &'static str = "ROPE";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        check_rotation(s, p.n_rot, p.head_dim, p.layout)?;
        s.parameter(p.inverse <= 1, "inverse", p.inverse.into(), "0 or 1")?;
        let [t, width] = s.real(0, "x")?;
        if width == 0 || width as u64 != u64::from(p.heads) * u64::from(p.head_dim) {
            return Err(s.shape_error(0, "x", format!("[T, {} * {}]", p.heads, p.head_dim)));
        }
        s.real_is(1, "table", &[t, p.n_rot as usize])?;
        Ok(vec![s.out(&[t, width])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let [t, _] = x.shape(0)?;
        let mut out = Vec::new();
        for t in 0..t {
            let (mut row, table) = (x.row(0, t)?, x.row(1, t)?);
            for head in row.chunks_mut(self.0.head_dim as usize) {
                rotate(head, &table, self.0.layout, self.0.inverse == 1);
            }
            out.extend(row);
        }
        Ok(vec![Output::Real(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::forward;
    use crate::{Kernel, Value};

    fn table(positions: Vec<i32>, inv_freq: Vec<f64>, magnitude: f32) -> Vec<f64> {
        let op = Kernel::RopeTable(RopeTable(RopeTableParams { magnitude, period: 0 }));
        let x = [Some(Value::int(&[positions.len()], positions)), Some(Value::real(&[inv_freq.len()], inv_freq))];
        forward(&op, &x).unwrap().remove(0)
    }

    fn rope(x: Vec<f64>, table: Vec<f64>, layout: u32, inverse: u32) -> Vec<f64> {
        let (width, n_rot) = (x.len(), table.len());
        let p = RopeParams { heads: 1, head_dim: width as u32, n_rot: n_rot as u32, layout, inverse };
        let x = [Some(Value::real(&[1, width], x)), Some(Value::real(&[1, n_rot], table))];
        forward(&Kernel::Rope(Rope(p)), &x).unwrap().remove(0)
    }

    #[test]
    fn table_alternates_cosine_and_sine() {
        let t = table(vec![0, 2], vec![1.0, 0.5], 2.0);
        let want = [2.0, 0.0, 2.0, 0.0, 2.0 * 2f64.cos(), 2.0 * 2f64.sin(), 2.0 * 1f64.cos(), 2.0 * 1f64.sin()];
        assert_eq!(t, want);
    }

    #[test]
    fn quarter_turns() {
        // Cosine 0, sine 1 in the first pair; identity in the second.
        let quarter = vec![0.0, 1.0, 1.0, 0.0];
        let x = vec![1.0, 2.0, 3.0, 4.0, 9.0];
        assert_eq!(rope(x.clone(), quarter.clone(), rope_layout::ADJACENT, 0), [-2.0, 1.0, 3.0, 4.0, 9.0]);
        assert_eq!(rope(x.clone(), quarter.clone(), rope_layout::HALVES, 0), [-3.0, 2.0, 1.0, 4.0, 9.0]);
        assert_eq!(rope(x, quarter, rope_layout::ADJACENT, 1), [2.0, -1.0, 3.0, 4.0, 9.0]);
    }

    #[test]
    fn inverse_undoes() {
        let t = table(vec![7], vec![1.0, 0.1, 0.01], 1.0);
        let x = vec![0.3, -0.2, 0.9, 1.7, -1.1, 0.4];
        for layout in [rope_layout::ADJACENT, rope_layout::HALVES] {
            let back = rope(rope(x.clone(), t.clone(), layout, 0), t.clone(), layout, 1);
            assert!(back.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-15));
        }
    }
}
