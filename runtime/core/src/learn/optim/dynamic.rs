//! Dynamic 8-bit codes in blocks (Dettmers et al., arXiv 2110.02861): levels in seven decades from 1e-6 to 1, more of them in the
//! higher ones, scaled by the largest number of each block of 256.

/// Numbers with one scale.
pub const BLOCK: usize = 256;

/// The levels, ascending, each at least 0 for second moments.
///
/// Decade `d` of seven has `2^d` (signed) or `2^(d+1)` (unsigned) levels: the middles between as many + 1 numbers that go evenly from 0.1
/// to 1, times `10^(d-6)`. With 0 and 1 that makes 256.
pub fn levels(signed: bool) -> [f32; 256] {
    let mut levels = vec![0.0, 1.0];
    for decade in 0..7 {
        let count = 1usize << if signed { decade } else { decade + 1 };
        for i in 0..count {
            let middle = 0.1 + 0.9 * (i as f64 + 0.5) / count as f64;
            let level = middle * 10f64.powi(decade - 6);
            levels.push(level);
            if signed {
                levels.push(-level);
            }
        }
    }
    levels.sort_unstable_by(f64::total_cmp);
    let mut out = [0.0; 256];
    out.iter_mut().zip(levels).for_each(|(to, from)| *to = from as f32);
    out
}

/// Numbers as codes.
#[derive(Clone)]
pub struct Codes {
    pub codes: Vec<u8>,
    /// The largest magnitude of each block.
    pub scales: Vec<f32>,
}

impl Codes {
    /// Zeros.
    pub fn zeros(n: usize, levels: &[f32; 256]) -> Self {
        let zero = nearest(levels, 0.0);
        Self { codes: vec![zero; n], scales: vec![0.0; n.div_ceil(BLOCK)] }
    }

    /// The numbers of block `block`.
    pub fn read(&self, block: usize, levels: &[f32; 256], out: &mut [f32]) {
        let scale = self.scales[block];
        for (to, &code) in out.iter_mut().zip(&self.codes[block * BLOCK..]) {
            *to = levels[usize::from(code)] * scale;
        }
    }

    /// Replaces the numbers of block `block`.
    pub fn write(&mut self, block: usize, levels: &[f32; 256], values: &[f32]) {
        let scale = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        self.scales[block] = scale;
        for (code, &v) in self.codes[block * BLOCK..].iter_mut().zip(values) {
            *code = nearest(levels, if scale > 0.0 { v / scale } else { 0.0 });
        }
    }
}

/// The code of the nearest level; of two, the lower.
fn nearest(levels: &[f32; 256], value: f32) -> u8 {
    let above = levels.partition_point(|&l| l < value).min(255);
    let below = above.saturating_sub(1);
    if value - levels[below] <= levels[above] - value { below as u8 } else { above as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_256_levels_and_each_is_its_own_nearest() {
        for signed in [true, false] {
            let levels = levels(signed);
            assert!(levels.windows(2).all(|w| w[0] < w[1]), "{signed}");
            assert_eq!(levels[255], 1.0);
            assert!(levels.contains(&0.0) && (levels[0] < 0.0) == signed);
            assert!((0..=255u8).all(|c| nearest(&levels, levels[usize::from(c)]) == c));
            // Small numbers keep their order of magnitude.
            let small = levels[usize::from(nearest(&levels, 3e-6))];
            assert!((1e-6..1e-5).contains(&small));
        }
    }

    #[test]
    fn a_block_comes_back_within_a_few_percent() {
        let levels = levels(true);
        let values: Vec<f32> = (0..300).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013).collect();
        let mut codes = Codes::zeros(300, &levels);
        for (block, part) in values.chunks(BLOCK).enumerate() {
            codes.write(block, &levels, part);
        }
        let mut back = vec![0.0; 300];
        for (block, part) in back.chunks_mut(BLOCK).enumerate() {
            codes.read(block, &levels, part);
        }
        assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 0.008 * 0.65));
    }
}
