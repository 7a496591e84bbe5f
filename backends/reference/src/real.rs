//! The numbers an op computes with.

use crate::erf::erf;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A real number: `f32`, `f64`, or a recording [`Var`](crate::Var).
///
/// Comparisons go through [`Real::value`]; which branch is taken is not differentiated.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// A constant.
    fn of(x: f64) -> Self;
    /// The value, exactly.
    fn value(self) -> f64;
    /// `e^x`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Sum of products, in order. For `f32` accumulated in f64 and rounded once.
    fn dot(terms: impl Iterator<Item = (Self, Self)>) -> Self;

    /// Sum, in order; accumulated like [`Real::dot`].
    fn sum(terms: impl Iterator<Item = Self>) -> Self {
        Self::dot(terms.map(|x| (x, Self::of(1.0))))
    }
    /// Zero.
    fn zero() -> Self {
        Self::of(0.0)
    }
    /// `x²`.
    fn square(self) -> Self {
        self * self
    }
    /// `value` instead, with the derivative 1: what rounds a number is passed straight through.
    fn straight_through(self, value: f64) -> Self;
    /// The larger of `x` and 0; the derivative at 0 is 0.
    fn positive(self) -> Self {
        if self.value() > 0.0 { self } else { Self::zero() }
    }
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            fn of(x: f64) -> Self {
                x as $float
            }
            fn value(self) -> f64 {
                f64::from(self)
            }
            fn exp(self) -> Self {
                f64::from(self).exp() as $float
            }
            fn ln(self) -> Self {
                f64::from(self).ln() as $float
            }
            fn sqrt(self) -> Self {
                f64::from(self).sqrt() as $float
            }
            fn tanh(self) -> Self {
                f64::from(self).tanh() as $float
            }
            fn erf(self) -> Self {
                erf(f64::from(self)) as $float
            }
            fn straight_through(self, value: f64) -> Self {
                value as $float
            }
            fn dot(terms: impl Iterator<Item = (Self, Self)>) -> Self {
                terms.fold(0.0, |sum, (a, b)| sum + f64::from(a) * f64::from(b)) as $float
            }
        }
    };
}
real!(f32);
real!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_sums_are_rounded_once() {
        let terms = [1.0f32, 1e-8, 1e-8, -1.0];
        assert_eq!(f32::sum(terms.into_iter()), 2e-8);
    }

    #[test]
    fn positive_part() {
        assert_eq!((-1.0f64).positive(), 0.0);
        assert_eq!(2.0f64.positive(), 2.0);
    }
}
