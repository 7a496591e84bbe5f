//! Deterministic data: every case is the same on every machine.

use crate::case::{Data, Input};
use crate::host::SLACK;
use tern_abi::graph::dim;
use tern_quant::DType;

/// A generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A generator of its own for each name.
    pub fn new(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    /// Uniform in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    /// About normal with this deviation: sums of three uniforms have tails that quantizers meet.
    pub fn reals(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        (0..n).map(|_| (self.unit() + self.unit() + self.unit()) * deviation).collect()
    }
    /// A permutation of `0..n`.
    pub fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut out: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            out.swap(i, self.below(i + 1));
        }
        out
    }

    /// Reals with a leading dimension of tokens.
    pub fn tokens(&mut self, shape: &[usize], deviation: f32) -> Option<Input> {
        let data = Data::Real(self.reals(shape.iter().product(), deviation));
        Some(Input { shape: shape.to_vec(), lead: dim::TOKENS, data })
    }
    /// Reals that stay.
    pub fn fixed(&mut self, shape: &[usize], deviation: f32) -> Option<Input> {
        let data = Data::Real(self.reals(shape.iter().product(), deviation));
        Some(Input { shape: shape.to_vec(), lead: dim::FIXED, data })
    }
    /// Reals around 1 that stay: weights of norms.
    pub fn around_one(&mut self, shape: &[usize]) -> Option<Input> {
        let data = self.reals(shape.iter().product(), 0.2).into_iter().map(|x| 1.0 + x).collect();
        Some(Input { shape: shape.to_vec(), lead: dim::FIXED, data: Data::Real(data) })
    }
    /// A prepared weight; `None` where the dtype cannot be encoded or the shape has no whole blocks.
    pub fn weight(&mut self, dtype: DType, shape: &[usize], deviation: f32) -> Option<Input> {
        let n: usize = shape.iter().product();
        let mut bytes = vec![0; usize::try_from(dtype.tensor_bytes(n as u64)?).ok()?];
        dtype.row_bytes(*shape.last()?)?;
        tern_quant::quantize(dtype, &self.reals(n, deviation), &mut bytes).ok()?;
        Some(Input { shape: shape.to_vec(), lead: dim::FIXED, data: Data::Weight(dtype, bytes) })
    }
}

/// Integers with this leading dimension.
pub fn ints(lead: u32, data: Vec<i32>) -> Option<Input> {
    Some(Input { shape: vec![data.len()], lead, data: Data::Int(data) })
}

/// Starts of sequences: room for as many as the plan is compiled for; those past the step's are not valid and
/// must not be read.
pub fn seq_start(mut starts: Vec<i32>) -> Option<Input> {
    starts.extend([-99; SLACK as usize]);
    ints(dim::FIXED, starts)
}

/// Sizes of a step.
pub fn dims(tokens: usize, sequences: usize, outputs: usize) -> [u64; dim::COUNT] {
    let mut out = [0; dim::COUNT];
    out[dim::TOKENS as usize] = tokens as u64;
    out[dim::SEQUENCES as usize] = sequences as u64;
    out[dim::OUTPUTS as usize] = outputs as u64;
    out
}

/// Every dtype that weights can be made in.
pub fn weight_dtypes() -> Vec<DType> {
    let can = |dtype: &DType| {
        let n = dtype.block_len();
        let mut bytes = vec![0; dtype.block_bytes()];
        tern_quant::quantize(*dtype, &vec![1.0; n], &mut bytes).is_ok()
    };
    DType::ALL.iter().copied().filter(can).collect()
}
