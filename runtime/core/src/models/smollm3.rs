//! SmolLM 3: Llama's block, and every fourth layer without rotation (Yang et al., arXiv 2501.18795).
//!
//! Bakouch et al., "SmolLM3: smol, multilingual, long-context reasoner", 2025.

use super::blocks::Bias;
use super::hyper::unsupported;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "SmolLM 3", gguf: &["smollm3"], hf: &["SmolLM3ForCausalLM"], read };

struct SmolLm3 {
    sizes: Sizes,
    rope: Rope,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let sizes = Sizes::read(h, Pairs::Adjacent)?;
    h.one_of("hidden_act", &["silu"])?;
    h.switch("use_sliding_window", false)?;
    check_layers(h, sizes.common.layers)?;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(SmolLm3 { sizes, rope }))
}

/// Is layer `i` rotated?
fn rotated(i: u64) -> bool {
    !(i + 1).is_multiple_of(4)
}

/// GGUF has no key for another choice of layers.
fn check_layers(h: &Hyper<'_>, layers: u64) -> Result<(), ConfigError> {
    let Some(config) = h.folder() else { return Ok(()) };
    if let Some(stated) = config.array("no_rope_layers")? {
        // 1 where, in spite of the name, there is rotation.
        let usual = stated.iter().zip(0..).all(|(v, i)| v.as_u64() == Some(rotated(i).into()));
        h.same("length of no_rope_layers", stated.len() as u64, layers)?;
        return if usual {
            Ok(())
        } else {
            Err(unsupported("no_rope_layers", "another list", "0 for every fourth layer"))
        };
    }
    let interval = config.u64("no_rope_layer_interval")?;
    interval.map_or(Ok(()), |n| h.same("no_rope_layer_interval", n, 4))
}

impl Definition for SmolLm3 {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, mut t) = (&self.sizes, TensorTable::default());
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.pre_norms(s);
            t.qkv(s, Bias::Maybe);
            t.attention_output(s, Bias::Maybe);
            t.gated_mlp(s, Bias::Maybe);
        }
        t.ending(s);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let mut x = net.embed("token_embd.weight");
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let a = net.self_attention(h, rotated(i).then_some(rope), &s.attention);
            x = net.add_attention(i, s, x, a);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        net.logits(x, s)
    }
}
