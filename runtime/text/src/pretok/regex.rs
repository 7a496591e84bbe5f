//! Searching for an expression.
//!
//! Nearly every published expression ends in `|\s+(?!\S)|\s+`: a run of whitespace is a piece, but leaves its last character
//! to a word that follows. This look-ahead is all that keeps them from a linear-time engine, so it is cut off here and its
//! effect computed by hand; so are the few others of [`ALIASES`] and [`threes`](super::threes). What still needs look-around
//! goes to a backtracking engine with a limit on its steps.

use regex_automata::meta;
use regex_automata::{Anchored, Input};

use super::threes::{self, Threes};
use crate::error::{TextError, short};
use crate::limits::{MAX_REGEX_BYTES, REGEX_BACKTRACK_LIMIT};

/// Endings that mean "whitespace, without the last character before a word".
const SPACE_TAILS: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s"];

/// Parts with possessive repetition, and their equals without: what follows cannot begin with what they took.
const ALIASES: [(&str, &str); 3] = [
    (r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}"),
    (r"[^\s\p{L}\p{N}]++[\r\n]*", r"[^\s\p{L}\p{N}]+[\r\n]*"),
    (r"\p{L}++|", r"\p{L}+|"),
];

/// What Oniguruma calls a word character: without the joiners that the engines here have in it, with the superscripts and
/// fractions of Latin-1.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾";

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
    Threes(Threes),
    Backtracking(fancy_regex::Regex),
}

impl Splitter {
    /// Compiles an expression in the syntax of Oniguruma, as far as the engines share it.
    ///
    /// # Errors
    /// [`TextError::TooLarge`], [`TextError::Regex`].
    pub(crate) fn new(pattern: &str) -> Result<Self, TextError> {
        if pattern.len() > MAX_REGEX_BYTES {
            return Err(TextError::TooLarge {
                what: "bytes of a pre-tokenizer expression",
                found: pattern.len(),
                limit: MAX_REGEX_BYTES,
            });
        }
        let mut plain = with_word_class(pattern);
        for (possessive, equal) in ALIASES {
            plain = plain.replace(possessive, equal);
        }
        let fast = || threes::known(pattern).map(Engine::Threes).or_else(|| linear(&plain));
        let engine = match fast() {
            Some(engine) => engine,
            None => fancy_regex::RegexBuilder::new(&plain)
                .multi_line(true)
                .backtrack_limit(REGEX_BACKTRACK_LIMIT)
                .delegate_size_limit(COMPILED_BYTES)
                .build()
                .map(Engine::Backtracking)
                .map_err(|e| TextError::Regex { pattern: short(pattern), message: short(&e.to_string()) })?,
        };
        Ok(Self { engine, pattern: short(pattern) })
    }

    /// Finds this text.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn literal(text: &str) -> Result<Self, TextError> {
        Self::new(&fancy_regex::escape(text))
    }

    /// Every match, in order, empty ones included.
    pub(crate) fn matches<'s>(&'s self, text: &'s str) -> Matches<'s> {
        Matches { splitter: self, text, at: 0, last: None, run: threes::Run::default() }
    }
}

/// The matches of an expression in a text. Ends after an error.
pub(crate) struct Matches<'s> {
    splitter: &'s Splitter,
    text: &'s str,
    at: usize,
    /// Where the last match ended.
    last: Option<usize>,
    run: threes::Run,
}

impl Iterator for Matches<'_> {
    type Item = Result<(usize, usize), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at <= self.text.len() {
            let found = match &self.splitter.engine {
                Engine::Linear { regex, space_tail } => next_linear(regex, *space_tail, self.text, self.at),
                Engine::Threes(threes) => threes.next(self.text, self.at, &mut self.run),
                Engine::Backtracking(regex) => match regex.find_from_pos(self.text, self.at) {
                    Ok(found) => found.map(|m| (m.start(), m.end())),
                    Err(_) => {
                        let (at, limit) = (self.at, REGEX_BACKTRACK_LIMIT);
                        self.at = self.text.len() + 1;
                        return Some(Err(TextError::RegexLimit { pattern: self.splitter.pattern.clone(), at, limit }));
                    }
                },
            };
            let (start, end) = found?;
            // As in Oniguruma's iterator: an empty match counts, unless it lies right behind the last one.
            if start == end && self.last == Some(end) {
                self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            (self.at, self.last) = (end, Some(end));
            return Some(Ok((start, end)));
        }
        None
    }
}

/// The expression on the linear engine, if that can express it.
fn linear(pattern: &str) -> Option<Engine> {
    if possessive(pattern) {
        return None;
    }
    let body = SPACE_TAILS.iter().find_map(|tail| pattern.strip_suffix(tail));
    let (patterns, space_tail) = match body {
        Some(body) => (vec![body, r"\s+"], true),
        None => (vec![pattern], false),
    };
    let regex = meta::Regex::builder()
        .configure(meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES)))
        // `^` and `$` mean lines in Oniguruma's default syntax.
        .syntax(regex_automata::util::syntax::Config::new().multi_line(true))
        .build_many(&patterns)
        .ok()?;
    // A rule that may match nothing would hide the tail.
    let hides = space_tail && regex.is_match(Input::new("").anchored(Anchored::Yes));
    (!hides).then_some(Engine::Linear { regex, space_tail })
}

