//! Elementwise: GLU, ADD, MUL, SCALE, ACTIVATION.

use super::Operation;
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::ops::{ActivationParams, GluParams, ScaleParams, activation};

/// Is `id` an activation?
pub(crate) fn check_activation(s: &Signature, id: u32) -> Result<()> {
    s.parameter(id <= activation::SOFTPLUS, "activation", f64::from(id), "one of tern_abi::ops::activation")
}

/// `act(x)`; `check_activation` has accepted `id`.
pub(crate) fn activate<R: Real>(id: u32, x: R) -> Result<R> {
    let (one, half) = (R::of(1.0), R::of(0.5));
    Ok(match id {
        activation::IDENTITY => x,
        activation::SILU => x * sigmoid(x),
        activation::GELU_TANH => {
            let inner = R::of((2.0 / std::f64::consts::PI).sqrt()) * (x + R::of(0.044715) * x * x * x);
            half * x * (one + inner.tanh())
        }
        activation::GELU => half * x * (one + (x * R::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
        activation::RELU_SQUARED => x.positive().square(),
        activation::SIGMOID => sigmoid(x),
        activation::TANH => x.tanh(),
        activation::SOFTPLUS => softplus(x),
        _ => return Err(Error::Internal("an activation that the shape rule refuses")),
    })
}

/// The form whose exponential cannot overflow, so that derivatives stay finite too.
fn sigmoid<R: Real>(x: R) -> R {
    let one = R::of(1.0);
    if x.value() >= 0.0 {
        one / (one + (-x).exp())
    } else {
        let e = x.exp();
        e / (one + e)
    }
}

/// `ln(1 + e^x)` by the form whose exponential cannot overflow.
fn softplus<R: Real>(x: R) -> R {
    if x.value() > 0.0 { x + log_above_one((-x).exp()) } else { log_above_one(x.exp()) }
}

/// `ln(1 + e)`. Where the sum rounds e away, the series is exact.
fn log_above_one<R: Real>(e: R) -> R {
    if e.value() > 1e-5 { (R::of(1.0) + e).ln() } else { e - R::of(0.5) * e * e }
}

/// [`GLU`](tern_abi::ops::GLU).
#[derive(Clone, Copy, Debug)]
pub struct Glu(pub GluParams);

impl Operation for Glu {
    const NAME: &'static str = "GLU";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 2
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        check_activation(s, p.activation)?;
        s.parameter(p.alpha == 0.0 || p.activation == activation::SILU, "alpha", p.alpha.into(), "0, but for SILU")?;
        s.parameter(p.limit >= 0.0, "limit", p.limit.into(), "0 or more")?;
        let shape = s.any_real(0, "gate")?;
        s.real_is(1, "up", shape)?;
        Ok(vec![s.out(shape)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (p, limit) = (&self.0, f64::from(self.0.limit));
        let most = |x: R| if limit > 0.0 && x.value() > limit { R::of(limit) } else { x };
        let one = |gate: R, up: R| {
            let (gate, up) = (most(gate), -most(-most(up)));
            let act = match p.alpha {
                0.0 => activate(p.activation, gate)?,
                alpha => gate * sigmoid(R::of(f64::from(alpha)) * gate),
            };
            Ok(act * if p.offset == 0.0 { up } else { up + R::of(f64::from(p.offset)) })
        };
        let out: Result<_> = x.real(0)?.iter().zip(x.real(1)?).map(|(&gate, &up)| one(gate, up)).collect();
        Ok(vec![Output::Real(out?)])
    }
}

/// b's shape must be a's with leading dimensions left out.
fn repeating(s: &Signature) -> Result<Vec<Option<Meta>>> {
    let (a, b) = (s.any_real(0, "a")?, s.any_real(1, "b")?);
    if !a.ends_with(b) {
        return Err(s.shape_error(1, "b", format!("the last dimensions of {a:?}")));
    }
    Ok(vec![s.out(a)])
}

fn combine<R: Real>(x: &Args<'_, R>, f: impl Fn(R, R) -> R) -> Result<Vec<Output<R>>> {
    let (a, b) = (x.real(0)?, x.real(1)?);
    Ok(vec![Output::Real(a.iter().zip(b.iter().cycle()).map(|(&a, &b)| f(a, b)).collect())])
}

/// [`ADD`](tern_abi::ops::ADD).
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Operation for Add {
    const NAME: &'static str = "ADD";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 2
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        repeating(s)
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        combine(x, |a, b| a + b)
    }
}

/// [`MUL`](tern_abi::ops::MUL).
#[derive(Clone, Copy, Debug)]
pub struct Mul;

impl Operation for Mul {
    const NAME: &'static str = "MUL";

    fn arity(&self) -> (usize, usize) {
        (2, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i < 2
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        repeating(s)
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        combine(x, |a, b| a * b)
    }
}

/// [`SCALE`](tern_abi::ops::SCALE).
#[derive(Clone, Copy, Debug)]
pub struct Scale(pub ScaleParams);

impl Operation for Scale {
    const NAME: &'static str = "SCALE";

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        Ok(vec![s.out(s.any_real(0, "x")?)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let factor = R::of(f64::from(self.0.factor));
        Ok(vec![Output::Real(x.real(0)?.iter().map(|&x| factor * x).collect())])
    }
}

/// [`ACTIVATION`](tern_abi::ops::ACTIVATION).
#[derive(Clone, Copy, Debug)]
pub struct Activation(pub ActivationParams);

impl Operation for Activation {
    const NAME: &'static str = "ACTIVATION";

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
    fn differentiable(&self, i: usize) -> bool {
        i == 0
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        check_activation(s, self.0.activation)?;
        Ok(vec![s.out(s.any_real(0, "x")?)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let out: Result<_> = x.real(0)?.iter().map(|&x| activate(self.0.activation, x)).collect();
        Ok(vec![Output::Real(out?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::forward;
    use crate::{Kernel, Value};

    #[test]
    fn activations_at_known_points() {
        let at = |id, x: f64| activate(id, x).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(at(activation::IDENTITY, -2.0), -2.0);
        close(at(activation::SIGMOID, 0.0), 0.5);
        close(at(activation::SIGMOID, 3f64.ln()), 0.75);
        close(at(activation::SIGMOID, -(3f64.ln())), 0.25);
        close(at(activation::SILU, 3f64.ln()), 0.75 * 3f64.ln());
        close(at(activation::RELU_SQUARED, -3.0), 0.0);
        close(at(activation::RELU_SQUARED, 3.0), 9.0);
        // Φ(1) = 0.841344746068543, Φ(-1) = 1 - Φ(1).
        close(at(activation::GELU, 1.0), 0.841_344_746_068_543);
        close(at(activation::GELU, -1.0), -0.158_655_253_931_457);
        // The published value of the tanh form at 1.
        assert!((at(activation::GELU_TANH, 1.0) - 0.841_191_990_608_276).abs() < 1e-9);
        close(at(activation::SIGMOID, -1000.0), 0.0);
        close(at(activation::TANH, 0.5 * 3f64.ln()), 0.5);
        close(at(activation::SOFTPLUS, 0.0), 2f64.ln());
        close(at(activation::SOFTPLUS, 3f64.ln()), 4f64.ln());
        close(at(activation::SOFTPLUS, -1000.0), 0.0);
        close(at(activation::SOFTPLUS, 1000.0), 1000.0);
        assert!(activate(8, 0.0).is_err());
    }

    #[test]
    fn shorter_operands_repeat() {
        let a = Value::real(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Value::real(&[2], vec![10.0, 20.0]);
        let both = [Some(a), Some(b)];
        assert_eq!(forward(&Kernel::Add(Add), &both).unwrap()[0], [11.0, 22.0, 13.0, 24.0]);
        assert_eq!(forward(&Kernel::Mul(Mul), &both).unwrap()[0], [10.0, 40.0, 30.0, 80.0]);
        let wrong = [both[0].clone(), Some(Value::real(&[1], vec![1.0]))];
        assert!(matches!(forward(&Kernel::Add(Add), &wrong), Err(Error::Shape { tensor: "b", .. })));
    }

    #[test]
    fn glu_and_scale() {
        let gate = Value::real(&[1, 2], vec![2.0, -1.0]);
        let up = Value::real(&[1, 2], vec![3.0, 5.0]);
        let plain = GluParams { activation: activation::RELU_SQUARED, ..Default::default() };
        let glu = |p| forward(&Kernel::Glu(Glu(p)), &[Some(gate.clone()), Some(up.clone())]).unwrap().remove(0);
        assert_eq!(glu(plain), [12.0, 0.0]);
        // min(2, 1.5)² (min(3, 1.5) + 1)
        assert_eq!(glu(GluParams { limit: 1.5, offset: 1.0, ..plain })[0], 5.625);
        let steep = glu(GluParams { activation: activation::SILU, alpha: 2.0, ..plain });
        assert!((steep[1] + 5.0 / (1.0 + 2f64.exp())).abs() < 1e-12);
        let scale = Kernel::Scale(Scale(ScaleParams { factor: -0.5 }));
        assert_eq!(forward(&scale, &[Some(gate)]).unwrap()[0], [-1.0, 0.5]);
    }
}
