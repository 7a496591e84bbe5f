//! The numbers that a new tensor has.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start {
    /// All the same.
    Constant(f32),
    /// Normally distributed about zero with this deviation.
    Normal(f32),
}

/// A stream of them, which depends on seed, tensor and place alone.
pub(super) struct Values {
    state: u64,
    start: Start,
    /// The second of a pair.
    spare: Option<f32>,
}

impl Values {
    pub fn new(seed: u64, tensor: u64, start: Start) -> Self {
        let mut first = Self { state: seed, start, spare: None };
        let state = first.bits() ^ tensor.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self { state, ..first }
    }

    pub fn next(&mut self) -> f32 {
        let deviation = match self.start {
            Start::Constant(x) => return x,
            Start::Normal(deviation) => deviation,
        };
        if let Some(x) = self.spare.take() {
            return x;
        }
        // Box and Muller, 1958.
        let (radius, angle) = ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        self.spare = Some((radius * angle.sin()) as f32 * deviation);
        (radius * angle.cos()) as f32 * deviation
    }

    /// In (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64: Steele, Lea and Flood, 2014.
    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Numbers of a tensor.
pub(super) fn count(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |n, &d| n.saturating_mul(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal_and_follow_from_the_seed() {
        let draw = |seed, tensor| {
            let mut values = Values::new(seed, tensor, Start::Normal(0.5));
            (0..10_000).map(|_| values.next()).collect::<Vec<f32>>()
        };
        let x = draw(1, 2);
        assert_eq!(x, draw(1, 2));
        assert!(x != draw(1, 3) && x != draw(2, 2));
        let mean = x.iter().sum::<f32>() / 1e4;
        let deviation = (x.iter().map(|x| x * x).sum::<f32>() / 1e4).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
        let within = x.iter().filter(|x| x.abs() < 0.5).count();
        assert!((6600..7050).contains(&within), "{within} of 10000 within one deviation, expected 6827");
    }
}
