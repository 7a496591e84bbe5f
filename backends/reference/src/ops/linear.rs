//! LINEAR: matrix products that share their input, with norm, adapters, bias, residual and GLU.

use super::Operation;
use super::elementwise::{activate, check_activation};
use super::norm::rms;
use super::quantize::quantized;
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::ops::LinearParams;

/// [`LINEAR`](tern_abi::ops::LINEAR).
#[derive(Clone, Copy, Debug)]
pub struct Linear(pub LinearParams);

const X: usize = 0;
const NORM_W: usize = 1;
const RESIDUAL: usize = 2;
const INDEX: usize = 3;
const SCALE: usize = 4;
/// First input of the per-weight groups `w, bias, lora_a, lora_b`.
const GROUPS: usize = 5;

impl Linear {
    fn weights(&self) -> impl Iterator<Item = usize> {
        (0..self.0.n_weights as usize).map(|i| GROUPS + 4 * i)
    }

    /// Adapter of each token and its scale; `None` where the token has none or the scale is 0.
    fn adapters<R: Real>(x: &Args<'_, R>, t: usize) -> Result<Vec<Option<(usize, R)>>> {
        if !x.has(INDEX) {
            return Ok(vec![None; t]);
        }
        let scales = x.real(SCALE)?;
        let of = |t: usize| {
            if x.int(INDEX)?[t] < 0 {
                return Ok(None);
            }
            let a = x.index(INDEX, "adapter_index", t, scales.len())?;
            Ok((scales[a].value() != 0.0).then_some((a, scales[a])))
        };
        (0..t).map(of).collect()
    }

    /// `W h + bias + adapters`, `[T, N]`, of the group whose weight is input `w`.
    fn product<R: Real>(x: &Args<'_, R>, w: usize, h: &[Vec<R>], adapters: &[Option<(usize, R)>]) -> Result<Vec<R>> {
        let [n, _] = x.shape(w)?;
        let bias = x.optional_real(w + 1)?;
        let mut y = vec![R::zero(); h.len() * n];
        for out in 0..n {
            let row = x.row(w, out)?;
            for (t, h) in h.iter().enumerate() {
                let product = dot(&row, h);
                y[t * n + out] = bias.map_or(product, |b| product + b[out]);
            }
        }
        if !x.has(w + 2) {
            return Ok(y);
        }
        let [_, rank, _] = x.shape(w + 2)?;
        for (t, h) in h.iter().enumerate() {
            let Some((a, scale)) = adapters[t] else { continue };
            let down: Result<Vec<R>> = (0..rank).map(|r| Ok(dot(&x.row(w + 2, a * rank + r)?, h))).collect();
            let down = down?;
            let up: Result<Vec<Vec<R>>> = (0..rank).map(|r| x.row(w + 3, a * rank + r)).collect();
            let up = up?;
            for out in 0..n {
                let up = R::dot(up.iter().map(|row| row[out]).zip(down.iter().copied()));
                y[t * n + out] = y[t * n + out] + scale * up;
            }
        }
        Ok(y)
    }
}

/// `Σ a_i b_i`.
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    R::dot(a.iter().copied().zip(b.iter().copied()))
}

impl Operation for Linear {
    const NAME: &'static str = "LINEAR";

