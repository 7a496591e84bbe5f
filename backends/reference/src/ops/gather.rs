//! Rows by id: GATHER, ROWS.

use super::Operation;
use crate::{Args, Meta, Output, Real, Result, Signature};

/// [`GATHER`](tern_abi::ops::GATHER).
#[derive(Clone, Copy, Debug)]
pub struct Gather;

impl Operation for Gather {
    const NAME: &'static str = "GATHER";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn matrix(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [_, d] = s.matrix(0, "table")?;
        let [t] = s.int(1, "ids")?;
        Ok(vec![s.out(&[t, d])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let [v, d] = x.shape(0)?;
        let mut out = Vec::new();
        for &id in x.int(1)? {
            match usize::try_from(id) {
                Ok(id) if id < v => out.extend(x.row(0, id)?),
                _ => out.extend(std::iter::repeat_n(R::zero(), d)),
            }
        }
        Ok(vec![Output::Real(out)])
    }
}

/// [`ROWS`](tern_abi::ops::ROWS).
#[derive(Clone, Copy, Debug)]
pub struct Rows;

impl Operation for Rows {
    const NAME: &'static str = "ROWS";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [_, d] = s.real(0, "x")?;
        let [r] = s.int(1, "rows")?;
        Ok(vec![s.out(&[r, d])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let ([t, _], [r]) = (x.shape(0)?, x.shape(1)?);
        let mut out = Vec::new();
        for i in 0..r {
            out.extend(x.row(0, x.index(1, "rows", i, t)?)?);
        }
        Ok(vec![Output::Real(out)])
    }
}

#[cfg(test)]
mod tests {
    use crate::oracle::forward;
    use crate::{Error, Kernel, Value, ops};

    #[test]
    fn gather_yields_zeros_outside_the_table() {
        let table = Value::real(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let out = forward(&Kernel::Gather(ops::Gather), &[Some(table), Some(Value::int(&[4], vec![1, 0, -1, 2]))]);
        assert_eq!(out.unwrap()[0], [3.0, 4.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn rows_outside_are_an_error() {
        let x = Value::real(&[2, 1], vec![1.0, 2.0]);
        let rows = |ids: Vec<i32>| [Some(x.clone()), Some(Value::int(&[ids.len()], ids))];
        assert_eq!(forward(&Kernel::Rows(ops::Rows), &rows(vec![1, 1, 0])).unwrap()[0], [2.0, 2.0, 1.0]);
        let error = forward(&Kernel::Rows(ops::Rows), &rows(vec![0, 2])).unwrap_err();
        assert_eq!(error, Error::Index { op: "ROWS", tensor: "rows", at: 1, found: 2, low: 0, high: 1 });
    }
}
