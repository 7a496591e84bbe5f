//! Tables of replacements (`precompiled_charsmap`) made from entries, and what they must do.

use crate::bytes::Choices;

/// A text and what it becomes.
pub struct Entry {
    /// Not empty.
    pub from: String,
    /// May be.
    pub to: String,
}

/// A few entries with different texts.
pub fn choose(c: &mut Choices<'_>) -> Vec<Entry> {
    const FROM: &[&str] = &["ﬁ", "é", "e\u{301}", "\u{a0}", "\u{3000}", "\t", "A", "Ab", "...", "й", "\u{feff}", "👩‍👩‍👧"];
    const TO: &[&str] = &["fi", "e", " ", "", "a", "ab", "  ", "\u{fffd}", "…"];
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..=c.below(6) {
        let from = if c.once_in(4) { c.text(5) } else { c.word(FROM).to_owned() };
        let from = from.replace('\0', "");
        if !from.is_empty() && entries.iter().all(|e| e.from != from) {
            entries.push(Entry { from, to: c.word(TO).to_owned() });
        }
    }
    entries
}

/// A text with the longest entry replaced at each place.
pub fn replaced(entries: &[Entry], text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = entries.iter().filter(|e| rest.starts_with(&e.from)).max_by_key(|e| e.from.len());
        match found {
            Some(entry) => {
                out.push_str(&entry.to);
                rest = &rest[entry.from.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The table as files have it: a double array (Aoe 1989) in the encoding of Yata's darts-clone, then the replacements.
pub fn table(entries: &[Entry]) -> Vec<u8> {
    let mut replacements = Vec::new();
    let mut keys: Vec<(&[u8], u32)> = Vec::new();
    for entry in entries {
        keys.push((entry.from.as_bytes(), replacements.len() as u32));
        replacements.extend(entry.to.as_bytes());
        replacements.push(0);
    }
    keys.sort();
    let mut array = Array { units: vec![0; 256], taken: vec![false; 256], bases: Vec::new() };
    array.taken[0] = true;
    array.place(0, &keys, 0);
    let trie: Vec<u8> = array.units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    [&(trie.len() as u32).to_le_bytes()[..], &trie, &replacements].concat()
}

struct Array {
    units: Vec<u32>,
    taken: Vec<bool>,
    /// Where children lie around.
    bases: Vec<usize>,
}

impl Array {
    /// Places the children of the node at `at`, whose keys agree in their first `depth` bytes.
    fn place(&mut self, at: usize, keys: &[(&[u8], u32)], depth: usize) {
        // The end of a key counts as a child with label 0.
        let label = |key: &(&[u8], u32)| key.0.get(depth).copied().unwrap_or(0);
        let groups: Vec<&[(&[u8], u32)]> = keys.chunk_by(|a, b| label(a) == label(b)).collect();
        let labels: Vec<usize> = groups.iter().map(|group| usize::from(label(&group[0]))).collect();
        // No two nodes may have their children around one place, or one's would pass for the other's.
        let free = |offset: &usize| {
            !self.bases.contains(&(at ^ offset)) && labels.iter().all(|&l| self.is_free(at ^ offset ^ l))
        };
        let offset = (1..).find(free).expect("room ahead");
        self.bases.push(at ^ offset);
        self.units[at] |= (offset as u32) << 10;
        let end = labels.iter().map(|l| at ^ offset ^ l).max().unwrap_or(0) + 1;
        if end > self.units.len() {
            self.units.resize(end.next_multiple_of(256), 0);
            self.taken.resize(end.next_multiple_of(256), false);
        }
        for &l in &labels {
            self.taken[at ^ offset ^ l] = true;
        }
        for (group, l) in groups.into_iter().zip(labels) {
            let child = at ^ offset ^ l;
            if l == 0 {
                self.units[at] |= 1 << 8;
                self.units[child] = group[0].1 | 1 << 31;
            } else {
                self.units[child] = l as u32;
                self.place(child, group, depth + 1);
            }
        }
    }

    /// What is beyond the end is free.
    fn is_free(&self, at: usize) -> bool {
        !self.taken.get(at).is_some_and(|&taken| taken)
    }
}
