//! Gemma 2 and 3 (text): norms before and after both blocks, most layers with a window.
//!
//! Gemma team, arXiv 2408.00118 (soft caps on scores and logits) and arXiv 2503.19786 (norms on query and key heads, and a
//! rotation of its own for layers with a window).

use super::blocks::Bias;
use super::net::{AttentionShape, Net};
use super::rope::{Rope, Scaling};
use super::sizes::{Pairs, Sizes, full_every};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const GEMMA2: Architecture =
    Architecture { name: "Gemma 2", gguf: &["gemma2"], hf: &["Gemma2ForCausalLM"], read: read2 };
pub const GEMMA3: Architecture =
    Architecture { name: "Gemma 3 (text)", gguf: &["gemma3"], hf: &["Gemma3ForCausalLM"], read: read3 };

struct Gemma {
    sizes: Sizes,
    /// Of layers that see all positions.
    rope: Rope,
    /// Of layers with a window, where it is another.
    local: Option<Rope>,
    /// Of so many layers the last one sees all positions.
    full_every: u64,
    /// Are there norms on query and key heads?
    head_norms: bool,
    /// Soft cap of logits, 0 for none.
    logit_cap: f32,
}

fn read2(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut gemma = read(h, 2, 46, 4096)?;
    gemma.sizes.attention.softcap = cap(h, "attn_logit_softcapping", 50.0)?;
    gemma.logit_cap = cap(h, "final_logit_softcapping", 30.0)?;
    Ok(Box::new(gemma))
}

fn read3(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut gemma = read(h, 6, 62, 0)?;
    h.switch("use_bidirectional_attention", false)?;
    h.absent("attn_logit_softcapping")?;
    gemma.logit_cap = cap(h, "final_logit_softcapping", 0.0)?;
    gemma.head_norms = true;
    let paths = ["rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"];
    let base = h.float("rope.freq_base_swa", &paths, 1.0..=1e12, Some(10000.0))?;
    h.one_of("rope_parameters.sliding_attention.rope_type", &["default"])?;
    gemma.local = Some(Rope { base, n_rot: gemma.rope.n_rot, scaling: Scaling::None });
    Ok(Box::new(gemma))
}

/// What both have. `largest`: layers of the size whose GGUF files mean another factor on scores without saying so.
fn read(h: &Hyper<'_>, full: u64, largest: u64, window: u64) -> Result<Gemma, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Halves)?;
    for key in ["hidden_activation", "hidden_act"] {
        // The exact GELU that some configurations name was never meant, says their own code.
        h.one_of(key, &["gelu_pytorch_tanh", "gelu"])?;
    }
    let (width, heads, layers) = (sizes.common.width, sizes.attention.heads, sizes.common.layers);
    let of_size = if layers == largest { width as f64 / f64::from(heads) } else { sizes.attention.head_dim.into() };
    let divisor = h.folder_float(&["query_pre_attn_scalar".to_owned()])?.unwrap_or(of_size);
    sizes.attention.scale = h.float("attention.scale", &[], 1e-6..=1e3, Some(divisor.powf(-0.5)))? as f32;
    let window =
        h.int("attention.sliding_window", &["sliding_window"], 1..=1 << 30, Some(window).filter(|&w| w > 0))?;
    sizes.attention.window = window as u32;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "full_attention")?;
    let full_every = full_every(h, layers, full)?;
    Ok(Gemma { sizes, rope, local: None, full_every, head_norms: false, logit_cap: 0.0 })
}

/// A soft cap: a folder that says null has none, one that says nothing has the `usual` one.
fn cap(h: &Hyper<'_>, key: &str, usual: f64) -> Result<f32, ConfigError> {
    let stated = h.folder().is_some_and(|c| c.value().get(key).is_some());
    Ok(h.float(key, &[key], 0.0..=1e6, Some(if stated { 0.0 } else { usual }))? as f32)
}

impl Definition for Gemma {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, mut t) = (&self.sizes, self.sizes.common.width, TensorTable::default());
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.vector("attn_norm.weight", "input_layernorm.weight", d);
            t.qkv(s, Bias::Never);
            if self.head_norms {
                t.vector("attn_q_norm.weight", "self_attn.q_norm.weight", s.attention.head_dim.into());
                t.vector("attn_k_norm.weight", "self_attn.k_norm.weight", s.attention.head_dim.into());
            }
            t.attention_output(s, Bias::Never);
            t.vector("post_attention_norm.weight", "post_attention_layernorm.weight", d);
            t.vector("ffn_norm.weight", "pre_feedforward_layernorm.weight", d);
            t.gated_mlp(s, Bias::Never);
            t.vector("post_ffw_norm.weight", "post_feedforward_layernorm.weight", d);
        }
        t.ending(s);
        // All vectors of the model itself are norms.
        t.specs.iter_mut().filter(|v| v.shape.len() == 1 && !v.hf.is_empty()).for_each(|v| v.change = Change::PlusOne);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let local = self.local.as_ref().map_or(rope, |local| net.rope_named(local, "rope_inv_freq_local"));
        let x = net.embed("token_embd.weight");
        let mut x = net.g.scale(x, (s.common.width as f64).sqrt() as f32);
        for i in 0..s.common.layers {
            net.layer(i);
            let full = (i + 1).is_multiple_of(self.full_every);
            let window = if full { 0 } else { s.attention.window };
            let (rope, shape) = (if full { rope } else { local }, AttentionShape { window, ..s.attention });
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let a = match self.head_norms {
                true => net.normed_attention(h, Some(rope), &shape, s.eps),
                false => net.self_attention(h, Some(rope), &shape),
            };
            let (r, a) = net.wanted_rows(i, s, x, a);
            x = net.add_normed(r, a, "attn_output", "post_attention_norm", s.eps);
            let h = net.rms_norm(x, "ffn_norm", s.eps);
            let m = net.gated(h, activation::GELU_TANH);
            x = net.add_normed(x, m, "ffn_down", "post_ffw_norm", s.eps);
        }
        let logits = net.logits(x, s);
        net.soft_cap(logits, self.logit_cap)
    }
}
