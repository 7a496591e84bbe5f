//! Two open-addressing tables made for vocabularies: built once, then only read.
//!
//! The standard map with its keyed hash costs several times as much to fill. Keys come from a model file, so a file could be
//! made to collide; probing is therefore bounded by the table being at most half full of *distinct* keys and by the caps on
//! their number, and a multiply-and-fold hash keeps ordinary vocabularies spread evenly.

const K: u64 = 0x9e37_79b9_7f4a_7c15;

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Hash of bytes, eight at a time.
pub(crate) fn bytes(data: &[u8]) -> u64 {
    let mut h = K ^ data.len() as u64;
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        h = fold(h ^ u64::from_le_bytes(word), K);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        h = fold(h ^ u64::from_le_bytes(word), K);
    }
    fold(h, K)
}

/// Set of ids, found by the bytes they stand for; the bytes live with the caller.
pub(crate) struct IdTable {
    slots: Vec<(u32, u32)>,
    mask: usize,
}

impl IdTable {
    /// Room for `n` ids.
    pub(crate) fn new(n: usize) -> Self {
        let size = (n.saturating_mul(2)).next_power_of_two().max(16);
        Self { slots: vec![(0, u32::MAX); size], mask: size - 1 }
    }

    /// Adds an id for bytes that hash to `hash`; `same(other)` says whether another id has the same bytes. Returns that id if so.
    pub(crate) fn insert(&mut self, hash: u64, id: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & self.mask;
        loop {
            let (t, other) = self.slots[at];
            if other == u32::MAX {
                self.slots[at] = (tag, id);
                return None;
            }
            if t == tag && same(other) {
                return Some(other);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// The id for which `same` holds.
    pub(crate) fn get(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & self.mask;
        loop {
            let (t, id) = self.slots[at];
            if id == u32::MAX {
                return None;
            }
            if t == tag && same(id) {
                return Some(id);
            }
            at = (at + 1) & self.mask;
        }
    }
}

/// Map from a pair of ids to a rank and the id of the pair joined.
pub(crate) struct PairTable {
    /// Key in the first word; rank and merged id in the second.
    slots: Vec<(u64, u64)>,
    mask: usize,
    len: usize,
}

const EMPTY: u64 = u64::MAX;

impl PairTable {
    /// Room for `n` pairs.
    pub(crate) fn new(n: usize) -> Self {
        let size = (n.saturating_mul(2)).next_power_of_two().max(16);
        Self { slots: vec![(EMPTY, 0); size], mask: size - 1, len: 0 }
    }

    fn key(left: u32, right: u32) -> u64 {
        u64::from(left) << 32 | u64::from(right)
    }

    /// Adds a pair, or returns the rank it already has. Ids stay below `u32::MAX`, so no key is [`EMPTY`].
    pub(crate) fn insert(&mut self, left: u32, right: u32, rank: u32, merged: u32) -> Option<u32> {
        let key = Self::key(left, right);
        let mut at = fold(key, K) as usize & self.mask;
        loop {
            let (k, v) = self.slots[at];
            if k == EMPTY {
                self.slots[at] = (key, u64::from(rank) << 32 | u64::from(merged));
                self.len += 1;
                return None;
            }
            if k == key {
                return Some((v >> 32) as u32);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Rank and merged id of a pair.
    #[inline]
    pub(crate) fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let key = Self::key(left, right);
        let mut at = fold(key, K) as usize & self.mask;
        loop {
            let (k, v) = self.slots[at];
            if k == key {
                return Some(((v >> 32) as u32, v as u32));
            }
            if k == EMPTY {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
