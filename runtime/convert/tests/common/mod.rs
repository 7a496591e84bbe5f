//! A small GGUF file with the names of a llama model and rows that K-quants fit.
#![allow(dead_code)]

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tern_formats::DType;
use tern_formats::gguf::{Value, Writer};

pub const LAYERS: u64 = 8;
pub const WIDTH: u64 = 256;

/// A pseudo-random sequence of numbers near those of real weights.
pub fn numbers(seed: u64, n: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next()) * 0.05).collect()
}

/// Writes the model with matrices of `dtype`. `width`: 256, or less for rows that are no whole super-block.
pub fn model(folder: &Path, dtype: DType, width: u64) -> PathBuf {
    let path = folder.join("model.gguf");
    let mut tensors =
        vec![("token_embd.weight".to_owned(), vec![64, width]), ("output_norm.weight".into(), vec![width])];
    for i in 0..LAYERS {
        let mut layer = |name: &str, shape: &[u64]| tensors.push((format!("blk.{i}.{name}.weight"), shape.to_vec()));
        layer("attn_norm", &[width]);
        layer("attn_q", &[width, width]);
        layer("attn_v", &[width / 4, width]);
        layer("attn_output", &[width, width]);
        layer("ffn_down", &[width, 2 * width]);
        layer("ffn_up", &[2 * width, width]);
    }
    tensors.push(("output.weight".to_owned(), vec![64, width]));
    let mut writer = Writer::new("model.gguf");
    let text = |s: &'static str| Value::from(s);
    let keys = [
        ("general.architecture", text("llama")),
        ("general.file_type", Value::U32(0)),
        ("general.name", text("Test")),
        ("llama.attention.head_count", Value::U32(8)),
        ("llama.attention.head_count_kv", Value::U32(2)),
    ];
    for (key, value) in keys {
        writer.key(key, value).unwrap();
    }
    for (name, shape) in &tensors {
        writer.tensor(name, if shape.len() > 1 { dtype } else { DType::F32 }, shape.clone()).unwrap();
    }
    let mut body = writer.begin(BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
    for (seed, (_, shape)) in (1..).zip(&tensors) {
        let values = numbers(seed, shape.iter().product());
        let dtype = if shape.len() > 1 { dtype } else { DType::F32 };
        let mut bytes = vec![0; dtype.row_bytes(values.len()).unwrap()];
        tern_quant::quantize(dtype, &values, &mut bytes).unwrap();
        body.write(&bytes).unwrap();
    }
    body.finish().unwrap();
    path
}
