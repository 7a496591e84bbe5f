//! Mixture of experts: MOE_ROUTE, EXPERT_LINEAR, MOE_COMBINE.

use super::Operation;
use super::linear::dot;
use crate::{Args, Meta, Output, Real, Result, Signature};
use tern_abi::ops::MoeRouteParams;

/// [`MOE_ROUTE`](tern_abi::ops::MOE_ROUTE).
#[derive(Clone, Copy, Debug)]
pub struct MoeRoute(pub MoeRouteParams);

fn softmax<R: Real>(x: impl Iterator<Item = R> + Clone) -> Vec<R> {
    let max = R::of(x.clone().map(Real::value).fold(f64::NEG_INFINITY, f64::max));
    let e: Vec<R> = x.map(|x| (x - max).exp()).collect();
    let sum = R::sum(e.iter().copied());
    e.into_iter().map(|e| e / sum).collect()
}

impl Operation for MoeRoute {
    const NAME: &'static str = "MOE_ROUTE";

    fn arity(&self) -> (usize, usize) {
        (1, 2)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let (p, [t, e]) = (&self.0, s.real(0, "logits")?);
        let k = p.top_k as usize;
        s.parameter((1..=e).contains(&k), "top_k", p.top_k.into(), "1 to the number of experts")?;
        s.parameter(p.softmax_after <= 1, "softmax_after", p.softmax_after.into(), "0 or 1")?;
        s.parameter(p.normalize <= 1, "normalize", p.normalize.into(), "0 or 1")?;
        Ok(vec![Some(Meta::int(&[t, k])), s.out(&[t, k])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (p, [t, e]) = (&self.0, x.shape(0)?);
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for t in 0..t {
            let logits = x.row(0, t)?;
            // The order of probabilities is that of logits, which have no rounding of a softmax in them.
            let mut order: Vec<usize> = (0..e).collect();
            order.sort_by(|&a, &b| logits[b].value().total_cmp(&logits[a].value()).then(a.cmp(&b)));
            order.truncate(p.top_k as usize);
            let mut chosen = if p.softmax_after == 1 {
                softmax(order.iter().map(|&i| logits[i]))
            } else {
                let all = softmax(logits.iter().copied());
                order.iter().map(|&i| all[i]).collect()
            };
            if p.normalize == 1 {
                let sum = R::sum(chosen.iter().copied());
                chosen.iter_mut().for_each(|w| *w = *w / sum);
            }
            if p.scale != 0.0 {
                chosen.iter_mut().for_each(|w| *w = *w * R::of(f64::from(p.scale)));
            }
            ids.extend(order.iter().map(|&i| i as i32));
            weights.extend(chosen);
        }
        Ok(vec![Output::Int(ids), Output::Real(weights)])
    }
}

/// [`EXPERT_LINEAR`](tern_abi::ops::EXPERT_LINEAR).
#[derive(Clone, Copy, Debug)]
pub struct ExpertLinear;

impl Operation for ExpertLinear {
    const NAME: &'static str = "EXPERT_LINEAR";

    fn arity(&self) -> (usize, usize) {
        (4, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0 || i == 2
    }
    fn matrix(&self, i: usize) -> bool {
        i == 1
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [e, n, k] = s.matrix(1, "w")?;
        let [t, ranks] = s.int(3, "ids")?;
        let shape = s.any_real(0, "x")?;
        if shape != [t, k] && shape != [t, ranks, k] {
            return Err(s.shape_error(0, "x", format!("[{t}, {k}] or [{t}, {ranks}, {k}]")));
        }
        s.optional_real_is(2, "bias", &[e, n])?;
        Ok(vec![s.out(&[t, ranks, n])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let ([e, n, _], [t, ranks]) = (x.shape(1)?, x.shape(3)?);
        let (per_rank, bias) = (x.need(0)?.shape.len() == 3, x.optional_real(2)?);
        let mut out = Vec::new();
        for at in 0..t * ranks {
            let expert = x.index(3, "ids", at, e)?;
            let input = x.row(0, if per_rank { at } else { at / ranks })?;
            for row in expert * n..(expert + 1) * n {
                let y = dot(&x.row(1, row)?, &input);
                out.push(bias.map_or(y, |b| y + b[row]));
            }
        }
        Ok(vec![Output::Real(out)])
    }
}

/// [`MOE_COMBINE`](tern_abi::ops::MOE_COMBINE).
#[derive(Clone, Copy, Debug)]
pub struct MoeCombine;

impl Operation for MoeCombine {
    const NAME: &'static str = "MOE_COMBINE";

    fn arity(&self) -> (usize, usize) {
        (3, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 3
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let [t, ranks, n] = match *s.any_real(0, "y")? {
            [t, n] => [t, 1, n],
            _ => s.real(0, "y")?,
        };
        s.real_is(1, "weights", &[t, ranks])?;
        s.optional_real_is(2, "residual", &[t, n])?;
        Ok(vec![s.out(&[t, n])])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let [t, ranks] = x.shape(1)?;
        let n = x.need(0)?.shape.last().copied().unwrap_or(0);
        let (y, weights, residual) = (x.real(0)?, x.real(1)?, x.optional_real(2)?);
        let mut out = Vec::new();
        for t in 0..t {
            for i in 0..n {
                let sum = R::dot((0..ranks).map(|j| (weights[t * ranks + j], y[(t * ranks + j) * n + i])));
                out.push(residual.map_or(sum, |r| sum + r[t * n + i]));
            }
        }
        Ok(vec![Output::Real(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Tensor, forward, forward_tensors};
    use crate::{Kernel, Value};

    fn route(p: MoeRouteParams, logits: &[f64]) -> (Vec<i32>, Vec<f64>) {
        let x = [Some(Value::real(&[1, logits.len()], logits.to_vec()))];
        let mut out = forward_tensors(&Kernel::MoeRoute(MoeRoute(p)), &x).unwrap();
        match (out.remove(0), out.remove(0)) {
            (Tensor::Int(ids), Tensor::Real(w)) => (ids, w),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn routes_by_hand() {
        // Probabilities 1/8, 4/8, 2/8, 1/8.
        let logits = [0.0, 4f64.ln(), 2f64.ln(), 0.0];
        let close = |got: Vec<f64>, want: &[f64]| {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {want:?}")
        };
        let p = MoeRouteParams { top_k: 3, ..Default::default() };
        let (ids, w) = route(p, &logits);
        assert_eq!(ids, [1, 2, 0], "a tie goes to the smaller index");
        close(w, &[0.5, 0.25, 0.125]);
        close(route(MoeRouteParams { top_k: 2, normalize: 1, ..p }, &logits).1, &[2.0 / 3.0, 1.0 / 3.0]);
        close(route(MoeRouteParams { top_k: 2, softmax_after: 1, scale: 3.0, ..p }, &logits).1, &[2.0, 1.0]);
    }

    #[test]
    fn experts_by_hand() {
        let w = Value::real(&[2, 1, 2], vec![1.0, 0.0, 0.0, 10.0]);
        let bias = Value::real(&[2, 1], vec![100.0, 200.0]);
        let ids = Value::int(&[1, 2], vec![1, 0]);
        let op = Kernel::ExpertLinear(ExpertLinear);
        let shared = Value::real(&[1, 2], vec![3.0, 4.0]);
        let y = forward(&op, &[Some(shared), Some(w.clone()), Some(bias.clone()), Some(ids.clone())]).unwrap();
        assert_eq!(y[0], [240.0, 103.0]);
        let ranked = Value::real(&[1, 2, 2], vec![3.0, 4.0, 5.0, 6.0]);
        let y = forward(&op, &[Some(ranked), Some(w), Some(bias), Some(ids)]).unwrap();
        assert_eq!(y[0], [240.0, 105.0]);
    }

    #[test]
    fn combines_by_hand() {
        let y = Value::real(&[1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let w = Value::real(&[1, 2], vec![0.5, 0.25]);
        let residual = Value::real(&[1, 2], vec![10.0, 20.0]);
        let out = forward(&Kernel::MoeCombine(MoeCombine), &[Some(y), Some(w), Some(residual)]).unwrap();
        assert_eq!(out[0], [11.25, 22.0]);
        let (y, w) = (Value::real(&[2, 1], vec![3.0, 4.0]), Value::real(&[2, 1], vec![0.5, 2.0]));
        assert_eq!(forward(&Kernel::MoeCombine(MoeCombine), &[Some(y), Some(w), None]).unwrap()[0], [1.5, 8.0]);
    }
}
