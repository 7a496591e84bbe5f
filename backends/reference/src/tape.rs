//! A number that records how it was computed, and adjoints read off the record.
//!
//! The record is a Wengert list: one node per operation, in order, with the partial derivative towards
//! each operand. Values are f64 whatever the tensors are, so a gradient is as exact as its inputs.

use crate::Real;
use crate::erf::erf;
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The record.
#[derive(Default, Debug)]
pub struct Tape {
    nodes: RefCell<Nodes>,
}

#[derive(Default, Debug)]
struct Nodes {
    /// Where each node's edges end; they begin where those of the node before end.
    ends: Vec<usize>,
    /// Operand and partial derivative.
    edges: Vec<(usize, f64)>,
}

/// A recorded number, or a constant, which nothing is recorded of.
#[derive(Clone, Copy, Debug)]
pub struct Var<'t> {
    node: Option<(&'t Tape, usize)>,
    value: f64,
}

impl Tape {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }
    /// An independent variable.
    pub fn leaf(&self, value: f64) -> Var<'_> {
        self.node([], value)
    }
    fn node<'t>(&'t self, edges: impl IntoIterator<Item = (usize, f64)>, value: f64) -> Var<'t> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.edges.extend(edges);
        let end = nodes.edges.len();
        nodes.ends.push(end);
        Var { node: Some((self, nodes.ends.len() - 1)), value }
    }
    /// Adjoints of everything recorded, for the function `Σ seed * variable`.
    pub fn adjoints<'t>(&'t self, seeds: impl IntoIterator<Item = (Var<'t>, f64)>) -> Adjoints {
        let nodes = self.nodes.borrow();
        let mut of = vec![(0.0, 0.0); nodes.ends.len()];
        for (var, seed) in seeds {
            if let Some((_, i)) = var.node {
                of[i].0 += seed;
                of[i].1 += seed.abs();
            }
        }
        for i in (0..of.len()).rev() {
            let (adjoint, magnitude) = of[i];
            if magnitude == 0.0 {
                continue;
            }
            let begin = if i == 0 { 0 } else { nodes.ends[i - 1] };
            for &(operand, partial) in &nodes.edges[begin..nodes.ends[i]] {
                of[operand].0 += adjoint * partial;
                of[operand].1 += magnitude * partial.abs();
            }
        }
        Adjoints { of }
    }
}

/// What [`Tape::adjoints`] found.
#[derive(Debug)]
pub struct Adjoints {
    of: Vec<(f64, f64)>,
}

impl Adjoints {
    /// The derivative with respect to `var`; 0 for constants.
    pub fn of(&self, var: Var<'_>) -> f64 {
        var.node.map_or(0.0, |(_, i)| self.of[i].0)
    }
    /// The same sum over paths with every term made positive: what rounding errors are relative to.
    pub fn magnitude(&self, var: Var<'_>) -> f64 {
        var.node.map_or(0.0, |(_, i)| self.of[i].1)
    }
}

impl Var<'_> {
    fn unary(self, value: f64, partial: f64) -> Self {
        match self.node {
            Some((tape, i)) => tape.node([(i, partial)], value),
            None => Self { node: None, value },
        }
    }
    fn binary(self, other: Self, value: f64, partials: (f64, f64)) -> Self {
        let Some((tape, _)) = self.node.or(other.node) else { return Self { node: None, value } };
        let edge = |var: Self, partial| var.node.map(|(_, i)| (i, partial));
        tape.node(edge(self, partials.0).into_iter().chain(edge(other, partials.1)), value)
    }
}

impl Add for Var<'_> {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        self.binary(b, self.value + b.value, (1.0, 1.0))
    }
}
impl Sub for Var<'_> {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self.binary(b, self.value - b.value, (1.0, -1.0))
    }
}
impl Mul for Var<'_> {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        self.binary(b, self.value * b.value, (b.value, self.value))
    }
}
impl Div for Var<'_> {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let value = self.value / b.value;
        self.binary(b, value, (1.0 / b.value, -value / b.value))
    }
}
impl Neg for Var<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(-self.value, -1.0)
    }
}

impl Real for Var<'_> {
    fn of(value: f64) -> Self {
        Self { node: None, value }
    }
    fn value(self) -> f64 {
        self.value
    }
    fn exp(self) -> Self {
        let y = self.value.exp();
        self.unary(y, y)
    }
    fn ln(self) -> Self {
        self.unary(self.value.ln(), 1.0 / self.value)
    }
    fn sqrt(self) -> Self {
        let y = self.value.sqrt();
        self.unary(y, 0.5 / y)
    }
    fn tanh(self) -> Self {
        let y = self.value.tanh();
        self.unary(y, 1.0 - y * y)
    }
    fn erf(self) -> Self {
        self.unary(erf(self.value), std::f64::consts::FRAC_2_SQRT_PI * (-self.value * self.value).exp())
    }
    fn straight_through(self, value: f64) -> Self {
        self.unary(value, 1.0)
    }
    fn dot(terms: impl Iterator<Item = (Self, Self)>) -> Self {
        let (mut value, mut edges, mut tape) = (0.0, Vec::new(), None);
        for (a, b) in terms {
            value += a.value * b.value;
            for (var, partial) in [(a, b.value), (b, a.value)] {
                if let Some((t, i)) = var.node {
                    tape = Some(t);
                    edges.push((i, partial));
                }
            }
        }
        match tape {
            Some(tape) => tape.node(edges, value),
            None => Self::of(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivative_of_a_product_and_its_magnitude() {
        let tape = Tape::new();
        let (x, y) = (tape.leaf(3.0), tape.leaf(5.0));
        // x y - 2 x: d/dx = y - 2, d/dy = x.
        let f = x * y - Var::of(2.0) * x;
        let adjoints = tape.adjoints([(f, 10.0)]);
        assert_eq!((adjoints.of(x), adjoints.of(y)), (30.0, 30.0));
        assert_eq!(adjoints.magnitude(x), 70.0);
    }

    #[test]
    fn elementary_functions() {
        let tape = Tape::new();
        let x = tape.leaf(0.7);
        let check = |f: Var<'_>, want: f64| assert!((tape.adjoints([(f, 1.0)]).of(x) - want).abs() < 1e-15);
        check(x.exp(), 0.7f64.exp());
        check(x.ln(), 1.0 / 0.7);
        check(x.sqrt(), 0.5 / 0.7f64.sqrt());
        check(x.tanh(), 1.0 - 0.7f64.tanh().powi(2));
        check(x.erf(), 2.0 / std::f64::consts::PI.sqrt() * (-0.49f64).exp());
        check(Var::of(2.0) / x, -2.0 / 0.49);
        check(Var::dot([(x, x), (x, Var::of(3.0))].into_iter()), 1.4 + 3.0);
        check(-x, -1.0);
    }

    #[test]
    fn constants_record_nothing() {
        let tape = Tape::new();
        let x = tape.leaf(1.0);
        let c = Var::of(2.0) * Var::of(3.0);
        assert_eq!(tape.adjoints([(c, 1.0)]).of(x), 0.0);
    }
}
