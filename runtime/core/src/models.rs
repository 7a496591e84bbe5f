//! Architectures: one short file each, one line here to register it.
//!
//! A file states hyper-parameters with their legal ranges, the tensor table with GGUF and Hugging Face names,
//! and the block. Loader, exporter and trainer read the same table, so a name is written once.

mod bert;
mod bit_linear;
mod bitnet;
mod blocks;
mod derive;
mod encoder;
mod gated_delta;
mod gemma;
mod gpt2;
mod gpt_oss;
mod granite;
mod hybrid;
mod hyper;
mod lact;
mod llama;
mod modern_bert;
mod moe;
mod net;
mod nomic_bert;
mod olmo2;
mod olmoe;
mod order;
mod phi3;
mod pre_norm;
mod qwen2;
mod qwen3;
mod qwen3_5;
mod qwen3_next;
mod qwen_moe;
mod rope;
mod sizes;
mod smollm3;
mod style;
mod tensors;
mod ttt;

pub use bit_linear::BitLinear;
pub use hyper::{ConfigError, Hyper, Recorded};
pub use net::{AdapterBanks, Computed, Net, NetOptions, PAGE_SIZE, bank_names, inputs};
pub use order::HeadOrder;
pub use rope::Rope;
pub use style::hugging_face;
pub use tensors::{Change, Kind, Part, Stack, StackForm, TensorSpec, TensorTable};

use crate::graph::Value;

/// What every model has, whatever its architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Longest context the model was made for, in tokens.
    pub context_length: u64,
    /// Rows of the embedding table; at least the tokenizer's vocabulary.
    pub vocab_rows: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Number of layers.
    pub layers: u64,
    /// Key and value elements per token over all layers: times the cache's element size gives bytes per token.
    pub kv_elements: u64,
}

/// A model's hyper-parameters, read and checked.
pub trait Definition: Send + Sync {
    /// What every model has.
    fn common(&self) -> Common;
    /// Every tensor of the file.
    fn tensors(&self) -> TensorTable;
    /// The rotation of positions, where the model has one: of layers that see all positions, where there are several.
    fn rope(&self) -> Option<&Rope> {
        None
    }
    /// Positions that a sequence may have at most, for a model that was opened for texts of `length`.
    fn reach(&self, length: u64) -> u64 {
        self.rope().map_or(u64::MAX, |rope| rope.reach(length))
    }
    /// Does it embed texts and nothing else: its rows see what comes after them, and it has no logits?
    fn is_encoder(&self) -> bool {
        false
    }
    /// The forward graph, from token ids to logits `[R, vocab_rows]`; that of an encoder, to hidden states `[R, width]`.
    fn build(&self, net: &mut Net<'_>) -> Value;
}

/// A registered architecture.
pub struct Architecture {
    /// What people call the models.
    pub name: &'static str,
    /// Values of `general.architecture` in GGUF.
    pub gguf: &'static [&'static str],
    /// Values of `architectures[0]` in a Hugging Face `config.json`.
    pub hf: &'static [&'static str],
    /// Reads and checks the hyper-parameters.
    pub read: fn(&Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError>,
}

/// All architectures.
pub const ARCHITECTURES: &[Architecture] = &[
    llama::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    smollm3::ARCHITECTURE,
    granite::ARCHITECTURE,
    olmo2::ARCHITECTURE,
    phi3::ARCHITECTURE,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gpt2::ARCHITECTURE,
    qwen_moe::QWEN2,
    qwen_moe::QWEN3,
    qwen3_next::ARCHITECTURE,
    qwen3_5::ARCHITECTURE,
    qwen3_5::MOE,
    olmoe::ARCHITECTURE,
    gpt_oss::ARCHITECTURE,
    bitnet::ARCHITECTURE,
    ttt::ARCHITECTURE,
    lact::ARCHITECTURE,
    bert::ARCHITECTURE,
    nomic_bert::ARCHITECTURE,
    modern_bert::ARCHITECTURE,
];

/// Reads and checks the hyper-parameters of the architecture that a file names.
///
/// # Errors
/// [`ConfigError`].
pub fn read(name: &str, h: &Hyper<'_>) -> Result<(&'static Architecture, Box<dyn Definition>), ConfigError> {
    let architecture = find(name, h.is_gguf())?;
    let own = architecture.gguf == bitnet::ARCHITECTURE.gguf;
    Ok((architecture, bit_linear::wrap(h, (architecture.read)(h)?, own)?))
}

/// The architecture that a file names, for GGUF (`gguf` true) or Hugging Face.
///
/// # Errors
/// [`ConfigError::UnknownArchitecture`] with the ones there are.
pub fn find(name: &str, gguf: bool) -> Result<&'static Architecture, ConfigError> {
    let names = |a: &'static Architecture| if gguf { a.gguf } else { a.hf };
    ARCHITECTURES.iter().find(|a| names(a).contains(&name)).ok_or_else(|| ConfigError::UnknownArchitecture {
        found: name.chars().take(64).collect(),
        supported: ARCHITECTURES.iter().flat_map(names).copied().collect::<Vec<_>>().join(", "),
    })
}
