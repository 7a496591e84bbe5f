//! BitLinear: matrices of weights -1, 0 and 1 times one factor, whose input is rounded to 8 bits per token.
//!
//! Ma et al., arXiv 2402.17764. Any architecture may have such matrices in its layers: a folder says so with a
//! `quantization_config` whose `quant_method` is `bitnet`, a GGUF file with the key `bit_linear.except`, which names the layers'
//! matrices that are ordinary ones, separated by commas. In GGUF files of BitNet's own architectures all of them are BitLinear
//! unless the key says otherwise.

use super::hyper::unsupported;
use super::{Common, ConfigError, Definition, Hyper, Kind, Net, Rope, TensorSpec, TensorTable};
use crate::graph::Value;
use std::collections::HashMap;
use tern_quant::DType;
use tern_quant::ternary::bitnet::Convention;

/// How a file has the matrix of a BitLinear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitLinear {
    /// As it is, with or without a factor beside it.
    Stored,
    /// As packed codes, with a `weight_scale` beside it.
    Packed(Convention),
    /// As the numbers that training adjusts: rounded to -1, 0 and 1 times their mean magnitude when the model is opened.
    Master,
}

impl BitLinear {
    /// The factor's name, for a matrix called `name` in its file.
    pub fn factor_name(self, name: &str) -> Option<String> {
        let stem = name.strip_suffix("weight")?;
        match self {
            Self::Stored => Some(format!("{stem}scale")),
            Self::Packed(_) => Some(format!("{stem}weight_scale")),
            Self::Master => None,
        }
    }
}

/// The key, without the architecture's name.
const KEY: &str = "bit_linear.except";
/// Its value for a model without such matrices.
const ALL: &str = "*";

/// A model with such matrices.
struct BitLinears {
    model: Box<dyn Definition>,
    /// By GGUF name.
    matrices: HashMap<String, BitLinear>,
}

/// `model` with the BitLinears that its files speak of. `own`: is the architecture BitNet's?
///
/// # Errors
/// [`ConfigError`].
pub fn wrap(h: &Hyper<'_>, model: Box<dyn Definition>, own: bool) -> Result<Box<dyn Definition>, ConfigError> {
    let table = model.tensors();
    let layers: Vec<&TensorSpec> = table.specs.iter().filter(|s| in_layer(s)).collect();
    let Some(found) = found(h, &layers, own)? else { return Ok(model) };
    let ordinary = layers.iter().filter(|s| !found.contains_key(&s.gguf)).map(|s| stem(&s.gguf));
    let ordinary: Vec<&str> = ordinary.collect();
    let except = if found.is_empty() { ALL.to_owned() } else { ordinary.join(",") };
    let except = h.text_or(KEY, &[], &except)?;
    if h.is_gguf()
        && let Some(unknown) =
            except.split(',').find(|n| !["", ALL].contains(n) && !layers.iter().any(|s| stem(&s.gguf) == *n))
    {
        return Err(unsupported(KEY, unknown, "names of the layers' matrices"));
    }
    let excepted = |s: &TensorSpec| except == ALL || except.split(',').any(|n| n == stem(&s.gguf));
    let matrices: HashMap<String, BitLinear> =
        layers.iter().filter(|s| !excepted(s)).filter_map(|s| Some((s.gguf.clone(), *found.get(&s.gguf)?))).collect();
    let packed = |s: &&&TensorSpec| s.part.is_some() && matrices.get(&s.gguf).is_some_and(|b| *b != BitLinear::Stored);
    if let Some(part) = layers.iter().find(packed) {
        let supported = "matrices that are stored one by one";
        return Err(unsupported("quantization_config of fused matrices", part.name_in(false), supported));
    }
    Ok(Box::new(BitLinears { model, matrices }))
}

fn in_layer(s: &TensorSpec) -> bool {
    matches!(s.kind, Kind::Weight(_)) && s.shape.len() == 2 && s.gguf.starts_with("blk.")
}

fn stem(gguf: &str) -> &str {
    gguf.strip_suffix(".weight").unwrap_or(gguf)
}

/// Which of the matrices are BitLinear as far as the format says; `None` for a model without any that is not BitNet's.
fn found(h: &Hyper<'_>, layers: &[&TensorSpec], own: bool) -> Result<Option<HashMap<String, BitLinear>>, ConfigError> {
    let Some(config) = h.folder() else {
        if !own && h.text_or(KEY, &[], ALL)? == ALL {
            return Ok(None);
        }
        return Ok(Some(layers.iter().map(|s| (s.gguf.clone(), BitLinear::Stored)).collect()));
    };
    let text = |key: &str, default: &'static str| -> Result<String, ConfigError> {
        let path = format!("quantization_config.{key}");
        Ok(config.str(&path)?.unwrap_or(default).to_owned())
    };
    if text("quant_method", "")? != "bitnet" {
        return Ok(own.then(HashMap::new));
    }
    h.switch("quantization_config.use_rms_norm", false)?;
    let class = text("linear_class", "bitlinear")?;
    let convention = match class.as_str() {
        "bitlinear" => Convention::Divide,
        "autobitlinear" => Convention::Multiply,
        other => return Err(unsupported("quantization_config.linear_class", other, "bitlinear, autobitlinear")),
    };
    let mode = text("quantization_mode", "offline")?;
    let online = match mode.as_str() {
        "online" if convention == Convention::Multiply => true,
        "offline" => false,
        other => {
            let supported = "offline, and online of autobitlinear";
            return Err(unsupported("quantization_config.quantization_mode", other, supported));
        }
    };
    let excluded = config.strings("quantization_config.modules_to_not_convert")?.unwrap_or_default();
    if let Some(pattern) =
        excluded.iter().find(|e| e.contains(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)))
    {
        return Err(unsupported("quantization_config.modules_to_not_convert", pattern, "names of modules"));
    }
    let how = |s: &&TensorSpec| {
        let name = s.name_in(false);
        if online {
            return (!excluded.iter().any(|e| is_of(name.strip_suffix(".weight").unwrap_or(name), e)))
                .then_some(BitLinear::Master);
        }
        (h.dtype_of(name) == Some(DType::U8)).then_some(BitLinear::Packed(convention))
    };
    Ok(Some(layers.iter().filter_map(|s| Some((s.gguf.clone(), how(s)?))).collect()))
}

/// Does an entry of `modules_to_not_convert` mean this module: its name, one that it lies in, or the end of its name?
fn is_of(module: &str, entry: &str) -> bool {
    module.ends_with(entry)
        || module.strip_prefix(entry).is_some_and(|rest| rest.starts_with('.') || entry.ends_with('.'))
}

impl Definition for BitLinears {
    fn common(&self) -> Common {
        self.model.common()
    }

    fn is_encoder(&self) -> bool {
        self.model.is_encoder()
    }

    fn rope(&self) -> Option<&Rope> {
        self.model.rope()
    }

    fn reach(&self, length: u64) -> u64 {
        self.model.reach(length)
    }

    fn tensors(&self) -> TensorTable {
        let mut table = self.model.tensors();
        for spec in &mut table.specs {
            spec.bit_linear = self.matrices.get(&spec.gguf).copied();
        }
        table
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        self.model.build(net)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_mean_modules() {
        let module = "model.layers.1.self_attn.q_proj";
        for entry in [module, "q_proj", "model.layers.1", "self_attn.q_proj", "model", "model."] {
            assert!(is_of(module, entry), "{entry}");
        }
        for entry in ["model.layers", "layers.1", "lm_head", "k_proj", "model.layers.1.self"] {
            assert_eq!(is_of(module, entry), entry == "model.layers", "{entry}");
        }
    }
}
