//! COLUMNS: runs of columns.

use super::Operation;
use crate::{Args, Meta, Output, Real, Result, Signature};
use tern_abi::ops::ColumnsParams;

/// [`COLUMNS`](tern_abi::ops::COLUMNS).
#[derive(Clone, Copy, Debug)]
pub struct Columns(pub ColumnsParams);

impl Columns {
    /// Where column `i` of the output is.
    fn source(&self, i: usize) -> usize {
        let [first, run, step] = [self.0.first, self.0.run, self.0.step].map(|n| n as usize);
        first.saturating_add((i / run).saturating_mul(step)).saturating_add(i % run)
    }
}

impl Operation for Columns {
    const NAME: &'static str = "COLUMNS";

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter(p.run > 0, "run", p.run.into(), "at least 1")?;
        s.parameter(p.step >= p.run, "step", p.step.into(), "at least run")?;
        s.parameter(p.count > 0, "count", p.count.into(), "at least 1")?;
        let [t, width] = s.real(0, "x")?;
        let last = self.source(p.count as usize - 1);
        s.parameter(last < width, "count", p.count.into(), "no columns past the last of x")?;
        Ok(vec![s.out(&[t, p.count as usize])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let [t, _] = x.shape(0)?;
        let mut out = Vec::new();
        for t in 0..t {
            let row = x.row(0, t)?;
            out.extend((0..self.0.count as usize).map(|i| row[self.source(i)]));
        }
        Ok(vec![Output::Real(out)])
    }
}
