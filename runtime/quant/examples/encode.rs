//! Encodes a file of numbers: `encode TYPE IN OUT [IMPORTANCE]`, all of little-endian f32 but OUT.
//! Prints the seconds it took. For measuring encoders: see `tests/goldens/quant/quality.py`.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;
use tern_quant::{DType, quantize_weighted};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, input, output, importance @ ..] = &args[..] else {
        return Err("usage: encode TYPE IN OUT [IMPORTANCE]".into());
    };
    let dtype: DType = name.parse()?;
    let src = floats(input)?;
    let importance = importance.first().map(|path| floats(path)).transpose()?;
    let size = dtype.tensor_bytes(src.len() as u64).ok_or("no whole number of blocks")?;
    let mut out = vec![0; usize::try_from(size)?];
    let start = Instant::now();
    quantize_weighted(dtype, &src, importance.as_deref(), &mut out)?;
    println!("{}", start.elapsed().as_secs_f64());
    std::fs::write(output, out)?;
    Ok(())
}

fn floats(path: &str) -> std::io::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
