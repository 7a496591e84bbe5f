//! LoRA adapters in GGUF and in PEFT folders: written and read again, and what must be refused.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use common::{RawGguf, kv, raw_safetensors, source, string, tensor};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tern_formats::adapter::{
    Adapter, LowRankSpec, PEFT_CONFIG, PEFT_WEIGHTS, gguf_writer, open_gguf, open_peft, open_peft_dir, peft_config,
    peft_writer,
};
use tern_formats::{BytesSource, DType, FormatError, Problem, Source};

fn spec(base: &str, rank: u64, inputs: u64, outputs: u64) -> LowRankSpec {
    let embedding = base.contains("embd") || base.contains("embed");
    LowRankSpec { base: base.into(), embedding, rank, inputs, outputs, alpha: 8.0, dtype: DType::F32 }
}

fn read(bytes: Vec<u8>) -> Result<Adapter, FormatError> {
    open_gguf(Arc::new(source(bytes)))
}

fn read_peft(config: &str, weights: Vec<u8>) -> Result<Adapter, FormatError> {
    let files = HashMap::from([(PEFT_CONFIG, config.as_bytes().to_vec()), (PEFT_WEIGHTS, weights)]);
    open_peft(&|name| {
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())) as Box<dyn Source>)
    })
}

#[test]
fn gguf_written_and_read_again() {
    let specs = [spec("blk.0.attn_q.weight", 4, 16, 24), spec("token_embd.weight", 2, 50, 16)];
    let mut body = gguf_writer("out.gguf", "llama", &specs).unwrap().begin(Vec::new()).unwrap();
    let total: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&(0..total).map(|i| i as u8).collect::<Vec<_>>()).unwrap();
    let adapter = read(body.finish().unwrap()).unwrap();
    assert_eq!((adapter.architecture.as_deref(), adapter.pairs.len()), (Some("llama"), 2));
    for (pair, spec) in adapter.pairs.iter().zip(&specs) {
        assert_eq!((&pair.base, pair.embedding, pair.a_transposed), (&spec.base, spec.embedding, spec.embedding));
        assert_eq!((pair.rank, pair.inputs, pair.outputs), (spec.rank, spec.inputs, spec.outputs));
        assert_eq!((pair.alpha, pair.scale), (8.0, 8.0 / spec.rank as f32));
    }
    let a = adapter.a(&adapter.pairs[0]).unwrap();
    assert_eq!((&*a.shape, &*adapter.b(&adapter.pairs[0]).unwrap().shape), (&[4, 16][..], &[24, 4][..]));
    assert_eq!(adapter.checkpoint.read(a).unwrap()[..3], [0, 1, 2]);
}

#[test]
fn peft_written_and_read_again() {
    let mut specs = [
        spec("model.layers.0.self_attn.q_proj.weight", 4, 16, 24),
        spec("model.layers.1.mlp.up_proj.weight", 2, 16, 32),
        spec("model.embed_tokens.weight", 4, 50, 16),
    ];
    specs[1].alpha = 0.5;
    let mut body = peft_writer("out", &specs).unwrap().begin(Vec::new()).unwrap();
    let total: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&vec![1; total as usize]).unwrap();
    let config = peft_config("org/base", &specs).unwrap();
    assert!(
        config.contains("\"lora_alpha\": 8,") && config.contains("\"target_modules\": [\n    \"embed_tokens\","),
        "{config}"
    );
    let adapter = read_peft(&config, body.finish().unwrap()).unwrap();
    assert_eq!(adapter.base_model.as_deref(), Some("org/base"));
    for (pair, spec) in adapter.pairs.iter().zip(&specs) {
        assert_eq!((&pair.base, pair.embedding, pair.a_transposed), (&spec.base, spec.embedding, false));
        assert_eq!(
            (pair.rank, pair.inputs, pair.outputs, pair.alpha),
            (spec.rank, spec.inputs, spec.outputs, spec.alpha)
        );
        assert_eq!(pair.scale, spec.alpha / spec.rank as f32);
    }
}

