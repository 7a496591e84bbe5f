//! Digits in groups of three counted from the right, as published expressions write it with look-ahead.
//!
//! Each look-ahead runs to the end of the digits, so that a backtracking engine takes quadratic time on a long number. Here a run
//! of digits is measured once.

use regex_automata::{Input, meta};

/// An empty match before each group of a number that is a multiple of three digits long from there.
const BOUNDARIES: &str = r"(?=(\d{3})+(?!\d))";

/// Each group of a number that no letter follows.
const GROUPS: &str = r"\d{1,3}(?=(?:\d{3})*\b)";

/// One of the two.
pub(super) struct Threes {
    /// Pattern 0 is a run of digits before the end of a word, pattern 1 any other.
    runs: meta::Regex,
    groups: bool,
}

/// The run of digits that matches are being taken from.
#[derive(Default)]
pub(super) struct Run {
    /// The place reached in it.
    at: usize,
    end: usize,
    /// Digits from there to the end.
    left: usize,
}

/// The expression, if it is one of the two.
pub(super) fn known(pattern: &str) -> Option<Threes> {
    let groups = match pattern {
        GROUPS => true,
        BOUNDARIES => false,
        _ => return None,
    };
    Some(Threes { runs: meta::Regex::new_many(&[r"\d+\b", r"\d+"]).ok()?, groups })
}

impl Threes {
    /// The next match at or behind byte `at`, which never falls from call to call with one `run`.
    pub(super) fn next(&self, text: &str, at: usize, run: &mut Run) -> Option<(usize, usize)> {
        let mut at = at;
        loop {
            if at >= run.end {
                let found = self.runs.search(&Input::new(text).span(at..text.len()))?;
                at = found.end();
                if self.groups && found.pattern().as_usize() == 1 {
                    continue;
                }
                at = found.start();
                *run = Run { at, end: found.end(), left: text[found.range()].chars().count() };
            }
            run.left = run.left.saturating_sub(text[run.at..at].chars().count());
            let first = run.left % 3;
            let digits = if self.groups && first == 0 { 3 } else { first };
            let end = text[at..].char_indices().nth(digits).map_or(text.len(), |(offset, _)| at + offset);
            run.left = run.left.saturating_sub(digits);
            run.at = end;
            if self.groups {
                return Some((at, end));
            }
            at = end;
            if run.left > 0 {
                return Some((end, end));
            }
        }
    }
}
