//! Splitting by an expression.
//!
//! Nearly every published expression ends in `|\s+(?!\S)|\s+`: a run of whitespace is a piece, but leaves its last character
//! to a word that follows. This look-ahead is all that keeps them from a linear-time engine, so it is cut off here and its
//! effect computed by hand. What still needs look-around goes to a backtracking engine with a limit on its steps.

use regex_automata::meta;
use regex_automata::{Anchored, Input};

use super::Sink;
use crate::error::{TextError, short};
use crate::limits::{MAX_REGEX_BYTES, REGEX_BACKTRACK_LIMIT};

/// Endings that mean "whitespace, without the last character before a word".
const SPACE_TAILS: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s"];

/// Cap on the size of a compiled expression; the published ones need about 1 MB, most of it Unicode classes.
const COMPILED_BYTES: usize = 32 << 20;

/// A compiled expression.
pub(crate) struct Splitter {
    engine: Engine,
    pattern: String,
}

enum Engine {
    /// With `space_tail`, pattern 1 is `\s+` with the rule above.
    Linear {
        regex: meta::Regex,
        space_tail: bool,
    },
    Backtracking(fancy_regex::Regex),
}

impl Splitter {
    /// Compiles an expression in the syntax of Oniguruma, as far as the engines share it.
    pub(crate) fn new(pattern: &str) -> Result<Self, TextError> {
        if pattern.len() > MAX_REGEX_BYTES {
            return Err(TextError::TooLarge {
                what: "bytes of a pre-tokenizer expression",
                found: pattern.len(),
                limit: MAX_REGEX_BYTES,
            });
        }
        let engine = match linear(pattern) {
            Some(engine) => engine,
            None => fancy_regex::RegexBuilder::new(pattern)
                .multi_line(true)
                .backtrack_limit(REGEX_BACKTRACK_LIMIT)
                .delegate_size_limit(COMPILED_BYTES)
                .build()
                .map(Engine::Backtracking)
                .map_err(|e| TextError::Regex { pattern: short(pattern), message: short(&e.to_string()) })?,
        };
        Ok(Self { engine, pattern: short(pattern) })
    }

    /// Gives `sink` every match and every gap, none of them empty.
    pub(crate) fn split(&self, text: &str, sink: &mut Sink<'_>) -> Result<(), TextError> {
        let mut at = 0;
        while at < text.len() {
            let found = match &self.engine {
                Engine::Linear { regex, space_tail } => next_linear(regex, *space_tail, text, at),
                Engine::Backtracking(regex) => self.next_backtracking(regex, text, at)?,
            };
            let Some((start, end)) = found else { break };
            if start > at {
                sink(&text[at..start])?;
            }
            sink(&text[start..end])?;
            at = end;
        }
        if at < text.len() { sink(&text[at..]) } else { Ok(()) }
    }

    fn next_backtracking(
        &self,
        regex: &fancy_regex::Regex,
        text: &str,
        at: usize,
    ) -> Result<Option<(usize, usize)>, TextError> {
        let mut from = at;
        loop {
            match regex.find_from_pos(text, from) {
                Ok(Some(m)) if m.start() < m.end() => return Ok(Some((m.start(), m.end()))),
                // An empty match cuts nothing off; look on behind it.
                Ok(Some(m)) => match text[m.end()..].chars().next() {
                    Some(c) => from = m.end() + c.len_utf8(),
                    None => return Ok(None),
                },
                Ok(None) => return Ok(None),
                Err(_) => {
                    return Err(TextError::RegexLimit {
                        pattern: self.pattern.clone(),
                        at: from,
                        limit: REGEX_BACKTRACK_LIMIT,
                    });
                }
            }
        }
    }
}

/// The expression on the linear engine, if that can express it.
fn linear(pattern: &str) -> Option<Engine> {
    let body = SPACE_TAILS.iter().find_map(|tail| pattern.strip_suffix(tail));
    let space_tail = body.is_some();
    let body = body.unwrap_or(pattern);
    // The linear engine reads `a?+` as a repeated `a?`, where Oniguruma means "without giving back".
    if ["?+", "*+", "++"].iter().any(|p| body.contains(p)) {
        return None;
    }
    let patterns = if space_tail { vec![body, r"\s+"] } else { vec![body] };
    let regex = meta::Builder::new()
        .configure(meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES)))
        // `^` and `$` mean lines in Oniguruma's default syntax.
        .syntax(regex_automata::util::syntax::Config::new().multi_line(true))
        .build_many(&patterns)
        .ok()?;
    // An empty match would need Oniguruma's rules for going on after it.
    let can_be_empty = regex.is_match(Input::new("").anchored(Anchored::Yes));
    (!can_be_empty).then_some(Engine::Linear { regex, space_tail })
}

fn next_linear(regex: &meta::Regex, space_tail: bool, text: &str, at: usize) -> Option<(usize, usize)> {
    // These expressions usually match right here, and an anchored search need not look for the match's start afterwards.
    let anchored = Input::new(text).span(at..text.len()).anchored(Anchored::Yes);
    let found = regex.search(&anchored).or_else(|| regex.search(&Input::new(text).span(at..text.len())))?;
    let (start, mut end) = (found.start(), found.end());
    if start == end {
        return None;
    }
    if space_tail && found.pattern().as_usize() == 1 && end < text.len() {
        let last = text[start..end].chars().next_back().map_or(0, char::len_utf8);
        if start + last < end {
            end -= last;
        }
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(splitter: &Splitter, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        splitter
            .split(text, &mut |p| {
                out.push(p.to_string());
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn both_engines_cut_alike() {
        let text = "He'll   say 1234,\n\n  x =  \t y;\u{a0}\u{a0}z й\u{306} ok  ";
        for name in super::super::PRE_TOKENIZER_NAMES {
            for pattern in super::super::table::steps(name).unwrap() {
                let fast = Splitter::new(pattern).unwrap();
                assert!(matches!(fast.engine, Engine::Linear { .. }), "{name}");
                let slow = Splitter {
                    engine: Engine::Backtracking(fancy_regex::Regex::new(pattern).unwrap()),
                    pattern: String::new(),
                };
                assert_eq!(pieces(&fast, text), pieces(&slow, text), "{name}: {pattern}");
            }
        }
    }

    #[test]
    fn runaway_expressions_end_in_an_error() {
        let splitter = Splitter::new(r"(?:(a*)*b)(?!c)").unwrap();
        let text = "a".repeat(4000);
        match splitter.split(&text, &mut |_| Ok(())) {
            Ok(()) | Err(TextError::RegexLimit { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(matches!(Splitter::new("("), Err(TextError::Regex { .. })));
    }
}
