//! Tensor tables: what a model file must contain.

use tern_abi::weight::usage;

/// What a tensor is to the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix (or stack of matrices) that the plugin prepares, with its usage bits.
    Weight(u32),
    /// A vector, kept as plain floats: norm weights, biases.
    Vector,
}

/// A tensor's names and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in GGUF, and in the graph.
    pub gguf: String,
    /// Name in Hugging Face checkpoints; empty where they have none.
    pub hf: String,
    /// Row-major, outermost first.
    pub shape: Vec<u64>,
    /// What it is.
    pub kind: Kind,
    /// May it be absent?
    pub optional: bool,
}

/// All tensors of a model.
#[derive(Clone, Debug, Default)]
pub struct TensorTable {
    /// In the order in which they are loaded.
    pub specs: Vec<TensorSpec>,
    layer: Option<u64>,
}

impl TensorTable {
    /// The following tensors belong to layer `i`: `name` becomes `blk.i.name` and `model.layers.i.name`.
    pub fn layer(&mut self, i: u64) {
        self.layer = Some(i);
    }

    /// The following tensors belong to no layer.
    pub fn top(&mut self) {
        self.layer = None;
    }

    /// A matrix `[out, in]`.
    pub fn matrix(&mut self, gguf: &str, hf: &str, out: u64, inner: u64) -> &mut TensorSpec {
        let kind = Kind::Weight(usage::FORWARD | usage::BACKWARD_INPUT);
        self.push(gguf, hf, vec![out, inner], kind)
    }

    /// A vector `[n]`.
    pub fn vector(&mut self, gguf: &str, hf: &str, n: u64) -> &mut TensorSpec {
        self.push(gguf, hf, vec![n], Kind::Vector)
    }

    fn push(&mut self, gguf: &str, hf: &str, shape: Vec<u64>, kind: Kind) -> &mut TensorSpec {
        let (gguf, hf) = match self.layer {
            Some(i) if hf.is_empty() => (format!("blk.{i}.{gguf}"), String::new()),
            Some(i) => (format!("blk.{i}.{gguf}"), format!("model.layers.{i}.{hf}")),
            None => (gguf.to_owned(), hf.to_owned()),
        };
        let at = self.specs.len();
        self.specs.push(TensorSpec { gguf, hf, shape, kind, optional: false });
        &mut self.specs[at]
    }
}

impl TensorSpec {
    /// The tensor may be absent.
    pub fn optional(&mut self) -> &mut Self {
        self.optional = true;
        self
    }

    /// A matrix whose rows are also read by id.
    pub fn gathered(&mut self) -> &mut Self {
        if let Kind::Weight(bits) = &mut self.kind {
            *bits |= usage::GATHER;
        }
        self
    }
}
