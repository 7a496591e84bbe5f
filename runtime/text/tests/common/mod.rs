//! What several test files need.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // Each file uses a part; helpers of tests may fail loudly.

use std::path::PathBuf;

use tern_text::Tokenizer;

/// A file of `tests/goldens`.
pub fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One of the small tokenizers.
pub fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_hf(&read(&format!("{name}.tokenizer.json")), None).unwrap()
}

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

/// Bytes out of base64.
pub fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text.bytes().filter_map(|c| digits.iter().position(|&d| d == c));
    let bits: Vec<u8> = values.flat_map(|v| (0..6).rev().map(move |bit| (v >> bit & 1) as u8)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
}
