//! SentencePiece's table of replacements (`precompiled_charsmap`).
//!
//! The size of a trie in bytes (u32), the trie as a double array of u32 (Yata's darts-clone), then the replacements as
//! NUL-terminated UTF-8; all numbers little-endian. A trie entry's value is where its replacement begins. Nothing in it is
//! trusted: a step that leads out of the array ends the search.

mod build;

use unicode_segmentation::UnicodeSegmentation;

pub(crate) use build::replacing;

use super::check;
use crate::error::TextError;
use crate::limits::{MAX_CHARSMAP_BYTES, MAX_CHARSMAP_ENTRY_BYTES};

/// Graphemes of fewer bytes are looked up as a whole first.
const SHORT_GRAPHEME: usize = 6;

/// A table.
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// Checks a table; an empty one replaces nothing.
    pub(super) fn new(table: &[u8]) -> Result<Self, TextError> {
        if table.is_empty() {
            return Ok(Self { units: Vec::new(), replacements: String::new() });
        }
        if table.len() > MAX_CHARSMAP_BYTES {
            let (what, limit) = ("bytes of precompiled_charsmap", MAX_CHARSMAP_BYTES);
            return Err(TextError::TooLarge { what, found: table.len(), limit });
        }
        let bad = |what, found, expected| Err(TextError::BadCharsmap { what, found, expected });
        let Some((size, rest)) = table.split_first_chunk::<4>() else {
            return bad("its size in bytes", table.len(), 4);
        };
        let size = u32::from_le_bytes(*size) as usize;
        let Some((trie, replacements)) = rest.split_at_checked(size) else {
            return bad("the size of its trie in bytes", size, rest.len());
        };
        if size == 0 || !size.is_multiple_of(4) {
            return bad("the size of its trie in bytes", size, size.next_multiple_of(4).max(4));
        }
        let replacements = match std::str::from_utf8(replacements) {
            Ok(text) => text,
            Err(e) => {
                return bad("the valid UTF-8 of its replacements, in bytes,", e.valid_up_to(), replacements.len());
            }
        };
        if !replacements.is_empty() && !replacements.ends_with('\0') {
            return bad(
                "the last byte of its replacements",
                usize::from(replacements.as_bytes()[replacements.len() - 1]),
                0,
            );
        }
        let longest = replacements.split('\0').map(str::len).max().unwrap_or(0);
        if longest > MAX_CHARSMAP_ENTRY_BYTES {
            let (what, limit) = ("bytes of a replacement in precompiled_charsmap", MAX_CHARSMAP_ENTRY_BYTES);
            return Err(TextError::TooLarge { what, found: longest, limit });
        }
        let units = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Ok(Self { units, replacements: replacements.to_owned() })
    }

    /// The entries that begin `text`, the shortest first: length and replacement.
    fn entries(&self, text: &str) -> impl Iterator<Item = (usize, &str)> {
        let mut at = offset(self.units.first().copied().unwrap_or_default());
        let steps = text.as_bytes().iter().take(MAX_CHARSMAP_ENTRY_BYTES).enumerate();
        let nodes = steps.map_while(move |(depth, &byte)| {
            // A byte 0 marks leaves and is no label.
            let unit = *self.units.get(at ^ usize::from(byte)).filter(|_| byte != 0)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= usize::from(byte) ^ offset(unit);
            let leaf = unit & 1 << 8 != 0;
            Some((depth + 1, leaf.then(|| self.units.get(at).map(|unit| unit & !(1 << 31))).flatten()))
        });
        nodes.filter_map(|(length, value)| {
            let rest = self.replacements.get(value? as usize..)?;
            Some((length, rest.split('\0').next().unwrap_or_default()))
        })
    }

    /// The longest entry that begins `text`.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        self.entries(text).filter(|(length, _)| text.is_char_boundary(*length)).last()
    }

    /// Hugging Face's way: the shortest entry that begins a grapheme replaces all of it.
    pub(super) fn by_grapheme(&self, text: &str, limit: usize) -> Result<String, TextError> {
        let mut out = String::with_capacity(text.len());
        let whole = |part: &str| self.entries(part).next().map(|(_, replacement)| replacement);
        for grapheme in text.graphemes(true) {
            if grapheme.len() < SHORT_GRAPHEME
                && let Some(replacement) = whole(grapheme)
            {
                out.push_str(replacement);
            } else {
                for c in grapheme.chars() {
                    match whole(c.encode_utf8(&mut [0; 4])) {
                        Some(replacement) => out.push_str(replacement),
                        None => out.push(c),
                    }
                }
            }
            check(out.len(), limit)?;
        }
        Ok(out)
    }
}

/// How far a unit's children lie, in the encoding of the double array.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
