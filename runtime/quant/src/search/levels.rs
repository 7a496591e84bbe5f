//! Tables of values that codes stand for.

/// At most sixteen ascending values and what separates them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels<const STEPS: usize> {
    low: f32,
    middles: [f32; STEPS],
    steps: [f32; STEPS],
}

impl<const STEPS: usize> Levels<STEPS> {
    /// The table with `STEPS + 1` values, ascending from `low`, `rest` being the others.
    pub(crate) const fn new(low: i8, rest: [i8; STEPS]) -> Self {
        let (mut middles, mut steps) = ([0.0; STEPS], [0.0; STEPS]);
        let (mut k, mut before) = (0, low);
        while k < STEPS {
            middles[k] = (before as f32 + rest[k] as f32) / 2.0;
            steps[k] = rest[k] as f32 - before as f32;
            before = rest[k];
            k += 1;
        }
        Self { low: low as f32, middles, steps }
    }

    /// The nearest value (the lower one of two, and the lowest for NaN). A sum over all steps, because
    /// that vectorizes and a search does not.
    #[inline]
    pub(crate) fn nearest(&self, x: f32) -> f32 {
        self.middles.iter().zip(&self.steps).fold(self.low, |y, (&m, &s)| y + if x > m { s } else { 0.0 })
    }

    /// The place of the nearest value in the table.
    #[inline]
    pub(crate) fn index(&self, x: f32) -> u8 {
        self.middles.iter().fold(0, |k, &m| k + u8::from(x > m))
    }
}
