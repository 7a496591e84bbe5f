//! GPT-2: layer norms, learned positions, an MLP without a gate.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

use super::net::{Net, inputs};
use super::sizes::{Names, Pairs, Sizes};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture = Architecture { name: "GPT-2", gguf: &["gpt2"], hf: &["GPT2LMHeadModel"], read };

struct Gpt2 {
    sizes: Sizes,
    /// Are names in the folder those of the whole model, rather than of its body?
    prefixed: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let prefixed = h.has_tensor("", "transformer.wte.weight");
    let embedding = if prefixed { "transformer.wte.weight" } else { "wte.weight" };
    let eps = ("attention.layer_norm_epsilon", "layer_norm_epsilon");
    let sizes = Sizes::read_as(h, Pairs::Halves, &Names { embedding, eps, ffn: Some(&|d| 4 * d), ..Names::default() })?;
    h.same("attention.head_count_kv", sizes.attention.kv_heads.into(), sizes.attention.heads.into())?;
    h.same("attention.key_length", sizes.attention.rows().0, sizes.common.width)?;
    h.one_of("activation_function", &["gelu_new", "gelu_pytorch_tanh"])?;
    h.switch("scale_attn_weights", true)?;
    h.switch("scale_attn_by_inverse_layer_idx", false)?;
    h.switch("add_cross_attention", false)?;
    Ok(Box::new(Gpt2 { sizes, prefixed }))
}

impl Definition for Gpt2 {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn reach(&self, _: u64) -> u64 {
        self.sizes.common.context_length
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, ffn) = (&self.sizes, self.sizes.common.width, self.sizes.ffn);
        let top = |name: &str| format!("{}{name}", if self.prefixed { "transformer." } else { "" });
        let mut t = TensorTable::new(if self.prefixed { "transformer.h" } else { "h" });
        // The causal mask, which old exports have.
        t.ignored.extend([".attn.bias", ".attn.masked_bias"]);
        t.matrix("token_embd.weight", &top("wte.weight"), s.common.vocab_rows, d).gathered();
        t.matrix("position_embd.weight", &top("wpe.weight"), s.common.context_length, d).gathered();
        for i in 0..s.common.layers {
            t.layer(i);
            norm(&mut t, "attn_norm", "ln_1", d);
            let parts = |end: &str| ["attn_q", "attn_k", "attn_v"].map(|name| format!("{name}.{end}"));
            let (weights, biases) = (parts("weight"), parts("bias"));
            let (weights, biases) = (weights.each_ref().map(|n| (&**n, d)), biases.each_ref().map(|n| (&**n, d)));
            t.fused("attn_qkv.weight", "attn.c_attn.weight", &weights, Some(d), Change::Transposed);
            t.fused("attn_qkv.bias", "attn.c_attn.bias", &biases, None, Change::None);
            norm(&mut t, "ffn_norm", "ln_2", d);
            for (name, hf, out, inner) in [
                ("attn_output", "attn.c_proj", d, d),
                ("ffn_up", "mlp.c_fc", ffn, d),
                ("ffn_down", "mlp.c_proj", d, ffn),
            ] {
                let weight = format!("{hf}.weight");
                t.matrix(&format!("{name}.weight"), &weight, out, inner).changed(Change::Transposed);
                t.vector(&format!("{name}.bias"), &format!("{hf}.bias"), out);
            }
        }
        t.top();
        norm(&mut t, "output_norm", &top("ln_f"), d);
        t.head(s);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let (s, eps) = (&self.sizes, self.sizes.eps);
        let (table, positions) = (net.tensor("position_embd.weight"), net.input(inputs::POSITIONS));
        let (x, p) = (net.embed("token_embd.weight"), net.g.gather(table, positions));
        let mut x = net.g.add(x, p);
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.layer_norm(x, "attn_norm", eps);
            let a = net.self_attention(h, None, &s.attention);
            x = net.add_attention(i, s, x, a);
            let h = net.layer_norm(x, "ffn_norm", eps);
            let m = net.linear(h, "ffn_up");
            let m = net.g.activation(m, activation::GELU_TANH);
            x = net.add_linear(x, m, "ffn_down");
        }
        net.top();
        let h = net.layer_norm(x, "output_norm", eps);
        net.head(h, s)
    }
}

fn norm(t: &mut TensorTable, gguf: &str, hf: &str, d: u64) {
    t.vector(&format!("{gguf}.weight"), &format!("{hf}.weight"), d);
    t.vector(&format!("{gguf}.bias"), &format!("{hf}.bias"), d);
}