/// The expression with `\w` and `\W` spelled out.
fn with_word_class(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('w')) => out.extend(["[", WORD, "]"]),
            ('\\', Some('W')) => out.extend(["[^", WORD, "]"]),
            (c, escaped) => out.extend([c].into_iter().chain(escaped)),
        }
    }
    out
}

/// Whether a repetition is followed by `+`: possessive in Oniguruma, but a repetition of the repetition to the linear engine.
fn possessive(pattern: &str) -> bool {
    let (mut escaped, mut in_class, mut before) = (false, 0usize, ' ');
    for c in pattern.chars() {
        if escaped {
            (escaped, before) = (false, ' ');
            continue;
        }
        match c {
            '\\' => escaped = true,
            '[' => in_class += 1,
            ']' => in_class = in_class.saturating_sub(1),
            '+' if in_class == 0 && matches!(before, '?' | '*' | '+') => return true,
            _ => {}
        }
        before = if in_class == 0 { c } else { ' ' };
    }
    false
}

fn next_linear(regex: &meta::Regex, space_tail: bool, text: &str, at: usize) -> Option<(usize, usize)> {
    // These expressions usually match right here, and an anchored search need not look for the match's start afterwards.
    let anchored = Input::new(text).span(at..text.len()).anchored(Anchored::Yes);
    let found = regex.search(&anchored).or_else(|| regex.search(&Input::new(text).span(at..text.len())))?;
    let (start, mut end) = (found.start(), found.end());
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

    fn found(splitter: &Splitter, text: &str) -> Vec<(usize, usize)> {
        splitter.matches(text).map(Result::unwrap).collect()
    }

    #[test]
    fn both_engines_find_alike() {
        let texts = [
            "He'll   say 1234,\n\n  x =  \t y;\u{a0}\u{a0}z й\u{306} ok  ",
            "1234567 12a 123456 1\n1234567٣٤٥٦ x1234 _123 9",
            "DON'T \r\n\r\n 漢字かな交じり文 ... !!! \u{3000}\u{3000}a",
        ];
        for (name, pattern) in super::super::table::expressions() {
            let fast = Splitter::new(pattern).unwrap();
            let slow = Splitter {
                engine: Engine::Backtracking(fancy_regex::RegexBuilder::new(pattern).multi_line(true).build().unwrap()),
                pattern: String::new(),
            };
            for text in texts {
                assert_eq!(found(&fast, text), found(&slow, text), "{name}: {pattern}");
            }
        }
    }

    #[test]
    fn published_expressions_take_linear_time() {
        let slow = |p: &str| matches!(Splitter::new(p).unwrap().engine, Engine::Backtracking(_));
        let names: Vec<&str> = super::super::table::expressions().filter(|(_, p)| slow(p)).map(|(n, _)| n).collect();
        // Its look-ahead spans at most 512 characters.
        assert_eq!(names, ["jais-2"]);
    }

    #[test]
    fn possessive_repetition_is_not_taken_for_nested() {
        assert!(possessive("a?+b") && possessive(r"\p{L}++") && possessive("[+]*+"));
        assert!(!possessive("[?+*+]+") && !possessive(r"\?+|\++") && !possessive("a{2}+"));
        assert_eq!(found(&Splitter::new("a++a|b").unwrap(), "aaab"), [(3, 4)]);
        let bailing = Splitter::new(r"[^\r\n\p{L}\p{N}]?+\p{L}+").unwrap();
        assert!(matches!(bailing.engine, Engine::Linear { .. }));
        assert_eq!(found(&bailing, "..a"), [(1, 3)]);
    }

    #[test]
    fn word_characters_are_those_of_oniguruma() {
        let words = Splitter::new(r"\w+").unwrap();
        assert_eq!(found(&words, "a²_\u{200d}b⁷Ⅷ"), [(0, 4), (7, 8), (11, 14)]);
        assert_eq!(with_word_class(r"\\w\w[\W]"), format!(r"\\w[{WORD}][[^{WORD}]]"));
    }

    #[test]
    fn empty_matches_count_once() {
        assert_eq!(found(&Splitter::new("x*").unwrap(), "axxb"), [(0, 0), (1, 3), (4, 4)]);
        assert_eq!(found(&Splitter::new("(?=b)").unwrap(), "aab"), [(2, 2)]);
    }

    #[test]
    fn runaway_expressions_end_in_an_error() {
        let splitter = Splitter::new(r"(?:(a*)*b)(?!c)").unwrap();
        let text = "a".repeat(4000);
        let last = splitter.matches(&text).last();
        assert!(matches!(last, None | Some(Err(TextError::RegexLimit { .. }))), "{last:?}");
        assert!(matches!(Splitter::new("("), Err(TextError::Regex { .. })));
    }
}
