//! Norms over the innermost dimension: RMS_NORM, LAYER_NORM.

use super::Operation;
use crate::{Args, Meta, Output, Real, Result, Signature};
use tern_abi::ops::NormParams;

/// `x / sqrt(mean(x²) + eps) * w`.
pub(crate) fn rms<R: Real>(x: &[R], w: Option<&[R]>, eps: f32) -> Vec<R> {
    let mean = R::dot(x.iter().map(|&x| (x, x))) / R::of(x.len() as f64);
    let root = (mean + R::of(f64::from(eps))).sqrt();
    x.iter().enumerate().map(|(i, &x)| scaled(x / root, w, i)).collect()
}

/// `(x - mean) / sqrt(var + eps)`, and the root.
pub(crate) fn standardized<R: Real>(x: &[R], eps: f32) -> (Vec<R>, R) {
    let n = R::of(x.len() as f64);
    let mean = R::sum(x.iter().copied()) / n;
    let centered: Vec<R> = x.iter().map(|&x| x - mean).collect();
    let var = R::dot(centered.iter().map(|&c| (c, c))) / n;
    let root = (var + R::of(f64::from(eps))).sqrt();
    (centered.into_iter().map(|c| c / root).collect(), root)
}

fn scaled<R: Real>(x: R, w: Option<&[R]>, i: usize) -> R {
    w.map_or(x, |w| x * w[i])
}

/// The innermost dimension, which must not be empty: a mean over nothing is not defined.
fn width(s: &Signature) -> Result<usize> {
    let d = s.any_real(0, "x")?.last().copied().unwrap_or(0);
    if d == 0 { Err(s.shape_error(0, "x", "a non-empty innermost dimension")) } else { Ok(d) }
}

/// [`RMS_NORM`](tern_abi::ops::RMS_NORM). x may have any number of leading dimensions.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm(pub NormParams);

impl RmsNorm {
    fn groups(&self) -> usize {
        self.0.groups.max(1) as usize
    }
}

impl Operation for RmsNorm {
    const NAME: &'static str = "RMS_NORM";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 2
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let (d, groups) = (width(s)?, self.groups());
        if d % groups != 0 {
            return Err(s.shape_error(0, "x", format!("an innermost dimension of {groups} equal runs")));
        }
        s.optional_real_is(1, "w", &[d / groups])?;
        Ok(vec![s.out(s.any_real(0, "x")?)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let w = x.optional_real(1)?;
        let d = x.need(0)?.shape.last().copied().unwrap_or(1) / self.groups();
        let rows = x.real(0)?.chunks(d);
        Ok(vec![Output::Real(rows.flat_map(|row| rms(row, w, self.0.eps)).collect())])
    }
}

/// [`LAYER_NORM`](tern_abi::ops::LAYER_NORM). x may have any number of leading dimensions.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm(pub NormParams);

impl Operation for LayerNorm {
    const NAME: &'static str = "LAYER_NORM";

    fn arity(&self) -> (usize, usize) {
        (3, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 3
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let d = width(s)?;
        s.optional_real_is(1, "w", &[d])?;
        s.optional_real_is(2, "b", &[d])?;
        Ok(vec![s.out(s.any_real(0, "x")?)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (w, b) = (x.optional_real(1)?, x.optional_real(2)?);
        let d = x.need(0)?.shape.last().copied().unwrap_or(1);
        let mut out = Vec::new();
        for row in x.real(0)?.chunks(d) {
            let (normal, _) = standardized(row, self.0.eps);
            out.extend(normal.into_iter().enumerate().map(|(i, x)| {
                let y = scaled(x, w, i);
                b.map_or(y, |b| y + b[i])
            }));
        }
        Ok(vec![Output::Real(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::forward;
    use crate::{Kernel, Value};

    #[test]
    fn rms_by_hand() {
        // mean(x²) = (9 + 16) / 2 = 12.5; eps makes it 16.
        let op = Kernel::RmsNorm(RmsNorm(NormParams { eps: 3.5, groups: 0 }));
        let x = Value::real(&[1, 2], vec![3.0, 4.0]);
        assert_eq!(forward(&op, &[Some(x.clone())]).unwrap()[0], [0.75, 1.0]);
        let w = Value::real(&[2], vec![2.0, -1.0]);
        assert_eq!(forward(&op, &[Some(x), Some(w)]).unwrap()[0], [1.5, -1.0]);
    }

    #[test]
    fn groups_are_apart_and_share_the_weight() {
        let op = |groups| Kernel::RmsNorm(RmsNorm(NormParams { eps: 0.0, groups }));
        let x = Value::real(&[1, 4], vec![3.0, -3.0, 5.0, 5.0]);
        let w = Value::real(&[2], vec![1.0, 2.0]);
        assert_eq!(forward(&op(2), &[Some(x.clone()), Some(w.clone())]).unwrap()[0], [1.0, -2.0, 1.0, 2.0]);
        assert!(matches!(forward(&op(3), &[Some(x.clone()), None]), Err(crate::Error::Shape { tensor: "x", .. })));
        assert!(matches!(forward(&op(4), &[Some(x), Some(w)]), Err(crate::Error::Shape { tensor: "w", .. })));
    }

    #[test]
    fn layer_by_hand() {
        // mean 2, variance (1 + 0 + 1 + 4 + 4) / 5 = 2; eps makes it 4.
        let op = Kernel::LayerNorm(LayerNorm(NormParams { eps: 2.0, groups: 0 }));
        let x = Value::real(&[1, 5], vec![1.0, 2.0, 3.0, 4.0, 0.0]);
        let w = Value::real(&[5], vec![2.0; 5]);
        let b = Value::real(&[5], vec![10.0; 5]);
        assert_eq!(forward(&op, &[Some(x.clone())]).unwrap()[0], [-0.5, 0.0, 0.5, 1.0, -1.0]);
        assert_eq!(forward(&op, &[Some(x), Some(w), Some(b)]).unwrap()[0], [9.0, 10.0, 11.0, 12.0, 8.0]);
    }

    #[test]
    fn rows_and_leading_dimensions_are_apart() {
        let op = Kernel::RmsNorm(RmsNorm(NormParams { eps: 0.0, groups: 0 }));
        let x = Value::real(&[1, 2, 2], vec![3.0, -3.0, 5.0, 5.0]);
        assert_eq!(forward(&op, &[Some(x)]).unwrap()[0], [1.0, -1.0, 1.0, 1.0]);
    }
}
