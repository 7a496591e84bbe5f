//! Low-rank adapters (LoRA, Hu et al. 2021) in files: llama.cpp's GGUF and the folders of Hugging Face's PEFT.
//!
//! An adapter adds `scale * B A` to a base matrix `[outputs, inputs]`, with A `[rank, inputs]` and B `[outputs, rank]`. For an
//! embedding table, whose rows are chosen rather than multiplied, the roles are flipped: the table `[inputs, outputs]`
//! (vocabulary, width) gets the transpose of `scale * B A`, and llama.cpp stores A transposed, see [`LowRank::a_transposed`].
//!
//! What is read is checked in itself: names pair up, ranks agree, numbers are finite. Whether it fits a model is for
//! whoever knows the model.

mod gguf;
mod pair;
mod peft;
mod write;

pub use gguf::open_gguf;
pub use peft::{PEFT_CONFIG, PEFT_WEIGHTS, open_peft, open_peft_dir};
pub use write::{LowRankSpec, gguf_writer, peft_config, peft_writer};

use crate::{Checkpoint, TensorInfo};

/// An adapter, checked.
#[derive(Debug)]
pub struct Adapter {
    /// The base model's architecture, as GGUF names it; PEFT does not say.
    pub architecture: Option<String>,
    /// The base model's name or path, where the file says it.
    pub base_model: Option<String>,
    /// In the order of the file.
    pub pairs: Vec<LowRank>,
    /// Tensors that llama.cpp does not apply either: whole norm weights.
    pub skipped: Vec<String>,
    /// Tokens from which on an "activated" adapter counts; empty for an ordinary one, which always does.
    pub invocation_tokens: Vec<u32>,
    /// The data of the factors.
    pub checkpoint: Checkpoint,
}

/// What is added to one base tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// The base tensor, by its name in the format that the adapter is in.
    pub base: String,
    /// Whether it is an embedding table.
    pub embedding: bool,
    /// Shared dimension of the factors.
    pub rank: u64,
    /// What A reads: the base matrix's columns; an embedding table's rows.
    pub inputs: u64,
    /// What B writes: the base matrix's rows; an embedding table's columns.
    pub outputs: u64,
    /// Matrices in a stack of experts, each with factors of its own: dimension 0 of both.
    pub experts: Option<u64>,
    /// As the file has it.
    pub alpha: f32,
    /// Factor of B A before the user's own: alpha / rank, or what the format makes of alpha.
    pub scale: f32,
    /// Whether A is stored `[inputs, rank]`.
    pub a_transposed: bool,
    a: usize,
    b: usize,
}

impl Adapter {
    /// A's tensor. `pair` is one of this adapter's.
    pub fn a(&self, pair: &LowRank) -> Option<&TensorInfo> {
        self.checkpoint.tensors().get(pair.a)
    }

    /// B's tensor. `pair` is one of this adapter's.
    pub fn b(&self, pair: &LowRank) -> Option<&TensorInfo> {
        self.checkpoint.tensors().get(pair.b)
    }
}
