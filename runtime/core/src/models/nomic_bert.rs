//! Nomic BERT: an encoder like BERT, with rotated positions, a gated feed-forward block and no biases but those of norms.
//!
//! Nussbaum et al., "Nomic Embed", arXiv 2402.01613. Its folders have the names of its own code or those of transformers.

use super::encoder::{Encoder, kinds};
use super::hyper::unsupported;
use super::net::{Net, inputs};
use super::rope::{Rope, Scaling};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{activation, rope_layout};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Nomic BERT", gguf: &["nomic-bert"], hf: &["NomicBertModel"], read };

struct Nomic {
    of: Encoder,
    kinds: u64,
    rope: Rope,
    /// Are names in the folder those of the model's own code?
    own: bool,
    /// Are queries, keys and values one matrix?
    fused: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    h.one_of("hidden_act", &["silu"])?;
    h.one_of("activation_function", &["swiglu"])?;
    for switch in [
        "prenorm",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "use_rms_norm",
        "rotary_emb_interleaved",
        "parallel_block",
    ] {
        h.switch(switch, false)?;
    }
    for setting in ["rotary_emb_scale_base", "rotary_scaling_factor", "rope_scaling"] {
        h.absent(setting)?;
    }
    for (setting, supported) in [("moe_every_n_layers", 0.0), ("rotary_emb_fraction", 1.0)] {
        let stated = h.folder_float(&[setting.to_owned()])?.unwrap_or(supported);
        if stated != supported {
            return Err(unsupported(setting, &stated.to_string(), &supported.to_string()));
        }
    }
    h.one_of("rope_parameters.rope_type", &["default"])?;
    let mut of = Encoder::read(h, "embeddings.word_embeddings.weight", 0)?;
    if let Some(stated) = h.folder_float(&["head_dim".to_owned()])? {
        h.same("head_dim", stated as u64, of.attention.head_dim.into())?;
    }
    of.attention.rope_layout = rope_layout::HALVES;
    let paths = ["rope_parameters.rope_theta", "rope_theta", "rotary_emb_base"];
    let base = h.float("rope.freq_base", &paths, 1.0..=1e12, Some(1000.0))?;
    let rope = Rope { base, n_rot: of.attention.n_rot.into(), scaling: Scaling::None };
    let own = h.has_tensor("", "emb_ln.weight");
    let fused = own || h.has_tensor("blk.0.attn_qkv.weight", "");
    Ok(Box::new(Nomic { of, kinds: kinds(h)?, rope, own, fused }))
}

impl Definition for Nomic {
    fn common(&self) -> Common {
        self.of.common.clone()
    }

    fn is_encoder(&self) -> bool {
        true
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (common, ffn) = (&self.of.common, self.of.ffn);
        let d = common.width;
        let mut t = TensorTable::new(if self.own { "encoder.layers" } else { "layers" });
        t.ignored.extend(["embeddings.position_ids", "embeddings.token_type_ids"]);
        t.ignored_parts.push("pooler.".into());
        t.matrix("token_embd.weight", "embeddings.word_embeddings.weight", common.vocab_rows, d).gathered();
        t.matrix("token_types.weight", "embeddings.token_type_embeddings.weight", self.kinds, d).gathered();
        let both = |t: &mut TensorTable, gguf: &str, hf: &str| {
            t.vector(&format!("{gguf}.weight"), &format!("{hf}.weight"), d);
            t.vector(&format!("{gguf}.bias"), &format!("{hf}.bias"), d);
        };
        // The names of its own code, or of transformers.
        let named = |own: &'static str, other: &'static str| if self.own { own } else { other };
        both(&mut t, "token_embd_norm", named("emb_ln", "embeddings.LayerNorm"));
        for i in 0..common.layers {
            t.layer(i);
            let parts = ["q", "k", "v"].map(|n| format!("attn_{n}.weight"));
            if self.fused {
                let parts = parts.each_ref().map(|name| (name.as_str(), d));
                t.fused("attn_qkv.weight", "attn.Wqkv.weight", &parts, Some(d), Change::None);
            } else {
                for (name, hf) in parts.iter().zip(["q", "k", "v"]) {
                    t.matrix(name, &format!("self_attn.{hf}_proj.weight"), d, d);
                }
            }
            t.matrix("attn_output.weight", named("attn.out_proj.weight", "self_attn.o_proj.weight"), d, d);
            both(&mut t, "attn_output_norm", named("norm1", "post_attention_layernorm"));
            t.matrix("ffn_gate.weight", named("mlp.fc12.weight", "mlp.gate_proj.weight"), ffn, d);
            t.matrix("ffn_up.weight", named("mlp.fc11.weight", "mlp.up_proj.weight"), ffn, d);
            t.matrix("ffn_down.weight", named("mlp.fc2.weight", "mlp.down_proj.weight"), d, ffn);
            both(&mut t, "layer_output_norm", named("norm2", "post_mlp_layernorm"));
        }
        t.top();
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let (layers, eps) = (self.of.common.layers, self.of.eps);
        let rope = net.rope(&self.rope);
        let x = net.embed("token_embd.weight");
        let (table, kinds) = (net.tensor("token_types.weight"), net.input(inputs::TOKEN_TYPES));
        let kinds = net.g.gather(table, kinds);
        let x = net.g.add(x, kinds);
        let mut x = net.layer_norm(x, "token_embd_norm", eps);
        for i in 0..layers {
            net.layer(i);
            let a = net.self_attention(x, Some(rope), &self.of.attention);
            // Nothing mixes rows after it.
            let (wanted, a) = if i + 1 == layers { (net.output_rows(x), net.output_rows(a)) } else { (x, a) };
            let y = net.add_linear(wanted, a, "attn_output");
            x = net.layer_norm(y, "attn_output_norm", eps);
            let m = net.gated(x, activation::SILU);
            let y = net.add_linear(x, m, "ffn_down");
            x = net.layer_norm(y, "layer_output_norm", eps);
        }
        net.top();
        x
    }
}
