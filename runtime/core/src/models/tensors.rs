//! Tensor tables: what a model file must contain.

use super::{BitLinear, HeadOrder};
use std::borrow::Cow;
use tern_abi::weight::usage;

/// What a tensor is to the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix (or stack of matrices) that the plugin prepares, with its usage bits.
    Weight(u32),
    /// A vector, kept as plain floats: norm weights, biases.
    Vector,
}

/// How the tensor of a Hugging Face folder differs from that of a GGUF file, which is the one that the graph takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// In GGUF the two rows of a rotated pair lie side by side, in a folder half a head of this size apart. The graph takes
    /// either, with the rotation that goes with it.
    Pairs(u64),
    /// A folder has what is added to 1.
    PlusOne,
    /// A folder has the logarithm of the negative.
    NegativeExp,
    /// A folder has `[in, out]`.
    Transposed,
    /// A folder has a dimension of 1 more, after the first.
    Squeezed,
    /// A folder has it as rows of a larger tensor.
    Within {
        /// First row.
        first: u64,
        /// Rows of the larger one.
        of: u64,
    },
    /// GGUF has the only row of a matrix as a vector.
    Row,
    /// A folder has a stack of matrices, one per expert, in another form.
    Stack(Stack),
    /// A folder has a vector as a column of a matrix.
    Column {
        /// Which one.
        at: u64,
        /// Columns of the matrix.
        of: u64,
    },
    /// Of matrices `[heads, columns, rows]` a folder has two factors, `[heads, rows, rank]` and `[heads, rank, columns]`, whose product lacks
    /// half the identity; `{}` in the name is `w_left` or `w_right`.
    LowRank {
        /// See above.
        rank: u64,
    },
}

/// How a folder has a stack of experts' matrices `[experts, rows, columns]`, or of their biases `[experts, rows]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// What holds them.
    pub form: StackForm,
    /// Row `r` of an expert is row `first + r * step` of the folder's matrix, which may hold gate and up together.
    pub first: u64,
    /// See `first`.
    pub step: u64,
    /// Rows of the folder's matrix.
    pub of: u64,
}

/// Tensors that hold a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackForm {
    /// A matrix `[rows, columns]` per expert; `{}` in the name is its number.
    Apart,
    /// `[experts, rows, columns]`.
    Whole,
    /// `[experts, columns, rows]`.
    Transposed,
    /// MXFP4: pairs of codes `[experts, rows, columns / 32, 16]`, neighbours in a byte, and exponents `[experts, rows, columns / 32]`;
    /// `{}` in the name is `blocks` or `scales` (OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025).
    Mxfp4,
}

/// Rows of a larger tensor of the file; of a stack of matrices, rows of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in GGUF.
    pub gguf: String,
    /// Its name in Hugging Face checkpoints.
    pub hf: String,
    /// First row.
    pub first: u64,
    /// Rows of the larger tensor.
    pub of: u64,
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
    /// Where files have it inside of another.
    pub part: Option<Part>,
    /// How folders have it.
    pub change: Change,
    /// How its heads lie otherwise in GGUF; the graph takes either order.
    pub order: Option<HeadOrder>,
    /// Is it a BitLinear's, and how is it stored?
    pub bit_linear: Option<BitLinear>,
}

/// All tensors of a model.
#[derive(Clone, Debug)]
pub struct TensorTable {
    /// In the order in which they are loaded.
    pub specs: Vec<TensorSpec>,
    /// Ends of names of tensors that hold nothing of the model.
    pub ignored: Vec<&'static str>,
    /// Beginnings of names of what is not needed to run the model.
    pub ignored_parts: Vec<Cow<'static, str>>,
    prefix: &'static str,
    layer: Option<u64>,
}

impl Default for TensorTable {
    fn default() -> Self {
        Self::new("model.layers")
    }
}

