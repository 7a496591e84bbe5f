//! SmolLM 3: Llama's block, and every fourth layer without rotation (Yang et al., arXiv 2501.18795).
//!
//! Bakouch et al., "SmolLM3: smol, multilingual, long-context reasoner", 2025.

use super::hyper::unsupported;
use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "SmolLM 3", gguf: &["smollm3"], hf: &["SmolLM3ForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    h.switch("use_sliding_window", false)?;
    let model = PreNorm { rotated, ..PreNorm::read(h, Pairs::Adjacent)? };
    check_layers(h, model.sizes.common.layers)?;
    Ok(Box::new(model))
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
