//! Nearly the same text: MinHash (Broder, 1997) over shingles of words, and bands of it to find candidates without comparing all
//! pairs.

use crate::random::mix;
use std::collections::HashMap;

/// Words of a shingle.
const WORDS: usize = 5;
/// Hash functions; a band has `HASHES / BANDS` of them. With 4 to a band, pairs that share 80% of their shingles meet in
/// one of 16 bands with a probability above 0.999, pairs that share 30% with 0.12.
const HASHES: usize = 64;
const BANDS: usize = 16;

/// Of shingles shared, from which on two texts count as the same.
pub const SAME: f64 = 0.8;

/// The words of a text: runs of letters and digits; of scripts without spaces each character is one.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let spaceless = |c: char| matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}');
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        rest = rest.get(start..)?;
        let first = rest.chars().next()?;
        let inside = |c: char| (c.is_alphanumeric() || c == '_') && !spaceless(c);
        let end = if spaceless(first) { first.len_utf8() } else { rest.find(|c| !inside(c)).unwrap_or(rest.len()) };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Hashes of all runs of five words, in order; of a shorter text one of all.
pub fn shingles(text: &str) -> Vec<u64> {
    let hashes: Vec<u64> = words(text).map(|w| fold(w.bytes().map(u64::from))).collect();
    if hashes.len() < WORDS {
        return vec![fold(hashes.into_iter())];
    }
    hashes.windows(WORDS).map(|w| fold(w.iter().copied())).collect()
}

/// FNV-1a with a finish that mixes all bits: fast, and nothing rests on it that an attacker would gain from.
fn fold(parts: impl Iterator<Item = u64>) -> u64 {
    mix(parts.fold(0xcbf2_9ce4_8422_2325, |h, p| (h ^ p).wrapping_mul(0x0100_0000_01b3)))
}

/// Texts seen so far.
#[derive(Default)]
pub struct Seen {
    signatures: Vec<[u64; HASHES]>,
    bands: HashMap<(usize, u64), Vec<usize>>,
}

impl Seen {
    /// Whether a text like this one was seen; it counts as seen from now on if not.
    pub fn is_new(&mut self, text: &str) -> bool {
        let mut signature = [u64::MAX; HASHES];
        for shingle in shingles(text) {
            for (i, least) in signature.iter_mut().enumerate() {
                *least = (*least).min(mix(shingle ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
        }
        let band = |b: usize| fold(signature.iter().skip(b * (HASHES / BANDS)).take(HASHES / BANDS).copied());
        let keys: Vec<_> = (0..BANDS).map(|b| (b, band(b))).collect();
        let same = |other: &[u64; HASHES]| {
            let equal = signature.iter().zip(other).filter(|(a, b)| a == b).count();
            equal as f64 >= SAME * HASHES as f64
        };
        let known = keys.iter().filter_map(|k| self.bands.get(k)).flatten();
        if known.filter_map(|&i| self.signatures.get(i)).any(same) {
            return false;
        }
        let index = self.signatures.len();
        self.signatures.push(signature);
        keys.into_iter().for_each(|k| self.bands.entry(k).or_default().push(index));
        true
    }
}