impl TensorTable {
    /// An empty table. `prefix`: of the names of a layer's tensors in Hugging Face checkpoints.
    pub fn new(prefix: &'static str) -> Self {
        let ignored = vec!["rotary_emb.inv_freq", "attn_rot_embd.weight"];
        Self { specs: Vec::new(), ignored, ignored_parts: Vec::new(), prefix, layer: None }
    }

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

    /// Matrices `[experts, out, in]`, which folders have as `stack` says.
    pub fn stack(&mut self, gguf: &str, hf: &str, shape: [u64; 3], stack: Stack) -> &mut TensorSpec {
        let kind = Kind::Weight(usage::FORWARD | usage::BACKWARD_INPUT);
        self.push(gguf, hf, shape.to_vec(), kind).changed(Change::Stack(stack))
    }

    /// Biases `[experts, out]` of such matrices.
    pub fn stacked_bias(&mut self, gguf: &str, hf: &str, shape: [u64; 2], stack: Stack) -> &mut TensorSpec {
        self.push(gguf, hf, shape.to_vec(), Kind::Vector).changed(Change::Stack(stack))
    }

    /// A vector `[n]`.
    pub fn vector(&mut self, gguf: &str, hf: &str, n: u64) -> &mut TensorSpec {
        self.push(gguf, hf, vec![n], Kind::Vector)
    }

    /// Plain numbers of a shape.
    pub fn numbers(&mut self, gguf: &str, hf: &str, shape: &[u64]) -> &mut TensorSpec {
        self.push(gguf, hf, shape.to_vec(), Kind::Vector)
    }

    /// Tensors that files have as one, its rows being theirs in this order: names and rows. `inner` is `None` for vectors.
    pub fn fused(&mut self, gguf: &str, hf: &str, parts: &[(&str, u64)], inner: Option<u64>, change: Change) {
        let of = parts.iter().map(|p| p.1).fold(0, u64::saturating_add);
        let (gguf, hf) = self.named(gguf, hf);
        let mut first = 0;
        for &(name, rows) in parts {
            let spec = match inner {
                Some(inner) => self.matrix(name, "", rows, inner),
                None => self.vector(name, "", rows),
            };
            spec.part = Some(Part { gguf: gguf.clone(), hf: hf.clone(), first, of });
            spec.change = change;
            first += rows;
        }
    }

    /// Weights of convolutions `[rows, width]` that files have as one, its channels being theirs in this order. Folders have a
    /// dimension of 1 more.
    pub fn fused_convolutions(&mut self, gguf: &str, hf: &str, parts: &[(&str, u64)], width: u64) {
        let of = parts.iter().map(|p| p.1).fold(0, u64::saturating_add);
        let (gguf, hf) = self.named(gguf, hf);
        let mut first = 0;
        for &(name, rows) in parts {
            let spec = self.numbers(name, "", &[rows, width]).changed(Change::Squeezed);
            spec.part = Some(Part { gguf: gguf.clone(), hf: hf.clone(), first, of });
            first += rows;
        }
    }

    /// Is this a tensor that holds nothing of the model?
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|end| name.ends_with(end))
            || self.ignored_parts.iter().any(|start| name.starts_with(&**start))
    }

    fn named(&self, gguf: &str, hf: &str) -> (String, String) {
        match self.layer {
            Some(i) if hf.is_empty() => (format!("blk.{i}.{gguf}"), String::new()),
            Some(i) => (format!("blk.{i}.{gguf}"), format!("{}.{i}.{hf}", self.prefix)),
            None => (gguf.to_owned(), hf.to_owned()),
        }
    }

    fn push(&mut self, gguf: &str, hf: &str, shape: Vec<u64>, kind: Kind) -> &mut TensorSpec {
        let (gguf, hf) = self.named(gguf, hf);
        let at = self.specs.len();
        let (optional, part, change, order, bit_linear) = (false, None, Change::None, None, None);
        self.specs.push(TensorSpec { gguf, hf, shape, kind, optional, part, change, order, bit_linear });
        &mut self.specs[at]
    }
}

impl TensorSpec {
    /// The tensor may be absent.
    pub fn optional(&mut self) -> &mut Self {
        self.optional = true;
        self
    }

