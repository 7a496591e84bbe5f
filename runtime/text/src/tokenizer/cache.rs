//! Words repeat: a small direct-mapped cache of the pieces seen in one call.
//!
//! It lives for one call only, so that a tokenizer stays immutable and nothing one user wrote stays in memory for another.

use crate::hash;

/// Slots; at 24 bytes each they fit the second-level cache together with the common part of the merge table.
const SLOTS: usize = 1 << 12;

/// Longest piece kept, so that a key is one 16-byte word with its length.
const KEY_BYTES: usize = 15;

/// Below this, filling the slots costs more than they save.
const MIN_TEXT: usize = 4 << 10;

#[derive(Clone, Copy)]
struct Slot {
    key: u128,
    start: u32,
    len: u32,
}

/// Where the tokens of recent pieces stand in the output.
pub(super) struct PieceCache {
    slots: Vec<Slot>,
}

impl PieceCache {
    /// Empty; disabled for short texts.
    pub(super) fn for_text(bytes: usize) -> Self {
        let slots = if bytes < MIN_TEXT { Vec::new() } else { vec![Slot { key: 0, start: 0, len: 0 }; SLOTS] };
        Self { slots }
    }

    /// Appends the tokens of a piece that was seen before.
    pub(super) fn copy(&self, piece: &str, out: &mut Vec<u32>) -> bool {
        let Some((key, at)) = self.place(piece) else { return false };
        let slot = self.slots[at];
        if slot.key != key {
            return false;
        }
        let start = slot.start as usize;
        out.extend_from_within(start..start + slot.len as usize);
        true
    }

    /// Remembers that the tokens of `piece` are `start..end` of the output.
    pub(super) fn keep(&mut self, piece: &str, start: usize, end: usize) {
        if let Some((key, at)) = self.place(piece)
            && let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(end - start))
        {
            self.slots[at] = Slot { key, start, len };
        }
    }

    /// Key (never 0: the length is in it) and slot.
    fn place(&self, piece: &str) -> Option<(u128, usize)> {
        let bytes = piece.as_bytes();
        if self.slots.is_empty() || bytes.is_empty() || bytes.len() > KEY_BYTES {
            return None;
        }
        let mut word = [0; 16];
        word[..bytes.len()].copy_from_slice(bytes);
        word[KEY_BYTES] = bytes.len() as u8;
        Some((u128::from_le_bytes(word), hash::bytes(&word) as usize % SLOTS))
    }
}
