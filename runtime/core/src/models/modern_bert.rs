//! ModernBERT: an encoder with norms before its blocks, rotated positions, a gated feed-forward block, and attention to neighbours in
//! all layers but every third.
//!
//! Warner et al., "Smarter, Better, Faster, Longer", arXiv 2412.13663.

use super::encoder::Encoder;
use super::hyper::unsupported;
use super::net::{AttentionShape, Net};
use super::rope::{Rope, Scaling};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{activation, rope_layout};

pub const ARCHITECTURE: Architecture = Architecture {
    name: "ModernBERT",
    gguf: &["modern-bert"],
    hf: &["ModernBertModel", "ModernBertForMaskedLM"],
    read,
};

struct Modern {
    of: Encoder,
    /// Of layers that see everything, and of those that see neighbours.
    ropes: [Rope; 2],
    /// Of so many layers the first one sees everything.
    full_every: u64,
    /// Is the folder one of a model with a head?
    prefixed: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    h.one_of("hidden_activation", &["gelu"])?;
    if h.text_or("hidden_act", &[], "gelu")? != "gelu" {
        return Err(unsupported("hidden_act", "another", "gelu"));
    }
    for switch in ["norm_bias", "attention_bias", "mlp_bias"] {
        h.switch(switch, false)?;
    }
    h.absent("rope_scaling")?;
    let prefixed = h.has_tensor("", "model.embeddings.tok_embeddings.weight");
    let embedding =
        if prefixed { "model.embeddings.tok_embeddings.weight" } else { "embeddings.tok_embeddings.weight" };
    let mut of = Encoder::read(h, embedding, 0)?;
    of.attention.rope_layout = rope_layout::HALVES;
    // So many neighbours, half of them on each side.
    let window = h.int("attention.sliding_window", &["local_attention"], 1..=1 << 30, Some(128))?;
    of.attention.window = (window / 2 + 1) as u32;
    let base = |key: &str, kind: &str, older: &str, usual: f64| {
        h.one_of(&format!("rope_parameters.{kind}.rope_type"), &["default"])?;
        let base = h.float(key, &[&format!("rope_parameters.{kind}.rope_theta"), older], 1.0..=1e12, Some(usual))?;
        Ok::<_, ConfigError>(Rope { base, n_rot: of.attention.n_rot.into(), scaling: Scaling::None })
    };
    let ropes = [
        base("rope.freq_base", "full_attention", "global_rope_theta", 160_000.0)?,
        base("rope.freq_base_swa", "sliding_attention", "local_rope_theta", 10_000.0)?,
    ];
    let full_every = full_every(h, of.common.layers)?;
    Ok(Box::new(Modern { of, ropes, full_every, prefixed }))
}

/// Of so many layers the first one sees everything.
fn full_every(h: &Hyper<'_>, layers: u64) -> Result<u64, ConfigError> {
    let (key, older) = ("attention.sliding_window_pattern", "global_attn_every_n_layers");
    let stated = match h.folder() {
        Some(config) => config.strings("layer_types")?,
        None => None,
    };
    let Some(types) = stated else { return h.int(key, &[older], 1..=1024, Some(3)) };
    h.same("length of layer_types", types.len() as u64, layers)?;
    let fits = |n: &u64| types.iter().zip(0..).all(|(t, i)| (t == "full_attention") == (i % n == 0));
    let found = std::iter::once(3).chain(1..=layers).find(fits);
    let irregular = || {
        unsupported("layer_types", "an irregular list", "every so many layers one of full_attention, the first one too")
    };
    h.int(key, &[], 1..=1024, Some(found.ok_or_else(irregular)?))
}

impl Definition for Modern {
    fn common(&self) -> Common {
        self.of.common.clone()
    }

    fn is_encoder(&self) -> bool {
        true
    }

    fn rope(&self) -> Option<&Rope> {
        self.ropes.first()
    }

    fn tensors(&self) -> TensorTable {
        let (common, ffn) = (&self.of.common, self.of.ffn);
        let d = common.width;
        let top = |name: &str| format!("{}{name}", if self.prefixed { "model." } else { "" });
        let mut t = TensorTable::new(if self.prefixed { "model.layers" } else { "layers" });
        // What follows the encoder in checkpoints that were trained to guess words.
        t.ignored_parts.extend(["head.".into(), "decoder.".into()]);
        t.matrix("token_embd.weight", &top("embeddings.tok_embeddings.weight"), common.vocab_rows, d).gathered();
        t.vector("token_embd_norm.weight", &top("embeddings.norm.weight"), d);
        for i in 0..common.layers {
            t.layer(i);
            if i > 0 {
                t.vector("attn_norm.weight", "attn_norm.weight", d);
            }
            let parts = [("attn_q.weight", d), ("attn_k.weight", d), ("attn_v.weight", d)];
            t.fused("attn_qkv.weight", "attn.Wqkv.weight", &parts, Some(d), Change::None);
            t.matrix("attn_output.weight", "attn.Wo.weight", d, d);
            t.vector("ffn_norm.weight", "mlp_norm.weight", d);
            // The graph calls what is activated the gate.
            let parts = [("ffn_gate.weight", ffn), ("ffn_up.weight", ffn)];
            t.fused("ffn_up.weight", "mlp.Wi.weight", &parts, Some(d), Change::None);
            t.matrix("ffn_down.weight", "mlp.Wo.weight", d, ffn);
        }
        t.top();
        t.vector("output_norm.weight", &top("final_norm.weight"), d);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let (layers, eps) = (self.of.common.layers, self.of.eps);
        let [full, near] = &self.ropes;
        let (full, near) = (net.rope(full), net.rope_named(near, "rope_inv_freq_local"));
        let normed = |net: &mut Net<'_>, x: Value, name: &str| {
            let w = net.tensor(name);
            net.g.layer_norm(x, w, None, eps)
        };
        let x = net.embed("token_embd.weight");
        let mut x = normed(net, x, "token_embd_norm.weight");
        for i in 0..layers {
            net.layer(i);
            let (rope, window) = if i % self.full_every == 0 { (full, 0) } else { (near, self.of.attention.window) };
            let h = if i > 0 { normed(net, x, "attn_norm.weight") } else { x };
            let a = net.self_attention(h, Some(rope), &AttentionShape { window, ..self.of.attention });
            // Nothing mixes rows after it.
            let (wanted, a) = if i + 1 == layers { (net.output_rows(x), net.output_rows(a)) } else { (x, a) };
            x = net.add_linear(wanted, a, "attn_output");
            let h = normed(net, x, "ffn_norm.weight");
            let m = net.gated(h, activation::GELU);
            x = net.add_linear(x, m, "ffn_down");
        }
        net.top();
        normed(net, x, "output_norm.weight")
    }
}