/// An adapter by hand; tensors innermost dimension first.
fn gguf(change: impl FnOnce(&mut Vec<Vec<u8>>, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut keys = vec![
        kv("general.architecture", 8, string("llama")),
        kv("general.type", 8, string("adapter")),
        kv("adapter.type", 8, string("lora")),
        kv("adapter.lora.alpha", 6, 8f32.to_le_bytes()),
    ];
    // Every tensor has 8 floats.
    let mut tensors = vec![tensor("x.weight.lora_a", &[4, 2], 0, 0), tensor("x.weight.lora_b", &[2, 4], 0, 32)];
    change(&mut keys, &mut tensors);
    RawGguf { data: 32 * tensors.len(), keys, tensors, ..RawGguf::default() }.bytes()
}

#[test]
fn what_is_no_adapter_in_gguf() {
    assert_eq!(read(gguf(|_, _| ())).unwrap().pairs[0].scale, 4.0);
    let key = |i: usize, key: Vec<u8>| gguf(|keys, _| keys[i] = key);
    let second = |name: &str, dims: &[u64]| gguf(|_, t| t[1] = tensor(name, dims, 0, 32));
    let alpha = |v: f32| key(3, kv("adapter.lora.alpha", 6, v.to_le_bytes()));
    rejects! { read;
        "a model", key(1, kv("general.type", 8, string("model"))) => Setting { .. },
        "no type", gguf(|k, _| drop(k.remove(1))) => MissingKey { .. },
        "a control vector", key(2, kv("adapter.type", 8, string("control"))) => Setting { .. },
        "no adapter type", gguf(|k, _| drop(k.remove(2))) => MissingKey { .. },
        "no architecture", gguf(|k, _| drop(k.remove(0))) => MissingKey { .. },
        "no alpha", gguf(|k, _| drop(k.pop())) => MissingKey { .. },
        "an alpha that is an integer", key(3, kv("adapter.lora.alpha", 4, [8, 0, 0, 0])) => WrongType { .. },
        "alpha NaN", alpha(f32::NAN) => OutOfRange { .. },
        "alpha infinite", alpha(f32::INFINITY) => OutOfRange { .. },
        "an unknown suffix", second("x.weight.lora_c", &[2, 4]) => UnknownSuffix { .. },
        "no suffix", second("x.weight", &[2, 4]) => UnknownSuffix { .. },
        "nothing but a suffix", second(".lora_b", &[2, 4]) => UnknownSuffix { .. },
        "a bias", second("x.bias", &[8]) => UnknownSuffix { .. },
        "no B", gguf(|_, t| drop(t.pop())) => Unpaired { other: "B", .. },
        "no A", gguf(|_, t| t[0] = tensor("y.weight.lora_b", &[2, 4], 0, 0)) => Unpaired { other: "A", .. },
        "B of another tensor", second("y.weight.lora_b", &[2, 4]) => Unpaired { .. },
        "another rank", second("x.weight.lora_b", &[4, 2]) => FactorMismatch { what: "rank", found: 4, expected: 2, .. },
        "A not transposed", gguf(|_, t| t[0] = tensor("x.weight.lora_a", &[2, 4], 0, 0)) => FactorMismatch { .. },
        "one dimension", second("x.weight.lora_b", &[8]) => DimensionCount { found: 1, .. },
        "four dimensions", second("x.weight.lora_b", &[2, 2, 1, 2]) => DimensionCount { found: 4, .. },
        "experts in one factor", second("x.weight.lora_b", &[2, 2, 2]) => FactorMismatch { what: "experts", .. },
        "integers", gguf(|_, t| t[1] = tensor("x.weight.lora_b", &[2, 4], 26, 32)) => UnsupportedDtype { .. },
    }
}

#[test]
fn gguf_variants() {
    // No alpha means a scale of 1, as for llama.cpp.
    let zero = read(gguf(|k, _| k[3] = kv("adapter.lora.alpha", 6, [0; 4]))).unwrap();
    assert_eq!((zero.pairs[0].alpha, zero.pairs[0].scale), (0.0, 1.0));
    let norm = read(gguf(|_, t| t.push(tensor("blk.0.attn_norm.weight", &[8], 0, 64)))).unwrap();
    assert_eq!((norm.pairs.len(), norm.skipped.as_slice()), (1, &["blk.0.attn_norm.weight".to_owned()][..]));
    let experts = read(gguf(|_, t| {
        *t = vec![tensor("x.lora_a", &[2, 2, 2], 0, 0), tensor("x.lora_b", &[2, 2, 2], 0, 32)];
    }));
    assert_eq!(experts.unwrap().pairs[0].experts, Some(2));
    // The embedding's A has a row for each token; a linear layer's would be read as rank 4.
    let table = read(gguf(|_, t| {
        *t =
            vec![tensor("token_embd.weight.lora_a", &[2, 4], 0, 0), tensor("token_embd.weight.lora_b", &[2, 4], 0, 32)];
    }));
    let pair = table.unwrap().pairs[0].clone();
    assert_eq!((pair.rank, pair.inputs, pair.outputs, pair.a_transposed), (2, 4, 4, true));
    let invoked = gguf(|k, _| k.push(kv("adapter.alora.invocation_tokens", 9, common::array(4, 1, [7, 0, 0, 0]))));
    assert_eq!(read(invoked).unwrap().invocation_tokens, [7]);
}

/// Factors of `model.q_proj` with rank 2.
fn weights(change: impl FnOnce(&str) -> String) -> Vec<u8> {
    let header = r#"{"base_model.model.model.q_proj.lora_A.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},"base_model.model.model.q_proj.lora_B.weight":{"dtype":"F32","shape":[4,2],"data_offsets":[32,64]}}"#;
    raw_safetensors(change(header), 64)
}

const CONFIG: &str = r#"{"peft_type":"LORA","r":2,"lora_alpha":8,"bias":"none"}"#;

fn configured(from: &str, to: &str) -> Result<Adapter, FormatError> {
    assert!(CONFIG.contains(from));
    read_peft(&CONFIG.replace(from, to), weights(str::to_owned))
}

fn weighed(from: &str, to: &str) -> Result<Adapter, FormatError> {
    read_peft(CONFIG, weights(|header| header.replace(from, to)))
}

#[test]
fn what_is_no_peft_adapter() {
    assert_eq!(read_peft(CONFIG, weights(str::to_owned)).unwrap().pairs[0].scale, 4.0);
    rejects! { |r: Result<_, _>| r;
        "another method", configured("LORA", "LOHA") => Setting { .. },
        "no method", configured(r#""peft_type":"LORA","#, "") => MissingKey { .. },
        "no rank", configured(r#""r":2,"#, "") => MissingKey { .. },
        "a rank that is no integer", configured(r#""r":2"#, r#""r":2.5"#) => OutOfRange { .. },
        "another rank", configured(r#""r":2"#, r#""r":4"#) => FactorMismatch { found: 2, expected: 4, .. },
        "another rank by pattern", configured(r#""r":2"#, r#""r":2,"rank_pattern":{"q_proj":4}"#) => FactorMismatch { .. },
        "a pattern that is an expression", configured(r#""r":2"#, r#""r":2,"rank_pattern":{".*q_proj":4}"#) => Setting { .. },
        "a pattern that is no object", configured(r#""r":2"#, r#""r":2,"rank_pattern":[4]"#) => WrongType { .. },
        "a pattern without a number", configured(r#""r":2"#, r#""r":2,"alpha_pattern":{"q_proj":"x"}"#) => OutOfRange { .. },
        "no alpha", configured(r#""lora_alpha":8,"#, "") => MissingKey { .. },
        "an alpha beyond f32", configured(r#""lora_alpha":8"#, r#""lora_alpha":1e40"#) => OutOfRange { .. },
        "biases", configured(r#""none""#, r#""all""#) => Setting { .. },
        "DoRA", configured(r#""r":2"#, r#""r":2,"use_dora":true"#) => Setting { .. },
        "whole modules", configured(r#""r":2"#, r#""r":2,"modules_to_save":["lm_head"]"#) => Setting { .. },
        "another prefix", weighed("base_model.model.", "model.") => UnknownSuffix { .. },
        "an unknown suffix", weighed("lora_B.weight", "lora_B.bias") => UnknownSuffix { .. },
        "a magnitude", weighed("lora_B.weight", "lora_magnitude_vector") => UnknownSuffix { .. },
        "no B", weighed("q_proj.lora_B", "v_proj.lora_B") => Unpaired { .. },
        "both kinds of A", weighed("lora_B.weight", "lora_embedding_A") => Duplicate { .. },
        "ranks that differ", weighed("[4,2]", "[2,4]") => FactorMismatch { .. },
        "one dimension", weighed("[4,2]", "[8]") => DimensionCount { .. },
        "rank 0", { let zero = |h: &str| h.replace("[2,4],\"data_offsets\":[0,32]", "[0,4],\"data_offsets\":[0,0]").replace("[4,2],\"data_offsets\":[32,64]", "[4,0],\"data_offsets\":[0,0]"); let mut w = weights(zero); w.truncate(w.len() - 64); read_peft(CONFIG, w) } => Dimension { found: 0, .. },
        "integers", weighed(r#""F32","shape":[4,2]"#, r#""I32","shape":[4,2]"#) => UnsupportedDtype { .. },
        "no weights", open_peft(&|name| if name == PEFT_CONFIG { Ok(Box::new(BytesSource::new(name, CONFIG.as_bytes().to_vec()))) } else { Err(io::ErrorKind::NotFound.into()) }) => Open { .. },
        "no folder", open_peft_dir("/nowhere") => Open { .. },
    }
}

#[test]
fn peft_variants() {
    let pair = |r: Result<Adapter, FormatError>| r.unwrap().pairs[0].clone();
    let stable = pair(configured(r#""r":2"#, r#""r":2,"use_rslora":true"#));
    assert_eq!(stable.scale, 8.0 / 2f32.sqrt());
    let named = pair(configured(
        r#""r":2"#,
        r#""r":4,"rank_pattern":{"proj":8,"model.q_proj":2},"alpha_pattern":{"q_proj":1}"#,
    ));
    assert_eq!((named.rank, named.alpha, named.scale), (2, 1.0, 0.5), "a key names whole parts of the path");
    assert_eq!(named.base, "model.q_proj.weight");
}

#[test]
fn the_writers_refuse_what_readers_would_misread() {
    let problem = |r: Result<(), FormatError>| *r.unwrap_err().problem;
    let with_alpha = |alpha| LowRankSpec { alpha, ..spec("x.weight", 2, 4, 4) };
    for alpha in [0.0, f32::NAN, f32::NEG_INFINITY] {
        assert!(matches!(
            problem(gguf_writer("f", "llama", &[with_alpha(alpha)]).map(drop)),
            Problem::OutOfRange { .. }
        ));
        assert!(matches!(problem(peft_config("b", &[with_alpha(alpha)]).map(drop)), Problem::OutOfRange { .. }));
    }
    let two = [with_alpha(1.0), with_alpha(2.0)];
    assert!(matches!(problem(gguf_writer("f", "llama", &two).map(drop)), Problem::Setting { .. }));
    let table = LowRankSpec { embedding: true, ..with_alpha(1.0) };
    assert!(matches!(problem(gguf_writer("f", "llama", &[table]).map(drop)), Problem::Setting { .. }));
    let bias = spec("x.bias", 2, 4, 4);
    assert!(matches!(problem(peft_writer("f", &[bias]).map(drop)), Problem::UnknownSuffix { .. }));
    let twice = [with_alpha(1.0), with_alpha(1.0)];
    let begun = gguf_writer("f", "llama", &twice).unwrap().begin(Vec::new()).map(drop);
    assert!(matches!(problem(begun), Problem::Duplicate { .. }));
}