    fn arity(&self) -> (usize, usize) {
        let n = self.0.n_weights.min(4) as usize;
        (GROUPS + 4 * n, if self.0.glu == 1 { 1 } else { n })
    }
    fn differentiable(&self, i: usize) -> bool {
        i != INDEX && i != SCALE
    }
    fn matrix(&self, i: usize) -> bool {
        i >= GROUPS && (i - GROUPS).is_multiple_of(4)
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter((1..=4).contains(&p.n_weights), "n_weights", p.n_weights.into(), "1 to 4")?;
        s.parameter(p.norm <= 1, "norm", p.norm.into(), "0 or 1")?;
        s.parameter(p.quantize <= 1, "quantize", p.quantize.into(), "0 or 1")?;
        s.parameter(p.glu <= 1, "glu", p.glu.into(), "0 or 1")?;
        s.parameter(p.glu == 0 || p.n_weights == 2, "n_weights", p.n_weights.into(), "2 under a GLU epilogue")?;
        check_activation(s, p.activation)?;
        let unwanted = |tensor, why| Err(Error::Unwanted { op: s.op, tensor, why });

        let [t, k] = s.real(X, "x")?;
        if k == 0 {
            return Err(s.shape_error(X, "x", "a non-empty innermost dimension"));
        }
        if s.get(NORM_W).is_some() && p.norm == 0 {
            return unwanted("norm_w", "there is no norm");
        }
        s.optional_real_is(NORM_W, "norm_w", &[k])?;
        let adapters = match s.get(INDEX) {
            Some(_) => {
                s.int_is(INDEX, "adapter_index", [t])?;
                let [a] = s.real(SCALE, "adapter_scale")?;
                Some(a)
            }
            None => None,
        };
        let mut outputs = Vec::new();
        for w in self.weights() {
            let [n, k_w] = s.matrix(w, "w")?;
            if k_w != k {
                return Err(s.shape_error(w, "w", format!("[N, {k}]")));
            }
            s.optional_real_is(w + 1, "bias", &[n])?;
            if s.get(w + 2).is_some() {
                let a = adapters.ok_or(Error::Missing { op: s.op, tensor: "adapter_index" })?;
                let [_, rank, _] = s.real(w + 2, "lora_a")?;
                s.real_is(w + 2, "lora_a", &[a, rank, k])?;
                s.real_is(w + 3, "lora_b", &[a, rank, n])?;
            } else if s.get(w + 3).is_some() {
                return unwanted("lora_b", "lora_a is not");
            }
            outputs.push(s.out(&[t, n]));
        }
        if p.glu == 1 {
            if outputs[0] != outputs[1] {
                return Err(s.shape_error(GROUPS + 4, "w", "as many rows as the first weight under GLU"));
            }
            outputs.truncate(1);
        }
        if s.get(RESIDUAL).is_some() {
            let Some([Some(y)]) = (p.n_weights == 1).then_some(&outputs[..]) else {
                return unwanted("residual", "there is more than one weight");
            };
            s.real_is(RESIDUAL, "residual", &y.shape)?;
        }
        Ok(outputs)
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let p = &self.0;
        let [t, _] = x.shape(X)?;
        let norm_w = x.optional_real(NORM_W)?;
        let mut h = Vec::new();
        for t in 0..t {
            let row = x.row(X, t)?;
            let row = if p.norm == 1 { rms(&row, norm_w, p.eps) } else { row };
            h.push(if p.quantize == 1 { quantized(&row) } else { row });
        }
        let adapters = Self::adapters(x, t)?;
        let mut y: Vec<Vec<R>> = Vec::new();
        for w in self.weights() {
            y.push(Self::product(x, w, &h, &adapters)?);
        }
        if let ([gate, up], 1) = (&y[..], p.glu) {
            let pairs = gate.iter().zip(up);
            let out: Result<_> = pairs.map(|(&gate, &up)| Ok(activate(p.activation, gate)? * up)).collect();
            return Ok(vec![Output::Real(out?)]);
        }
        if let (Some(residual), [y]) = (x.optional_real(RESIDUAL)?, &mut y[..]) {
            y.iter_mut().zip(residual).for_each(|(y, &r)| *y = *y + r);
        }
        Ok(y.into_iter().map(Output::Real).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{forward, gradient};
    use crate::{Kernel, Value};
    use tern_abi::ops::activation;

    fn real(shape: &[usize], data: &[f64]) -> Option<Value<'static, f64>> {
        Some(Value::real(shape, data.to_vec()))
    }

    #[test]
    fn bias_adapter_and_residual_by_hand() {
        let p = LinearParams { n_weights: 1, ..Default::default() };
        let x = [
            real(&[3, 2], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
            None,
            real(&[3, 1], &[100.0, 200.0, 300.0]),
            Some(Value::int(&[3], vec![0, -1, 1])),
            real(&[2], &[0.5, 0.0]),
            real(&[1, 2], &[3.0, 4.0]),
            real(&[1], &[1000.0]),
            real(&[2, 1, 2], &[1.0, 1.0, f64::NAN, f64::NAN]),
            real(&[2, 1, 1], &[2.0, f64::NAN]),
        ];
        // 3 + 8 = 11; adapter 0 adds 0.5 * 2 * (1 + 2) = 3; adapter 1 has scale 0, so its NaN is not touched.
        let y = forward(&Kernel::Linear(Linear(p)), &x).unwrap();
        assert_eq!(y[0], [1114.0, 1211.0, 1311.0]);
    }

    #[test]
    fn norm_and_glu_by_hand() {
        let p =
            LinearParams { n_weights: 2, norm: 1, eps: 3.5, glu: 1, activation: activation::RELU_SQUARED, quantize: 0 };
        let x = [
            real(&[1, 2], &[3.0, 4.0]),
            real(&[2], &[4.0, 2.0]),
            None,
            None,
            None,
            real(&[1, 2], &[1.0, -0.5]),
            None,
            None,
            None,
            real(&[1, 2], &[1.0, 1.0]),
        ];
        // h = (0.75 * 4, 1 * 2) = (3, 2); gate 3 - 1 = 2, squared 4; up 5.
        assert_eq!(forward(&Kernel::Linear(Linear(p)), &x).unwrap()[0], [20.0]);
    }

    #[test]
    fn gradient_by_hand() {
        let p = LinearParams { n_weights: 1, ..Default::default() };
        let mut x = vec![None; 6];
        x[0] = real(&[2, 2], &[1.0, 2.0, 5.0, 6.0]);
        x[5] = real(&[1, 2], &[3.0, 4.0]);
        let wanted = [true, false, false, false, false, true];
        let g = gradient(&Kernel::Linear(Linear(p)), &x, &[Some(vec![10.0, 1.0])], &wanted).unwrap();
        assert_eq!(g[0].as_ref().unwrap().values, [30.0, 40.0, 3.0, 4.0]);
        assert_eq!(g[5].as_ref().unwrap().values, [15.0, 26.0]);
    }

    #[test]
    fn misfits_are_refused() {
        let p = LinearParams { n_weights: 1, ..Default::default() };
        let mut x = vec![None; 9];
        x[0] = real(&[1, 2], &[1.0, 2.0]);
        x[5] = real(&[1, 3], &[0.0; 3]);
        let op = Kernel::Linear(Linear(p));
        assert!(matches!(forward(&op, &x), Err(Error::Shape { tensor: "w", .. })));
        x[5] = real(&[1, 2], &[0.0; 2]);
        x[7] = real(&[1, 1, 2], &[0.0; 2]);
        assert!(matches!(forward(&op, &x), Err(Error::Missing { tensor: "adapter_index", .. })));
        let bad = Kernel::Linear(Linear(LinearParams { n_weights: 5, ..p }));
        assert!(matches!(forward(&bad, &x), Err(Error::Parameter { field: "n_weights", .. })));
    }
}