    /// The tensor may be absent if `yes`.
    pub fn optional_if(&mut self, yes: bool) -> &mut Self {
        self.optional = yes;
        self
    }

    /// A GGUF file has `name`, the stack's own, as so many rows of each matrix of `other`, from the first on.
    pub fn within(&mut self, name: &str, other: &str, rows: Option<(u64, u64)>) {
        self.part = rows.map(|(first, of)| Part {
            gguf: self.gguf.replace(name, other),
            hf: self.hf.clone(),
            first,
            of,
        });
    }

    /// Folders have it like this.
    pub fn changed(&mut self, change: Change) -> &mut Self {
        self.change = change;
        self
    }

    /// A matrix whose rows are also read by id.
    pub fn gathered(&mut self) -> &mut Self {
        if let Kind::Weight(bits) = &mut self.kind {
            *bits |= usage::GATHER;
        }
        self
    }

    /// The tensors of a GGUF file, or of a folder, that it is in: names and shapes.
    pub fn sources(&self, gguf: bool) -> Vec<(String, Vec<u64>)> {
        if let (Change::LowRank { rank }, &[heads, columns, rows], false) = (self.change, &self.shape[..], gguf) {
            let factor = |name: &str, shape: [u64; 3]| (self.hf.replace("{}", name), shape.to_vec());
            return vec![factor("w_left", [heads, rows, rank]), factor("w_right", [heads, rank, columns])];
        }
        let (name, Change::Stack(stack), false) = (self.name_in(gguf), self.change, gguf) else {
            return vec![(self.name_in(gguf).to_owned(), self.shape_in(gguf))];
        };
        let experts = self.shape.first().copied().unwrap_or(0);
        let columns = self.shape.get(2).copied();
        let shape = |before: &[u64], after: &[u64]| [before, after].concat();
        match (stack.form, columns) {
            (StackForm::Apart, _) => {
                let own = columns.map_or(vec![stack.of], |columns| vec![stack.of, columns]);
                (0..experts).map(|e| (name.replace("{}", &e.to_string()), own.clone())).collect()
            }
            (StackForm::Mxfp4, Some(columns)) => vec![
                (name.replace("{}", "blocks"), shape(&[experts, stack.of], &[columns / 32, 16])),
                (name.replace("{}", "scales"), shape(&[experts, stack.of], &[columns / 32])),
            ],
            (StackForm::Transposed, Some(columns)) => vec![(name.to_owned(), vec![experts, columns, stack.of])],
            _ => vec![(name.to_owned(), shape(&[experts, stack.of], columns.as_slice()))],
        }
    }

    /// The name of the tensor that a GGUF file, or a folder, has it in.
    pub fn name_in(&self, gguf: bool) -> &str {
        match &self.part {
            Some(part) if gguf => &part.gguf,
            Some(part) => &part.hf,
            None if gguf => &self.gguf,
            None => &self.hf,
        }
    }

    /// The shape of that tensor.
    pub fn shape_in(&self, gguf: bool) -> Vec<u64> {
        let mut shape = self.shape.clone();
        let of_stack = matches!(self.change, Change::Stack(_));
        if let (Some(part), Some(rows)) = (&self.part, shape.get_mut(usize::from(of_stack))) {
            *rows = part.of;
        }
        if self.change == Change::Row && gguf {
            shape.remove(0);
        }
        if let (Some(BitLinear::Packed(_)), Some(rows), false) = (self.bit_linear, shape.first_mut(), gguf) {
            *rows = rows.div_ceil(4);
        }
        if self.change == Change::Squeezed && !gguf {
            shape.insert(shape.len().min(1), 1);
        }
        if let (Change::Within { of, .. }, Some(rows), false) = (self.change, shape.first_mut(), gguf) {
            *rows = of;
        }
        if self.change == Change::Transposed && !gguf {
            shape.reverse();
        }
        if let (Change::Column { of, .. }, false) = (self.change, gguf) {
            shape.push(of);
        }
        shape
    }
}
