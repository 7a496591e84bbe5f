//! States survive an import and export.

use crate::host::{Device, Program, Role, StateSpec, TensorSpec};
use crate::judge::Verdict;
use crate::noise::Noise;
use tern_abi::{dtype, state};

/// Imports units with known bytes and exports them again. Returns a name with each verdict.
pub fn round_trip(device: &Device) -> Vec<(String, Verdict)> {
    let kv = |dtype, dims: [u64; 6]| {
        let scale = if dtype == dtype::I8 { 4 } else { 0 };
        let bytes = 2 * dims[0] * dims[2] * (dims[1] * dtype::plain_size(dtype).unwrap_or(4) + scale);
        (state::kind::KV_PAGE, dtype, dims, bytes)
    };
    let fast = |dims: [u64; 6]| {
        let [h, f, chunk, n, hidden, matrices] = dims;
        let n = if n > 0 { n } else { f };
        let layer = |f: u64, n: u64| f * n + n + chunk * (f + n + 1);
        let head = match (matrices, hidden) {
            (0, 0) => layer(f, n),
            (0, m) => layer(f, m) + layer(m, n),
            (matrices, m) => matrices / 3 * m * (2 * f + n) + chunk * (f + n + 4),
        };
        (state::kind::FAST_WEIGHT, dtype::F32, dims, 4 * h * head)
    };
    let convolved = |dims: [u64; 6]| {
        let [channels, width, chunk, ..] = dims;
        (state::kind::SHORT_CONV, dtype::F32, dims, 4 * channels * (width - 1 + chunk))
    };
    let all = [
        kv(dtype::F16, [2, 16, 8, 0, 0, 0]),
        kv(dtype::F32, [3, 24, 5, 0, 0, 0]),
        kv(dtype::F16, [1, 7, 1, 0, 0, 0]),
        kv(dtype::I8, [3, 80, 32, 0, 0, 0]),
        kv(dtype::I8, [2, 20, 16, 0, 0, 0]),
        kv(dtype::I8, [1, 7, 3, 0, 0, 0]),
        fast([2, 16, 16, 0, 0, 0]),
        fast([3, 5, 7, 0, 0, 0]),
        fast([3, 5, 7, 9, 0, 0]),
        fast([3, 5, 7, 0, 11, 0]),
        fast([3, 5, 7, 9, 11, 3]),
        fast([2, 5, 7, 0, 11, 6]),
        convolved([10, 4, 7, 0, 0, 0]),
    ];
    let check = |(kind, dtype, dims, bytes): (u32, u32, [u64; 6], u64)| {
        let name = format!("state kind {kind} dtype {dtype} dims {:?}", &dims[..3]);
        let mut noise = Noise::new(&name);
        // Small numbers in every dtype, so that no NaN is normalized on the way.
        let unit =
            |noise: &mut Noise| (0..bytes).map(|i| if i % 2 == 0 { noise.below(256) as u8 } else { 0x11 }).collect();
        let units = (0..3).map(|_| unit(&mut noise)).collect();
        let verdict = trip(device, StateSpec { kind, dtype, dims, units });
        (name, verdict)
    };
    all.into_iter().map(check).collect()
}

fn trip(device: &Device, state: StateSpec) -> Verdict {
    let mut program = Program::default();
    let spec = TensorSpec { dtype: dtype::I8, shape: vec![1], dims: vec![0], role: Role::State(state.clone()) };
    program.tensor(spec);
    match program.states(device) {
        Ok(units) if units == state.units => Verdict::Passed(0.0),
        Ok(_) => Verdict::Failed("exported bytes differ from the imported ones".into()),
        Err(error) if error.is_unsupported() => Verdict::Unsupported(error.to_string()),
        Err(error) => Verdict::Failed(error.to_string()),
    }
}
