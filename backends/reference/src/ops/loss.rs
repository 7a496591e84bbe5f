//! Scalars out of tensors: CROSS_ENTROPY, LINEAR_CROSS_ENTROPY, SUM.

use super::Operation;
use super::linear::dot;
use crate::{Args, Meta, Output, Real, Result, Signature};
use tern_abi::ops::{LinearCrossEntropyParams, ScaleParams};

/// [`CROSS_ENTROPY`](tern_abi::ops::CROSS_ENTROPY).
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

/// `ln Σ e^x`, shifted by the largest x so that nothing overflows.
fn log_sum_exp<R: Real>(x: &[R]) -> R {
    let max = x.iter().map(|x| x.value()).fold(f64::NEG_INFINITY, f64::max);
    let max = R::of(max);
    R::sum(x.iter().map(|&x| (x - max).exp())).ln() + max
}

impl Operation for CrossEntropy {
    const NAME: &'static str = "CROSS_ENTROPY";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [r, _] = s.real(0, "logits")?;
        s.int_is(1, "targets", [r])?;
        Ok(vec![s.out(&[r])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let [r, v] = x.shape(0)?;
        let mut out = Vec::new();
        for t in 0..r {
            if x.int(1)?[t] < 0 {
                out.push(R::zero());
                continue;
            }
            let (row, target) = (x.row(0, t)?, x.index(1, "targets", t, v)?);
            out.push(log_sum_exp(&row) - row[target]);
        }
        Ok(vec![Output::Real(out)])
    }
}

/// [`LINEAR_CROSS_ENTROPY`](tern_abi::ops::LINEAR_CROSS_ENTROPY).
#[derive(Clone, Copy, Debug)]
pub struct LinearCrossEntropy(pub LinearCrossEntropyParams);

impl Operation for LinearCrossEntropy {
    const NAME: &'static str = "LINEAR_CROSS_ENTROPY";

    fn arity(&self) -> (usize, usize) {
        (3, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 2
    }
    fn matrix(&self, i: usize) -> bool {
        i == 1
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        s.parameter(self.0.softcap >= 0.0, "softcap", self.0.softcap.into(), "0 or more")?;
        let [r, k] = s.real(0, "x")?;
        let [v, k_w] = s.matrix(1, "w")?;
        if k_w != k {
            return Err(s.shape_error(1, "w", format!("[{v}, {k}]")));
        }
        s.int_is(2, "targets", [r])?;
        Ok(vec![s.out(&[r])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let ([r, _], [v, _]) = (x.shape(0)?, x.shape(1)?);
        let scale = R::of(if self.0.scale == 0.0 { 1.0 } else { f64::from(self.0.scale) });
        let cap = R::of(f64::from(self.0.softcap));
        let logit = |product: R| {
            let y = scale * product;
            if self.0.softcap > 0.0 { cap * (y / cap).tanh() } else { y }
        };
        let mut out = Vec::new();
        for t in 0..r {
            if x.int(2)?[t] < 0 {
                out.push(R::zero());
                continue;
            }
            let (h, target) = (x.row(0, t)?, x.index(2, "targets", t, v)?);
            let logits: Result<Vec<R>> = (0..v).map(|row| Ok(logit(dot(&x.row(1, row)?, &h)))).collect();
            let logits = logits?;
            out.push(log_sum_exp(&logits) - logits[target]);
        }
        Ok(vec![Output::Real(out)])
    }
}

/// [`SUM`](tern_abi::ops::SUM).
#[derive(Clone, Copy, Debug)]
pub struct Sum(pub ScaleParams);

impl Operation for Sum {
    const NAME: &'static str = "SUM";

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        s.any_real(0, "x")?;
        Ok(vec![s.out(&[1])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let factor = R::of(f64::from(self.0.factor));
        Ok(vec![Output::Real(vec![factor * R::sum(x.real(0)?.iter().copied())])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{forward, gradient};
    use crate::{Kernel, Value};

    #[test]
    fn cross_entropy_by_hand() {
        // Probabilities 1/4, 3/4; the shift by 1000 must not matter.
        let logits = Value::real(&[3, 2], vec![1000.0, 1000.0 + 3f64.ln(), 0.0, 0.0, 5.0, 6.0]);
        let x = [Some(logits), Some(Value::int(&[3], vec![1, 0, -1]))];
        let op = Kernel::CrossEntropy(CrossEntropy);
        let out = forward(&op, &x).unwrap().remove(0);
        assert!((out[0] - (4.0f64 / 3.0).ln()).abs() < 1e-12);
        assert!((out[1] - 2f64.ln()).abs() < 1e-15);
        assert_eq!(out[2], 0.0);
        // Gradient: softmax minus one-hot, times the seed; none for an ignored target.
        let g = gradient(&op, &x, &[Some(vec![2.0, 1.0, 1.0])], &[true]).unwrap();
        let want = [0.5, -0.5, -0.5, 0.5, 0.0, 0.0];
        let got = &g[0].as_ref().unwrap().values;
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
    }

    #[test]
    fn a_layer_and_its_loss_by_hand() {
        let x = [
            Some(Value::real(&[2, 2], vec![1.0, 2.0, 7.0, 7.0])),
            Some(Value::real(&[2, 2], vec![1.0, 0.0, 0.0, 2.0])),
            Some(Value::int(&[2], vec![0, -1])),
        ];
        // Logits 1 and 4, times 2: the loss is ln(1 + e^6).
        let op = |scale, softcap| {
            Kernel::LinearCrossEntropy(LinearCrossEntropy(LinearCrossEntropyParams { scale, softcap }))
        };
        let y = forward(&op(2.0, 0.0), &x).unwrap().remove(0);
        assert!((y[0] - (1.0 + 6f64.exp()).ln()).abs() < 1e-12, "{y:?}");
        assert_eq!(y[1], 0.0);
        let y = forward(&op(0.0, 3.0), &x).unwrap().remove(0);
        let want = (1.0 + (3.0 * ((4.0f64 / 3.0).tanh() - (1.0f64 / 3.0).tanh())).exp()).ln();
        assert!((y[0] - want).abs() < 1e-12, "{y:?}");
        // dx = 2 (p - e_0) W, with p of the second 1 / (1 + e^-6).
        let g = gradient(&op(2.0, 0.0), &x, &[Some(vec![1.0, 1.0])], &[true, true, false]).unwrap();
        let p = 2.0 / (1.0 + (-6f64).exp());
        for (g, want) in
            [(0, vec![-p, 2.0 * p, 0.0, 0.0]), (1, vec![-p, -2.0 * p, p, 2.0 * p])].map(|(i, w)| (&g[i], w))
        {
            let got = &g.as_ref().unwrap().values;
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        }
    }

    #[test]
    fn sum_by_hand() {
        let op = Kernel::Sum(Sum(ScaleParams { factor: 0.5 }));
        let x = [Some(Value::real(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]))];
        assert_eq!(forward(&op, &x).unwrap()[0], [5.0]);
        assert_eq!(gradient(&op, &x, &[Some(vec![4.0])], &[true]).unwrap()[0].as_ref().unwrap().values, [2.0; 4]);
    }
}
