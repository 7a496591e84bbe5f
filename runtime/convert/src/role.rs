//! What a tensor is, by its GGUF name.

/// What a tensor does in the model, as far as it matters for how many bits it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Logits are made with it: the head, or the embedding where it serves as head.
    Head,
    /// Rows by token id.
    Embedding,
    /// Query projection.
    AttnQ,
    /// Key projection.
    AttnK,
    /// Value projection, which is small and sensitive.
    AttnV,
    /// Query, key and value in one.
    AttnQkv,
    /// After attention.
    AttnOutput,
    /// First matrices of the feed-forward block.
    FfnUp,
    /// Its last matrix, which sees the largest activations.
    FfnDown,
    /// Any other matrix.
    Other,
    /// Too small or too sensitive to be quantized: vectors, routers, convolutions.
    Kept,
}

/// Parts of names of matrices that stay as they are, as in llama.cpp's quantizer.
const KEPT: &[&str] = &[
    "_norm",
    "ffn_gate_inp",
    "ffn_gate_tid2eid",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv",
    "attn_rel_b",
    "time_mix_",
    ".position_embd",
    "sam.",
    "indexer.proj",
];

impl Role {
    /// The role of the tensor `name` with so many dimensions. `tied`: the file has no head of its own.
    pub fn of(name: &str, dimensions: usize, tied: bool) -> Self {
        if dimensions < 2 || !name.ends_with("weight") || KEPT.iter().any(|part| name.contains(part)) {
            return Self::Kept;
        }
        match name {
            "output.weight" => return Self::Head,
            "token_embd.weight" => return if tied { Self::Head } else { Self::Embedding },
            "per_layer_token_embd.weight" => return Self::Embedding,
            _ => {}
        }
        let has = |part: &str| name.contains(part);
        if has("attn_qkv") {
            Self::AttnQkv
        } else if has("attn_v.") || has("attn_kv_b") {
            Self::AttnV
        } else if has("attn_k.") {
            Self::AttnK
        } else if has("attn_q.") {
            Self::AttnQ
        } else if has("attn_output") {
            Self::AttnOutput
        } else if has("ffn_down") {
            Self::FfnDown
        } else if has("ffn_gate") || has("ffn_up") {
            Self::FfnUp
        } else {
            Self::Other
        }
    }
}

/// The layer that a tensor belongs to.
pub fn layer(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles() {
        let role = |name| Role::of(name, 2, false);
        assert_eq!(role("output.weight"), Role::Head);
        assert_eq!(role("token_embd.weight"), Role::Embedding);
        assert_eq!(Role::of("token_embd.weight", 2, true), Role::Head);
        assert_eq!(role("blk.3.attn_v.weight"), Role::AttnV);
        assert_eq!(role("blk.3.attn_output.weight"), Role::AttnOutput);
        assert_eq!(role("blk.3.ffn_down_exps.weight"), Role::FfnDown);
        assert_eq!(role("blk.3.ffn_gate_inp.weight"), Role::Kept);
        assert_eq!(role("blk.3.attn_q_norm.weight"), Role::Kept);
        assert_eq!(Role::of("blk.3.ffn_down.bias", 1, false), Role::Kept);
        assert_eq!((layer("blk.12.attn_v.weight"), layer("output.weight"), layer("blk.x.y")), (Some(12), None, None));
    }
}
