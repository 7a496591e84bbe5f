//! LoRA adapters, GGUF and PEFT: what opens has factors that fit, and what our writers make opens.

use std::io;
use std::sync::Arc;

use serde_json::json;
use tern_formats::adapter::{self, Adapter, LowRankSpec, PEFT_CONFIG, PEFT_WEIGHTS};
use tern_formats::gguf::{Value, Writer};
use tern_formats::{BytesSource, DType, FormatError, Source, safetensors};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// What names, structures and a parsed configuration may take beside the files' bytes.
const CONSTANT: usize = 256 << 10;

/// One case.
pub fn case(data: &[u8]) {
    if let Some(file) = crate::raw(data) {
        return check(file.len(), false, || gguf(file.to_vec()));
    }
    let mut c = Choices::new(data);
    let valid = c.once_in(3);
    if c.below(2) == 0 {
        let file = gguf_file(&mut c, valid);
        check(file.len(), valid, || gguf(file.clone()));
    } else {
        let (config, weights) = peft_files(&mut c, valid);
        check(config.len() + weights.len(), valid, || peft(&config, &weights));
    }
}

fn check(len: usize, valid: bool, open: impl Fn() -> Result<Adapter, FormatError>) {
    match within(Budget::new(8 * len + CONSTANT, len), "opening an adapter", open) {
        Ok(adapter) => {
            for pair in &adapter.pairs {
                let (a, b) = (adapter.a(pair).expect("factor A"), adapter.b(pair).expect("factor B"));
                let experts = pair.experts.unwrap_or(1);
                assert_eq!(a.elements(), experts * pair.rank * pair.inputs, "{}", pair.base);
                assert_eq!(b.elements(), experts * pair.rank * pair.outputs, "{}", pair.base);
                assert!(pair.rank > 0 && pair.alpha.is_finite() && pair.scale.is_finite(), "{}", pair.base);
            }
        }
        Err(error) => {
            assert!(!valid, "refused a valid adapter: {error}");
            assert!(error.to_string().len() < 4 << 10, "an error of {} bytes", error.to_string().len());
        }
    }
}

fn gguf(file: Vec<u8>) -> Result<Adapter, FormatError> {
    adapter::open_gguf(Arc::new(BytesSource::new("fuzz.gguf", file)))
}

fn peft(config: &str, weights: &[u8]) -> Result<Adapter, FormatError> {
    adapter::open_peft(&|name| {
        let bytes = match name {
            PEFT_CONFIG => config.as_bytes(),
            PEFT_WEIGHTS => weights,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(BytesSource::new(name, bytes)) as Box<dyn Source>)
    })
}

/// Pairs with different names and one alpha.
fn specs(c: &mut Choices<'_>, base: impl Fn(usize) -> String) -> Vec<LowRankSpec> {
    let alpha = 1.0 + c.below(64) as f32;
    let mut dim = |most| 1 + c.below(most) as u64;
    (0..dim(4) as usize)
        .map(|i| LowRankSpec {
            base: base(i),
            embedding: false,
            rank: dim(4),
            inputs: dim(9),
            outputs: dim(9),
            alpha,
            dtype: DType::F32,
        })
        .collect()
}

fn gguf_file(c: &mut Choices<'_>, valid: bool) -> Vec<u8> {
    let specs = specs(c, |i| format!("blk.{i}.attn_q.weight"));
    let mut w =
        if valid { adapter::gguf_writer("fuzz", "llama", &specs).expect("a valid adapter") } else { broken(c, &specs) };
    w.key("test.more", Value::U8(c.number())).expect("a key of its own");
    // Wrong names may be the same, which the writer refuses.
    let mut body = match w.begin(Vec::new()) {
        Ok(body) => body,
        Err(_) if !valid => return Vec::new(),
        Err(error) => panic!("a valid adapter: {error}"),
    };
    let data: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&vec![0; data as usize]).expect("a vector takes all");
    body.finish().expect("all tensors are there")
}

/// Keys and tensors of which some are wrong.
fn broken(c: &mut Choices<'_>, specs: &[LowRankSpec]) -> Writer {
    let mut w = Writer::new("fuzz");
    let alpha = f32::from_bits(c.number());
    let keys = [
        ("general.architecture", Value::from("llama")),
        ("general.type", c.word(&["adapter", "adapter", "model"]).into()),
        ("adapter.type", c.word(&["lora", "lora", "control"]).into()),
        ("adapter.lora.alpha", if c.once_in(8) { Value::U32(1) } else { Value::F32(alpha) }),
    ];
    for (key, value) in keys {
        if !c.once_in(16) {
            w.key(key, value).expect("a key of its own");
        }
    }
    for (i, s) in specs.iter().enumerate() {
        let base = if c.once_in(4) && i == 0 { "token_embd.weight" } else { &s.base };
        for (suffix, shape) in [(".lora_a", vec![s.rank, s.inputs]), (".lora_b", vec![s.outputs, s.rank])] {
            let suffix = if c.once_in(8) { c.word(&[".lora_c", "", ".bias", "_norm.weight"]) } else { suffix };
            let shape = match c.below(6) {
                1 => shape.iter().rev().copied().collect(),
                2 => [vec![2], shape].concat(),
                3 => vec![1 + c.below(9) as u64],
                _ => shape,
            };
            let dtype = *c.pick(&[DType::F32, DType::F32, DType::F16, DType::I32]);
            w.tensor(format!("{base}{suffix}{}", if c.once_in(16) { "x" } else { "" }), dtype, shape)
                .expect("a tensor");
        }
    }
    w
}

fn peft_files(c: &mut Choices<'_>, valid: bool) -> (String, Vec<u8>) {
    let specs = specs(c, |i| format!("model.layers.{i}.q_proj.weight"));
    let mut config = adapter::peft_config("base", &specs).expect("a valid adapter");
    let w: safetensors::Writer = adapter::peft_writer("fuzz", &specs).expect("a valid adapter");
    let mut body = w.begin(Vec::new()).expect("names of their own");
    let data: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&vec![0; data as usize]).expect("a vector takes all");
    let mut weights = body.finish().expect("all tensors are there");
    if !valid {
        let mut value: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        let key = c.word(&[
            "r",
            "lora_alpha",
            "peft_type",
            "rank_pattern",
            "alpha_pattern",
            "bias",
            "use_rslora",
            "use_dora",
        ]);
        let text = c.text(8);
        let wrong =
            [json!(null), json!(-1), json!(1e39), json!(text), json!([text]), json!({ text.clone(): 3 }), json!(true)];
        value[key] = c.pick(&wrong).clone();
        config = value.to_string();
        if c.once_in(2) {
            let at = c.below(weights.len());
            weights[at] = c.number();
        }
    }
    (config, weights)
}
