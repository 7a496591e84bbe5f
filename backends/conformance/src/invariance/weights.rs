//! Prepared weights give back their rows.

use crate::bounds::EPS;
use crate::case::{Data, Input};
use crate::host::{Device, HostError};
use crate::judge::{Verdict, compare};
use crate::noise::{Noise, weight_dtypes};
use tern_abi::weight::usage;

/// Prepares a weight of every dtype and reads rows from its middle. Returns a name with each verdict.
pub fn read_rows(device: &Device) -> Vec<(String, Verdict)> {
    let check = |dtype: tern_quant::DType| {
        let columns = if dtype.block_len() == 1 { 19 } else { 2 * dtype.block_len() };
        let weight = Noise::new(dtype.name()).weight(dtype, &[9, columns], 0.4);
        let verdict = match &weight {
            Some(weight) => rows(device, weight, columns),
            None => Verdict::Failed("the weight cannot be made".into()),
        };
        (format!("rows of a {dtype} weight"), verdict)
    };
    weight_dtypes().into_iter().map(check).collect()
}

/// Updates rows of a trainable F32 weight: those change, their neighbours do not.
pub fn update_rows(device: &Device) -> (String, Verdict) {
    let (rows, columns) = (7, 37);
    let mut noise = Noise::new("update");
    let mut want = noise.reals(rows * columns, 1.0);
    let bytes: Vec<u8> = want.iter().flat_map(|x| x.to_le_bytes()).collect();
    let new = noise.reals(2 * columns, 1.0);
    let mut got = vec![0.0f32; rows * columns];
    let mut update = || -> Result<(), HostError> {
        let usage = usage::FORWARD | usage::TRAINABLE;
        let weight = device.prepare(tern_abi::dtype::F32, &[rows, columns], usage, &bytes)?;
        weight.update(3, &new)?;
        weight.rows(0, &mut got)
    };
    let verdict = match update() {
        Err(error) if error.is_unsupported() => Verdict::Unsupported(error.to_string()),
        Err(error) => Verdict::Failed(error.to_string()),
        Ok(()) => {
            want[3 * columns..5 * columns].copy_from_slice(&new);
            let widen = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<_>>();
            compare("rows", &widen(got), &widen(want), &vec![0.0; rows * columns])
        }
    };
    ("updated rows of an F32 weight".into(), verdict)
}

fn rows(device: &Device, weight: &Input, columns: usize) -> Verdict {
    let Data::Weight(dtype, bytes) = &weight.data else { return Verdict::Failed("not a weight".into()) };
    let mut got = vec![0.0f32; 5 * columns];
    let mut read = || -> Result<(), HostError> {
        let usage = usage::FORWARD | usage::GATHER;
        device.prepare(dtype.code(), &weight.shape, usage, bytes)?.rows(3, &mut got)
    };
    match read() {
        Ok(()) => {}
        Err(error) if error.is_unsupported() => return Verdict::Unsupported(error.to_string()),
        Err(error) => return Verdict::Failed(error.to_string()),
    }
    let want = weight.values()[3 * columns..8 * columns].to_vec();
    let got: Vec<f64> = got.into_iter().map(f64::from).collect();
    let scale = if dtype.is_quantized() { 4.0 * EPS } else { 0.0 };
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    compare("rows", &got, &want, &vec![scale * largest; want.len()])
}
