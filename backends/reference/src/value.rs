//! What an op is given and yields, with the data.

use crate::state::StateMemory;
use crate::{Error, Meta, Real, Result, Signature, Weight};

/// The data of a tensor.
#[derive(Clone, Debug)]
pub enum Data<'a, R> {
    /// Real numbers.
    Real(Vec<R>),
    /// Integers.
    Int(Vec<i32>),
    /// A prepared weight.
    Weight(&'a Weight),
    /// A state, which the op reads and advances.
    State(StateMemory<'a>),
}

/// A tensor with its data.
#[derive(Clone, Debug)]
pub struct Value<'a, R> {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The data.
    pub data: Data<'a, R>,
}

/// The inputs of an op, checked by its shape rule.
#[derive(Clone, Debug)]
pub struct Args<'a, R> {
    /// Name of the op, for messages.
    pub op: &'static str,
    /// Sequences of the step, for ops that know sequences.
    pub sequences: Option<usize>,
    /// One per input.
    pub values: Vec<Option<Value<'a, R>>>,
}

/// What an op yields; a state has been written in place.
#[derive(Clone, Debug)]
pub enum Output<R> {
    /// Real numbers.
    Real(Vec<R>),
    /// Integers.
    Int(Vec<i32>),
    /// The state that was given.
    State,
}

impl<'a, R: Real> Args<'a, R> {
    /// Input `i`, if given.
    pub fn get(&self, i: usize) -> Option<&Value<'a, R>> {
        self.values.get(i).and_then(Option::as_ref)
    }
    /// Is input `i` given?
    pub fn has(&self, i: usize) -> bool {
        self.get(i).is_some()
    }
    /// Input `i`.
    pub fn need(&self, i: usize) -> Result<&Value<'a, R>> {
        self.get(i).ok_or(Error::Internal("an input is missing that the shape rule asked for"))
    }
    /// Sizes of input `i`.
    pub fn shape<const N: usize>(&self, i: usize) -> Result<[usize; N]> {
        let shape = self.need(i)?.shape.as_slice();
        shape.try_into().map_err(|_| Error::Internal("an input of a rank that the shape rule refuses"))
    }
    /// Real input `i`.
    pub fn real(&self, i: usize) -> Result<&[R]> {
        match &self.need(i)?.data {
            Data::Real(x) => Ok(x),
            _ => Err(Error::Internal("an input is not real")),
        }
    }
    /// Real input `i`, if given.
    pub fn optional_real(&self, i: usize) -> Result<Option<&[R]>> {
        if self.has(i) { self.real(i).map(Some) } else { Ok(None) }
    }
    /// Integer input `i`.
    pub fn int(&self, i: usize) -> Result<&[i32]> {
        match &self.need(i)?.data {
            Data::Int(x) => Ok(x),
            _ => Err(Error::Internal("an input is not integer")),
        }
    }
    /// Integer input `i` element `at`, as an index below `n`.
    pub fn index(&self, i: usize, tensor: &'static str, at: usize, n: usize) -> Result<usize> {
        let found = *self.int(i)?.get(at).ok_or(Error::Internal("an index past the end of a tensor"))?;
        let error = || Error::Index { op: self.op, tensor, at, found: i64::from(found), low: 0, high: n as i64 - 1 };
        usize::try_from(found).ok().filter(|&x| x < n).ok_or_else(error)
    }
    /// Row `row` of matrix input `i` (all but the innermost dimension flattened), dequantized where it is a weight.
    pub fn row(&self, i: usize, row: usize) -> Result<Vec<R>> {
        let value = self.need(i)?;
        match &value.data {
            Data::Real(x) => {
                let n = value.shape.last().copied().unwrap_or(0);
                let row = x.get(row * n..(row + 1) * n).ok_or(Error::Internal("a row past the end of a tensor"))?;
                Ok(row.to_vec())
            }
            Data::Weight(w) => Ok(w.row(row)?.into_iter().map(R::of).collect()),
            _ => Err(Error::Internal("an input is not a matrix")),
        }
    }
    /// State input `i`, if given.
    pub fn state(&self, i: usize) -> Result<Option<StateMemory<'a>>> {
        match self.get(i).map(|v| &v.data) {
            None => Ok(None),
            Some(Data::State(state)) => Ok(Some(*state)),
            Some(_) => Err(Error::Internal("an input is not a state")),
        }
    }
    /// Position of row `t` by the input `i`, checked against that of the first row of the same sequence.
    pub fn position(&self, i: usize, t: usize, first: usize) -> Result<usize> {
        let positions = self.int(i)?;
        let (found, start) = (i64::from(positions[t]), i64::from(positions[first]));
        let want = start.max(0) + (t - first) as i64;
        if found != want {
            return Err(Error::Index { op: self.op, tensor: "positions", at: t, found, low: want, high: want });
        }
        Ok(found as usize)
    }
    /// The rows of every sequence, from the `seq_start` that is input `i`: ascending and covering `rows`.
    pub fn sequences(&self, i: usize, rows: usize) -> Result<Vec<std::ops::Range<usize>>> {
        let starts = self.int(i)?;
        let n = self.sequences.unwrap_or(starts.len().saturating_sub(1));
        let mut from = 0;
        let mut out = Vec::new();
        for (at, &start) in starts.iter().enumerate().take(n + 1) {
            let bad = Error::Index {
                op: self.op,
                tensor: "seq_start",
                at,
                found: i64::from(start),
                low: if at == n { rows as i64 } else { from as i64 },
                high: if at == 0 { 0 } else { rows as i64 },
            };
            let ok = match usize::try_from(start) {
                Ok(start) if at == 0 => start == 0,
                Ok(start) => start >= from && start <= rows && (at < n || start == rows),
                Err(_) => false,
            };
            if !ok {
                return Err(bad);
            }
            if at > 0 {
                out.push(from..start as usize);
            }
            from = start as usize;
        }
        if out.len() < n {
            return Err(Error::Internal("seq_start is shorter than the step's sequences"));
        }
        Ok(out)
    }
}

impl Signature {
    /// Shape rule of `seq_start`: room for every sequence of the step.
    pub(crate) fn seq_start(&self, i: usize) -> Result<usize> {
        let [n] = self.int(i, "seq_start")?;
        let room = n.checked_sub(1).ok_or_else(|| self.shape_error(i, "seq_start", "at least 1 element"))?;
        match self.sequences {
            Some(s) if s > room => Err(self.shape_error(i, "seq_start", format!("at least {} elements", s + 1))),
            Some(s) => Ok(s),
            None => Ok(room),
        }
    }
}

impl<R> Value<'_, R> {
    /// Reals in plain memory.
    pub fn real(shape: &[usize], data: Vec<R>) -> Self {
        Self { shape: shape.to_vec(), data: Data::Real(data) }
    }
    /// Integers in plain memory.
    pub fn int(shape: &[usize], data: Vec<i32>) -> Self {
        Self { shape: shape.to_vec(), data: Data::Int(data) }
    }
    /// Shape, dtype and kind; `exact` is the mode of the op.
    pub fn meta(&self, exact: bool) -> Meta {
        match &self.data {
            Data::Real(_) => Meta::real(exact, &self.shape),
            Data::Int(_) => Meta::int(&self.shape),
            Data::Weight(w) => Meta { dtype: w.dtype().code(), shape: self.shape.clone(), kind: crate::Kind::Weight },
            Data::State(s) => Meta { dtype: s.dtype, shape: self.shape.clone(), kind: crate::Kind::State },
        }
    }
}
