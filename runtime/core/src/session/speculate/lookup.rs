//! Prompt lookup: what followed when the last tokens stood here before (Saxena, "Prompt Lookup Decoding", 2023).
//!
//! Earlier places are found as in LZ77 (Ziv and Lempel, 1977; the chains are those of zlib): every position is linked to the
//! one before it that ends with the same tokens. Of the places on the chain the one that agrees longest counts, and of
//! equals the last. The continuation may reach into itself, so that text with a period is found, too.

use std::collections::HashMap;

/// Tokens that a link of the two chains stands for. The first finds long matches among many places, the other any at all.
const KEYS: [usize; 2] = [3, 1];
/// Places that a search looks at on each chain.
const PLACES: usize = 32;
/// Longer agreement is no better.
pub const LONGEST: usize = 32;

/// An index over the tokens of a sequence, which grows with it.
#[derive(Default)]
pub struct Lookup {
    tokens: Vec<u32>,
    chains: [Chain; 2],
}

/// Positions with the same last tokens, the latest first.
#[derive(Default)]
struct Chain {
    heads: HashMap<[u32; 3], u32>,
    /// For every position, the one before it on its chain.
    earlier: Vec<u32>,
}

/// Stands for no position.
const NONE: u32 = u32::MAX;

/// A guess at what comes next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// Tokens, as many as asked for.
    pub tokens: Vec<u32>,
    /// How many tokens before them agreed, at most [`LONGEST`].
    pub agreement: usize,
}

impl Lookup {
    /// Makes it the index of `tokens`: extends it where it is one of their beginning.
    pub fn follow(&mut self, tokens: &[u32]) {
        if !tokens.starts_with(&self.tokens) {
            *self = Self::default();
        }
        for &token in &tokens[self.tokens.len()..] {
            self.tokens.push(token);
            let at = self.tokens.len() - 1;
            for (chain, key) in self.chains.iter_mut().zip(KEYS) {
                let earlier = match key_at(&self.tokens, at, key) {
                    Some(key) => chain.heads.insert(key, at as u32).unwrap_or(NONE),
                    None => NONE,
                };
                chain.earlier.push(earlier);
            }
        }
    }

    /// What came after the last tokens before, `count` tokens of it; `None` where the last token is new.
    pub fn guess(&self, count: usize) -> Option<Guess> {
        let (place, agreement) = self.chains.iter().find_map(|chain| self.longest(chain))?;
        let mut tokens: Vec<u32> = Vec::with_capacity(count);
        for from in place + 1..place + 1 + count {
            let token = self.tokens.get(from).or_else(|| tokens.get(from - self.tokens.len()));
            tokens.extend(token.copied());
        }
        Some(Guess { tokens, agreement })
    }

    /// The place before the last token that agrees longest with what ends there, and how long.
    fn longest(&self, chain: &Chain) -> Option<(usize, usize)> {
        let last = self.tokens.len().checked_sub(1)?;
        let mut best = None;
        let mut at = *chain.earlier.get(last)?;
        for _ in 0..PLACES {
            if at == NONE {
                break;
            }
            let agreement = self.agreement(at as usize, last);
            if best.is_none_or(|(_, longest)| agreement > longest) {
                best = Some((at as usize, agreement));
            }
            if agreement == LONGEST {
                break;
            }
            at = chain.earlier[at as usize];
        }
        best
    }

    /// How many tokens before and at `a` equal those before and at `b`.
    fn agreement(&self, a: usize, b: usize) -> usize {
        let (a, b) = (self.tokens[..=a].iter().rev(), self.tokens[..=b].iter().rev());
        a.zip(b).take(LONGEST).take_while(|(a, b)| a == b).count()
    }
}

/// The last `len` tokens up to `at`; whole, so that no two keys are taken for one.
fn key_at(tokens: &[u32], at: usize, len: usize) -> Option<[u32; 3]> {
    let from = (at + 1).checked_sub(len)?;
    let mut key = [NONE; 3];
    key.iter_mut().zip(&tokens[from..=at]).for_each(|(k, t)| *k = *t);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(tokens: &[u32], count: usize) -> Option<(Vec<u32>, usize)> {
        let mut lookup = Lookup::default();
        // Token by token and at once are the same.
        (0..=tokens.len()).for_each(|n| lookup.follow(&tokens[..n]));
        let mut whole = Lookup::default();
        whole.follow(tokens);
        assert_eq!(lookup.guess(count), whole.guess(count));
        lookup.guess(count).map(|g| (g.tokens, g.agreement))
    }

    #[test]
    fn the_longest_match_counts_and_then_the_latest() {
        assert_eq!(guess(&[], 3), None);
        assert_eq!(guess(&[1, 2, 3], 3), None);
        assert_eq!(guess(&[1, 2, 3, 9, 2, 3, 8, 1, 2, 3], 2), Some((vec![9, 2], 3)));
        assert_eq!(guess(&[2, 3, 9, 2, 3, 8, 7, 2, 3], 2), Some((vec![8, 7], 2)));
        assert_eq!(guess(&[5, 7, 5, 8, 5], 1), Some((vec![8], 1)));
    }

    #[test]
    fn a_period_goes_on_for_ever() {
        assert_eq!(guess(&[4, 4], 5), Some((vec![4; 5], 1)));
        assert_eq!(guess(&[1, 2, 1, 2, 1], 5), Some((vec![2, 1, 2, 1, 2], 3)));
    }

    #[test]
    fn it_finds_what_a_search_of_everything_finds() {
        let mut seed = 1u32;
        let tokens: Vec<u32> = (0..400)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) % 7
            })
            .collect();
        let mut lookup = Lookup::default();
        for n in 1..tokens.len() {
            let seen = &tokens[..n];
            lookup.follow(seen);
            let agreement = |at: usize| (0..=at).take_while(|i| seen[at - i] == seen[n - 1 - i]).count();
            let longest = (0..n - 1).map(agreement).max().unwrap_or(0).min(LONGEST);
            let found = lookup.guess(1).map_or(0, |g| g.agreement);
            // It looks at so many places only, yet finds a long one wherever there is one.
            assert!(
                found <= longest && found >= longest.min(1) && (found >= 3 || longest < 3),
                "{found} {longest} at {n}"
            );
        }
    }

    #[test]
    fn another_text_begins_anew() {
        let mut lookup = Lookup::default();
        lookup.follow(&[1, 2, 3, 1]);
        assert_eq!(lookup.guess(1).map(|g| g.tokens), Some(vec![2]));
        lookup.follow(&[1, 5, 1]);
        assert_eq!(lookup.guess(1).map(|g| g.tokens), Some(vec![5]));
        lookup.follow(&[1]);
        assert_eq!(lookup.guess(1), None);
    }
}
