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
