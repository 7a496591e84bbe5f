//! What an op is given, before any data: shapes, dtypes, kinds; and checks on them.

use crate::{Error, Result};
use tern_abi::dtype;

/// What stands behind a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain memory.
    Memory,
    /// A prepared weight.
    Weight,
    /// A state.
    State,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Memory => "plain memory",
            Kind::Weight => "a prepared weight",
            Kind::State => "a state",
        }
    }
}

/// A tensor as an op sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Element type code.
    pub dtype: u32,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// What stands behind it.
    pub kind: Kind,
}

impl Meta {
    /// Plain memory of reals; `exact` is F64.
    pub fn real(exact: bool, shape: &[usize]) -> Self {
        Self { dtype: if exact { dtype::F64 } else { dtype::F32 }, shape: shape.to_vec(), kind: Kind::Memory }
    }
    /// Plain memory of 32-bit integers.
    pub fn int(shape: &[usize]) -> Self {
        Self { dtype: dtype::I32, shape: shape.to_vec(), kind: Kind::Memory }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The inputs of an op. Inputs past the given ones are absent.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Name of the op, for messages.
    pub op: &'static str,
    /// Real tensors are F64 rather than F32.
    pub exact: bool,
    /// Sequences of the step, for ops that know sequences.
    pub sequences: Option<usize>,
    /// One per input.
    pub inputs: Vec<Option<Meta>>,
}

impl Signature {
    /// Input `i`, if given.
    pub fn get(&self, i: usize) -> Option<&Meta> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// Input `i`.
    pub fn need(&self, i: usize, tensor: &'static str) -> Result<&Meta> {
        self.get(i).ok_or(Error::Missing { op: self.op, tensor })
    }
    /// Sizes of input `i`, which must be reals in plain memory (or, as constants, a weight) of rank `N`.
    pub fn real<const N: usize>(&self, i: usize, tensor: &'static str) -> Result<[usize; N]> {
        self.check_real(i, tensor)?;
        self.rank(i, tensor)
    }
    /// Sizes of input `i`, which must be integers of rank `N`.
    pub fn int<const N: usize>(&self, i: usize, tensor: &'static str) -> Result<[usize; N]> {
        let meta = self.need(i, tensor)?;
        if meta.dtype != dtype::I32 {
            return Err(Error::Dtype { op: self.op, tensor, found: meta.dtype, expected: "I32" });
        }
        self.kind(i, tensor, Kind::Memory)?;
        self.rank(i, tensor)
    }
    /// Sizes of input `i`: a prepared weight of any dtype, or reals in plain memory.
    pub fn matrix<const N: usize>(&self, i: usize, tensor: &'static str) -> Result<[usize; N]> {
        if self.need(i, tensor)?.kind != Kind::Weight {
            self.check_real(i, tensor)?;
        }
        self.rank(i, tensor)
    }
    /// Checks that input `i` is real with exactly these sizes.
    pub fn real_is(&self, i: usize, tensor: &'static str, shape: &[usize]) -> Result<()> {
        self.check_real(i, tensor)?;
        self.shape_is(i, tensor, shape)
    }
    /// As [`Signature::real_is`], unless absent.
    pub fn optional_real_is(&self, i: usize, tensor: &'static str, shape: &[usize]) -> Result<()> {
        if self.get(i).is_some() { self.real_is(i, tensor, shape) } else { Ok(()) }
    }
    /// Checks that input `i` is integer with exactly these sizes.
    pub fn int_is<const N: usize>(&self, i: usize, tensor: &'static str, shape: [usize; N]) -> Result<()> {
        self.int::<N>(i, tensor)?;
        self.shape_is(i, tensor, &shape)
    }
    /// Checks that input `i` is a state.
    pub fn state(&self, i: usize, tensor: &'static str) -> Result<&Meta> {
        self.kind(i, tensor, Kind::State)?;
        self.need(i, tensor)
    }
    /// Checks that input `i`, where it is there, is a state, and that input `slots` has a place in it for each of `sequences` sequences.
    pub fn state_of_sequences(&self, i: usize, slots: usize, sequences: usize) -> Result<Option<Meta>> {
        if self.get(i).is_none() {
            return Ok(None);
        }
        let [n] = self.int(slots, "state_slots")?;
        if n < sequences {
            return Err(self.shape_error(slots, "state_slots", format!("at least {sequences} elements")));
        }
        Ok(Some(self.state(i, "state")?.clone()))
    }
    /// An output of reals.
    pub fn out(&self, shape: &[usize]) -> Option<Meta> {
        Some(Meta::real(self.exact, shape))
    }
    /// An error about input `i`'s shape.
    pub fn shape_error(&self, i: usize, tensor: &'static str, expected: impl Into<String>) -> Error {
        let found = self.get(i).map(|m| m.shape.clone()).unwrap_or_default();
        Error::Shape { op: self.op, tensor, found, expected: expected.into() }
    }
    /// Checks a parameter.
    pub fn parameter(&self, ok: bool, field: &'static str, found: f64, expected: &'static str) -> Result<()> {
        if ok { Ok(()) } else { Err(Error::Parameter { op: self.op, field, found, expected }) }
    }
    /// The sizes of input `i`, which must be reals of any rank.
    pub fn any_real(&self, i: usize, tensor: &'static str) -> Result<&[usize]> {
        self.check_real(i, tensor)?;
        Ok(&self.need(i, tensor)?.shape)
    }

    fn check_real(&self, i: usize, tensor: &'static str) -> Result<()> {
        let meta = self.need(i, tensor)?;
        let expected = if self.exact { dtype::F64 } else { dtype::F32 };
        match meta.kind {
            // Norm weights and biases may have been prepared; they are dequantized constants then.
            Kind::Weight => Ok(()),
            Kind::Memory if meta.dtype == expected => Ok(()),
            Kind::Memory => {
                let expected = if self.exact { "F64, as its other real tensors" } else { "F32" };
                Err(Error::Dtype { op: self.op, tensor, found: meta.dtype, expected })
            }
            Kind::State => self.kind(i, tensor, Kind::Memory),
        }
    }
    fn kind(&self, i: usize, tensor: &'static str, expected: Kind) -> Result<()> {
        let found = self.need(i, tensor)?.kind;
        if found == expected {
            return Ok(());
        }
        Err(Error::Place { op: self.op, tensor, found: found.name(), expected: expected.name() })
    }
    fn rank<const N: usize>(&self, i: usize, tensor: &'static str) -> Result<[usize; N]> {
        let shape = &self.need(i, tensor)?.shape;
        shape.as_slice().try_into().map_err(|_| self.shape_error(i, tensor, format!("rank {N}")))
    }
    fn shape_is(&self, i: usize, tensor: &'static str, shape: &[usize]) -> Result<()> {
        if self.need(i, tensor)?.shape == shape {
            return Ok(());
        }
        Err(self.shape_error(i, tensor, format!("{shape:?}")))
    }
}
