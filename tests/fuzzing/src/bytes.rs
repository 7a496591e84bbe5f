//! Input bytes to choices. Where they run out every choice is the first one, so each input is a case and a short one is simple.

/// Choices, one after the other.
pub struct Choices<'a>(arbitrary::Unstructured<'a>);

impl<'a> Choices<'a> {
    /// From a case's bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self(arbitrary::Unstructured::new(data))
    }

    /// Whether there are no bytes left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number of any size.
    pub fn number<T: for<'b> arbitrary::Arbitrary<'b> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n.saturating_sub(1)).unwrap_or(0)
    }

    /// True once in `n`; never where the bytes have run out.
    pub fn once_in(&mut self, n: usize) -> bool {
        !self.is_empty() && self.below(n) == n - 1
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// One of several texts.
    pub fn word(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    /// So many bytes; zeros where they have run out.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        let _ = self.0.fill_buffer(&mut out);
        out
    }

    /// A number that hurts where lengths and counts are not checked.
    pub fn extreme(&mut self) -> u64 {
        const WORDS: &[u64] =
            &[0, 1, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 60, 1 << 63, u64::MAX];
        match self.below(3) {
            0 => *self.pick(WORDS),
            1 => u64::MAX - u64::from(self.number::<u8>()),
            _ => self.number(),
        }
    }

    /// A short text: mostly letters, sometimes any characters.
    pub fn text(&mut self, most: usize) -> String {
        let n = self.below(most + 1);
        if self.once_in(4) {
            String::from_utf8_lossy(&self.bytes(n)).into_owned()
        } else {
            self.bytes(n).iter().map(|b| char::from(b'a' + b % 26)).collect()
        }
    }
}
