//! Lines of a width, as Python's `textwrap` breaks them.

use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::text::Text;
use super::text_ops::{is_space, join, split_lines};
use super::value::{Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// How to break.
pub(super) struct Style {
    /// Characters in a line.
    pub width: i128,
    /// Words longer than a line are broken.
    pub long_words: bool,
    /// Words may be broken behind their hyphens.
    pub hyphens: bool,
}

/// A stretch of a line, in characters.
type Chunk = (usize, usize);

/// Every line of the text by itself, its parts joined by `with`.
pub(super) fn word_wrap(text: &Text, style: &Style, with: &Text) -> Result<Text> {
    let mut paragraphs = Vec::new();
    for line in split_lines(text, false)? {
        let Value::Str(line) = line else { continue };
        let s = line.as_str();
        // A text of a megabyte is looked at character by character.
        let _held = text.meter().hold(s.len().saturating_mul(size_of::<char>() + size_of::<usize>()))?;
        text.meter().tick(s.len() / 8)?;
        let chars: Vec<char> = s.chars().collect();
        let mut places: Vec<usize> = s.char_indices().map(|(at, _)| at).collect();
        places.push(s.len());
        let mut parts = Vec::new();
        for (from, to) in lines(&chars, style)? {
            // Plain text, whatever it was.
            parts.push(Value::text(line.part(places[from]..places[to])?.marked(false)));
        }
        paragraphs.push(Value::text(join(with, &parts)?));
    }
    join(with, &paragraphs)
}

fn lines(chars: &[char], style: &Style) -> Result<Vec<Chunk>> {
    let width = usize::try_from(style.width).ok().filter(|&w| w > 0);
    let width = width.ok_or_else(|| runtime("wordwrap takes a width above 0"))?;
    let blank = |&(from, to): &Chunk| chars[from..to].iter().all(|&c| is_space(c));
    let mut rest = chunks(chars, style.hyphens);
    rest.reverse();
    let mut lines: Vec<Chunk> = Vec::new();
    while let Some(first) = rest.last() {
        if !lines.is_empty() && blank(first) {
            rest.pop();
        }
        let mut line: Vec<Chunk> = Vec::new();
        let mut length = 0;
        while let Some(&(from, to)) = rest.last().filter(|(from, to)| length + to - from <= width) {
            line.push((from, to));
            length += to - from;
            rest.pop();
        }
        if let Some(next) = rest.last_mut().filter(|(from, to)| to - from > width) {
            if style.long_words {
                let cut = next.0 + broken(&chars[next.0..next.1], width - length, style.hyphens);
                line.push((next.0, cut));
                next.0 = cut;
            } else if line.is_empty() {
                line.extend(rest.pop());
            }
        }
        if line.last().is_some_and(blank) {
            line.pop();
        }
        if let (Some(first), Some(last)) = (line.first(), line.last()) {
            lines.push((first.0, last.1));
        }
    }
    Ok(lines)
}

/// How much of a word longer than a line stands on one with so much space.
fn broken(word: &[char], space: usize, hyphens: bool) -> usize {
    let hyphen = word[..space].iter().rposition(|&c| c == '-').filter(|&at| at > 0 && hyphens);
    match hyphen.filter(|&at| word[..at].iter().any(|&c| c != '-')) {
        Some(at) => at + 1,
        None => space,
    }
}

/// Whitespace, and what stands between it: words, cut behind hyphens and around dashes if `hyphens`.
fn chunks(chars: &[char], hyphens: bool) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let run = |is: fn(char) -> bool, from: usize| {
            chars[from..].iter().position(|&c| !is(c)).map_or(chars.len(), |length| from + length)
        };
        let dash = |at: usize| dash(chars, at);
        let end = if is_blank(chars[at]) {
            run(is_blank, at)
        } else if !hyphens {
            run(|c| !is_blank(c), at)
        } else if let Some(end) = dash(at) {
            end
        } else {
            // The shortest stretch that ends with a hyphen between letters, before whitespace or before a dash.
            let mut end = at + 1;
            loop {
                if end == chars.len() || is_blank(chars[end]) || dash(end).is_some() {
                    break end;
                }
                if hyphenated(chars, end) {
                    break end + 1;
                }
                end += 1;
            }
        };
        out.push((at, end));
        at = end;
    }
    out
}

/// Where a dash of at least two hyphens between words ends, if one begins here.
fn dash(chars: &[char], at: usize) -> Option<usize> {
    let before = *chars.get(at.checked_sub(1)?)?;
    if chars.get(at) != Some(&'-') || !(is_word(before) || "!\"'&.,?".contains(before)) {
        return None;
    }
    let length = chars[at..].iter().position(|&c| c != '-')?;
    (length >= 2 && is_word(chars[at + length])).then_some(at + length)
}

/// Whether here is a hyphen behind two letters, or behind letter, hyphen, letter, and before two letters or such ones.
fn hyphenated(chars: &[char], at: usize) -> bool {
    let letter = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|&c| is_letter(c));
    let back = |by: usize| at.checked_sub(by);
    let hyphen = |at: Option<usize>| at.and_then(|at| chars.get(at)) == Some(&'-');
    let behind = letter(back(1)) && (letter(back(2)) || (hyphen(back(2)) && letter(back(3))));
    let ahead = || letter(Some(at + 1)) && (letter(Some(at + 2)) || (hyphen(Some(at + 2)) && letter(Some(at + 3))));
    chars[at] == '-' && behind && ahead()
}

/// The whitespace of ASCII: others count as parts of words.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// What Python's expressions call a word character.
pub(super) fn is_word(c: char) -> bool {
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[\p{L}\p{N}_]").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    WORD.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
}

/// A word character that is no decimal digit.
fn is_letter(c: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A\p{Nd}").ok());
    is_word(c) && !DIGIT.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
}
