//! Checks of an op's tensors at compile time, with messages that name op and tensor.

use tern_abi::dtype;
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// A dimension: its id and, where it is fixed, its size.
pub type Dim = (u32, u64);

/// An op under check.
#[derive(Clone, Copy)]
pub struct Checker<'a> {
    view: &'a GraphView<'a>,
    op: &'a OpView<'a>,
    name: &'static str,
}

impl<'a> Checker<'a> {
    /// Checks `op`, called `name` in messages.
    pub fn new(view: &'a GraphView<'a>, op: &'a OpView<'a>, name: &'static str) -> Self {
        Self { view, op, name }
    }
    /// The tensor at an index.
    pub fn tensor(&self, t: usize) -> &'a Tensor {
        &self.view.tensors[t]
    }
    /// An error about this op.
    pub fn wrong(&self, what: impl std::fmt::Display) -> PluginError {
        PluginError::argument(format!("{}: {what}", self.name))
    }
    /// Something of this op that the plugin lacks.
    pub fn lacking(&self, what: impl std::fmt::Display) -> PluginError {
        PluginError::unsupported(format!("{}: {what}", self.name))
    }
    /// Fails with `message` unless `ok`.
    pub fn ensure(&self, ok: bool, message: impl std::fmt::Display) -> Result<()> {
        if ok { Ok(()) } else { Err(self.wrong(message)) }
    }

    fn plain(&self, t: usize, dtype: u32, what: &str) -> Result<usize> {
        let tensor = self.tensor(t);
        if tensor.dtype != dtype {
            return Err(self.lacking(format!("{what} has dtype {}, expected {dtype}", tensor.dtype)));
        }
        if tensor.place == place::WEIGHT || tensor.place == place::STATE {
            return Err(self.lacking(format!("{what} is a prepared weight or a state, expected a plain tensor")));
        }
        Ok(t)
    }
    fn required(&self, t: Option<usize>, what: &str) -> Result<usize> {
        t.ok_or_else(|| self.wrong(format!("{what} is missing")))
    }
    /// Input `i`: plain F32.
    pub fn f32_in(&self, i: usize, what: &str) -> Result<usize> {
        self.plain(self.required(self.op.input(i), what)?, dtype::F32, what)
    }
    /// Input `i`: absent, or plain F32.
    pub fn f32_maybe(&self, i: usize, what: &str) -> Result<Option<usize>> {
        self.op.input(i).map(|t| self.plain(t, dtype::F32, what)).transpose()
    }
    /// Input `i`: plain I32.
    pub fn i32_in(&self, i: usize, what: &str) -> Result<usize> {
        self.plain(self.required(self.op.input(i), what)?, dtype::I32, what)
    }
    /// That no op computes these inputs, where they are there: they are checked once, before the step.
    pub fn given(&self, inputs: &[(usize, &str)]) -> Result<()> {
        let computed = |i| self.op.input(i).is_some_and(|t| self.tensor(t).place == place::ARENA);
        match inputs.iter().find(|(i, _)| computed(*i)) {
            Some((_, what)) => Err(self.lacking(format!("{what} is computed by the graph, expected an input of it"))),
            None => Ok(()),
        }
    }
    /// Output `i`: plain F32.
    pub fn f32_out(&self, i: usize, what: &str) -> Result<usize> {
        self.plain(self.required(self.op.output(i), what)?, dtype::F32, what)
    }
    /// Output `i`: absent, or plain F32.
    pub fn f32_out_maybe(&self, i: usize, what: &str) -> Result<Option<usize>> {
        self.op.output(i).map(|t| self.plain(t, dtype::F32, what)).transpose()
    }
    /// Output `i` of a gradient: absent, or plain F32 with the dimensions of input `i`.
    pub fn gradient(&self, i: usize, what: &str) -> Result<Option<usize>> {
        let Some(t) = self.f32_out_maybe(i, what)? else { return Ok(None) };
        self.same(self.required(self.op.input(i), what)?, t, what)?;
        Ok(Some(t))
    }
    /// Fails where output `i` is wanted: it is not differentiable.
    pub fn no_gradient(&self, i: usize) -> Result<()> {
        self.ensure(self.op.output(i).is_none(), format!("input {i} has no gradient"))
    }
    /// Output `i`: plain I32.
    pub fn i32_out(&self, i: usize, what: &str) -> Result<usize> {
        self.plain(self.required(self.op.output(i), what)?, dtype::I32, what)
    }
    /// Input `i` is absent, or a state that is also output `o`.
    pub fn state(&self, i: usize, o: usize) -> Result<Option<usize>> {
        let Some(state) = self.op.input(i) else { return Ok(None) };
        let a = self.tensor(state);
        self.ensure(a.place == place::STATE, "the state is not placed as one")?;
        if let Some(out) = self.op.output(o) {
            let b = self.tensor(out);
            let same = b.place == place::STATE && b.slot == a.slot && b.offset == a.offset;
            self.ensure(same, "the state's input and output are not one")?;
        }
        Ok(Some(state))
    }

    /// Its dimensions.
    pub fn dims(&self, t: usize) -> Vec<Dim> {
        let tensor = self.tensor(t);
        (0..tensor.rank as usize)
            .map(|i| (tensor.dims[i], if tensor.dims[i] == dim::FIXED { tensor.shape[i] } else { 0 }))
            .collect()
    }
    /// Fails unless both have the same dimensions.
    pub fn same(&self, a: usize, b: usize, what: &str) -> Result<()> {
        let (da, db) = (self.dims(a), self.dims(b));
        self.ensure(da == db, format!("{what}: {} and {} differ", show(&da), show(&db)))
    }
    /// Fails unless the dimensions are `want`.
    pub fn shaped(&self, t: usize, want: &[Dim], what: &str) -> Result<()> {
        let dims = self.dims(t);
        self.ensure(dims == want, format!("{what}: shape {}, expected {}", show(&dims), show(want)))
    }
    /// Its last dimension, which must be fixed and not zero.
    pub fn last(&self, t: usize, what: &str) -> Result<usize> {
        match self.dims(t).last() {
            Some(&(dim::FIXED, n)) if n > 0 && n <= u64::from(u32::MAX) => Ok(n as usize),
            _ => Err(self.wrong(format!("{what}: the last dimension is not a fixed size"))),
        }
    }
    /// Its first dimension.
    pub fn first(&self, t: usize) -> Dim {
        self.dims(t).first().copied().unwrap_or((dim::FIXED, 1))
    }
    /// Its elements at most.
    pub fn elements(&self, t: usize) -> Result<usize> {
        let tensor = self.tensor(t);
        let size = |i: usize| match tensor.dims[i] {
            dim::FIXED => tensor.shape[i],
            d => self.view.dim_max[d as usize],
        };
        (0..4)
            .try_fold(1usize, |n, i| n.checked_mul(usize::try_from(size(i)).ok()?))
            .filter(|&n| n <= isize::MAX as usize / 16)
            .ok_or_else(|| self.wrong("a tensor is larger than the address space"))
    }
    /// Largest size of a dimension.
    pub fn max_of(&self, d: Dim) -> usize {
        usize::try_from(if d.0 == dim::FIXED { d.1 } else { self.view.dim_max[d.0 as usize] }).unwrap_or(usize::MAX)
    }
}

/// A fixed dimension.
pub fn fixed(n: usize) -> Dim {
    (dim::FIXED, n as u64)
}

fn show(dims: &[Dim]) -> String {
    let names: Vec<String> = dims
        .iter()
        .map(|&(id, n)| match id {
            dim::FIXED => n.to_string(),
            dim::TOKENS => "T".to_owned(),
            dim::SEQUENCES => "S".to_owned(),
            _ => "R".to_owned(),
        })
        .collect();
    format!("[{}]", names.join(", "))
}
