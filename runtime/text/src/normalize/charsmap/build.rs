//! A small table of replacements, built: for what a file can say in no other way.

use std::collections::{BTreeSet, HashSet};

/// The units among which one node's children lie; no search leaves an array of whole blocks.
const BLOCK: usize = 256;
/// Marks a node at which a key ends.
const ENDS: u32 = 1 << 8;
/// Marks the value of a key.
const VALUE: u32 = 1 << 31;

/// A table that puts `replacement` in the place of each of these characters.
pub(crate) fn replacing(characters: impl IntoIterator<Item = char>, replacement: &str) -> Vec<u8> {
    // A key's label 0 is its end.
    let key = |c: char| c.to_string().bytes().chain([0]).collect::<Vec<u8>>();
    let keys: BTreeSet<Vec<u8>> = characters.into_iter().map(key).collect();
    let mut trie = DoubleArray { units: vec![0; BLOCK], used: HashSet::from([0]), bases: HashSet::new() };
    trie.place(0, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut table = ((trie.units.len() * 4) as u32).to_le_bytes().to_vec();
    table.extend(trie.units.iter().flat_map(|unit| unit.to_le_bytes()));
    table.extend(replacement.bytes().chain([0]));
    table
}

struct DoubleArray {
    units: Vec<u32>,
    used: HashSet<usize>,
    /// No two nodes share a base: a child's label would not tell whose it is.
    bases: HashSet<usize>,
}

impl DoubleArray {
    /// Gives a node its children: what is left of the keys that lead to it, in order. All values are 0.
    fn place(&mut self, node: usize, keys: &[&[u8]]) {
        let children: Vec<&[&[u8]]> = keys.chunk_by(|a, b| a[0] == b[0]).collect();
        let labels: Vec<u8> = children.iter().map(|keys| keys[0][0]).collect();
        let fits = |base: &usize| labels.iter().all(|&label| !self.used.contains(&(base ^ usize::from(label))));
        let base = (1..).find(|base| !self.bases.contains(base) && fits(base)).unwrap_or_default();
        self.bases.insert(base);
        self.units.resize(self.units.len().max((base / BLOCK + 1) * BLOCK), 0);
        self.units[node] |= ((node ^ base) as u32) << 10;
        let places: Vec<usize> = labels.iter().map(|&label| base ^ usize::from(label)).collect();
        self.used.extend(&places);
        for ((keys, label), place) in children.into_iter().zip(labels).zip(places) {
            if label == 0 {
                self.units[node] |= ENDS;
                self.units[place] = VALUE;
            } else {
                self.units[place] = u32::from(label);
                self.place(place, &keys.iter().map(|key| &key[1..]).collect::<Vec<_>>());
            }
        }
    }
}
