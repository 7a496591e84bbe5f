//! Two open-addressing tables made for vocabularies: built once, then only read.
//!
//! The standard map with its keyed hash costs several times as much to fill. Keys come from a model file, which may have been
//! made so that they collide; an entry therefore lies within [`MAX_PROBES`] slots of its hash or is refused, and a search ends
//! there too.

/// Farthest an entry may lie from its hash. Tables are at most half full, where the farthest of millions lies some 60 away.
pub(crate) const MAX_PROBES: usize = 1024;

/// What [`IdTable::insert`] and [`PairTable::insert`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    /// The same key was there, with this id or rank.
    Known(u32),
    /// The keys collide as they do only by intent.
    Crowded,
}

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

    /// Adds an id for bytes that hash to `hash`; `same(other)` says whether another id has the same bytes.
    pub(crate) fn insert(&mut self, hash: u64, id: u32, same: impl Fn(u32) -> bool) -> Inserted {
        let tag = (hash >> 32) as u32;
        for probe in 0..MAX_PROBES {
            let at = (hash as usize).wrapping_add(probe) & self.mask;
            let (t, other) = self.slots[at];
            if other == u32::MAX {
                self.slots[at] = (tag, id);
                return Inserted::New;
            }
            if t == tag && same(other) {
                return Inserted::Known(other);
            }
        }
        Inserted::Crowded
    }

    /// The id for which `same` holds.
    pub(crate) fn get(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        for probe in 0..MAX_PROBES {
            let (t, id) = self.slots[(hash as usize).wrapping_add(probe) & self.mask];
            if id == u32::MAX {
                return None;
            }
            if t == tag && same(id) {
                return Some(id);
            }
        }
        None
    }
}

/// Map from a pair of ids to a rank and the id of the pair joined.
pub(crate) struct PairTable {
    /// Key in the first word; rank and merged id in the second.
    slots: Vec<(u64, u64)>,
    mask: usize,
}

const EMPTY: u64 = u64::MAX;

impl PairTable {
    /// Room for `n` pairs.
    pub(crate) fn new(n: usize) -> Self {
        let size = (n.saturating_mul(2)).next_power_of_two().max(16);
        Self { slots: vec![(EMPTY, 0); size], mask: size - 1 }
    }

    fn key(left: u32, right: u32) -> u64 {
        u64::from(left) << 32 | u64::from(right)
    }

    /// Adds a pair; a known one keeps its rank. Ids stay below `u32::MAX`, so no key is [`EMPTY`].
    pub(crate) fn insert(&mut self, left: u32, right: u32, rank: u32, merged: u32) -> Inserted {
        let key = Self::key(left, right);
        let start = fold(key, K) as usize;
        for probe in 0..MAX_PROBES {
            let at = start.wrapping_add(probe) & self.mask;
            let (k, v) = self.slots[at];
            if k == EMPTY {
                self.slots[at] = (key, u64::from(rank) << 32 | u64::from(merged));
                return Inserted::New;
            }
            if k == key {
                return Inserted::Known((v >> 32) as u32);
            }
        }
        Inserted::Crowded
    }

    /// Rank and merged id of a pair.
    #[inline]
    pub(crate) fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let key = Self::key(left, right);
        let start = fold(key, K) as usize;
        for probe in 0..MAX_PROBES {
            let (k, v) = self.slots[start.wrapping_add(probe) & self.mask];
            if k == key {
                return Some(((v >> 32) as u32, v as u32));
            }
            if k == EMPTY {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_made_to_collide_are_refused_and_others_found() {
        let mut table = IdTable::new(4096);
        let results: Vec<Inserted> = (0..2000).map(|id| table.insert(42, id, |_| false)).collect();
        assert_eq!(results.iter().filter(|r| **r == Inserted::New).count(), MAX_PROBES);
        assert_eq!(results.last(), Some(&Inserted::Crowded));
        assert_eq!(table.get(42, |id| id == 1000), Some(1000));
        assert_eq!(table.get(42, |_| false), None);
    }

    #[test]
    fn ordinary_keys_lie_close() {
        let mut table = IdTable::new(100_000);
        let mut pairs = PairTable::new(100_000);
        for id in 0..100_000u32 {
            assert_eq!(table.insert(bytes(id.to_string().as_bytes()), id, |_| false), Inserted::New);
            assert_eq!(pairs.insert(id / 300, id % 300, id, id), Inserted::New);
        }
        assert_eq!(pairs.insert(1, 2, 9, 9), Inserted::Known(302));
        assert_eq!((pairs.get(1, 2), pairs.get(2, 301)), (Some((302, 302)), None));
    }
}
