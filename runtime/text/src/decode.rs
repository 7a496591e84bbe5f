//! From tokens' texts to bytes, one token after the other.

mod filter;

use std::borrow::Cow;

use crate::alphabet;
use crate::error::{TextError, short};
use crate::limits::MAX_NORMALIZER_STEPS;
use crate::normalize::splitter;
use crate::pretok::regex::Splitter;
use crate::spec::{Decoder, Pattern, TokenType};
use filter::{Filter, FilterState};

/// The steps, made ready.
pub(crate) struct Decoders {
    /// What is done to each token.
    steps: Vec<Step>,
    /// What is done to all of them as one text.
    filters: Vec<Filter>,
    /// Becomes a space, in the last token nothing.
    word_end: Option<String>,
}

enum Step {
    Bytes,
    ByteFallback,
    Replace {
        splitter: Splitter,
        content: String,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Metaspace {
        replacement: char,
        prepended: bool,
    },
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    Ctc {
        pad: String,
        delimiter: String,
        cleanup: bool,
    },
    LeadingSpace,
    /// A space between tokens.
    Join,
}

/// How far a text has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct DecodeState {
    /// Whether a token came before.
    inside: bool,
    /// Whether any text did.
    written: bool,
    filters: Vec<FilterState>,
    /// The token that may be the last one.
    pending: Option<Vec<u8>>,
    /// The token of which another one like it is no more than a part.
    last: Option<String>,
}

impl Decoders {
    /// From steps.
    ///
    /// # Errors
    /// [`TextError::TooLarge`], [`TextError::Regex`]; [`TextError::Unsupported`] for a step that needs the whole text.
    pub(crate) fn new(list: &[Decoder]) -> Result<Self, TextError> {
        if list.len() > MAX_NORMALIZER_STEPS {
            let (what, limit) = ("number of decoder steps", MAX_NORMALIZER_STEPS);
            return Err(TextError::TooLarge { what, found: list.len(), limit });
        }
        let mut all = Self { steps: Vec::new(), filters: Vec::new(), word_end: None };
        let mut fused = false;
        for step in list {
            match step {
                step if fused => all.filter(step)?,
                Decoder::Fuse => fused = true,
                _ if all.word_end.is_some() => {
                    let what = "decoder behind BPEDecoder";
                    return Err(TextError::Unsupported { what, found: short(&format!("{step:?}")) });
                }
                Decoder::WordEnd { suffix } => all.word_end = Some(suffix.clone()),
                Decoder::Ctc { .. } if all.steps.iter().any(|s| matches!(s, Step::Ctc { .. })) => {
                    let what = "decoder behind another like it";
                    return Err(TextError::Unsupported { what, found: short(&format!("{step:?}")) });
                }
                step => {
                    all.steps.push(Step::new(step)?);
                    // Characters may be spread over tokens: what comes behind sees one text.
                    fused |= *step == Decoder::Bytes;
                }
            }
        }
        if list.is_empty() {
            all.steps.push(Step::Join);
        }
        Ok(all)
    }

    /// Adds a step on all tokens as one text.
    fn filter(&mut self, step: &Decoder) -> Result<(), TextError> {
        let mut replace = |from: &str, to: &str| {
            self.filters.extend(Filter::replace(from, to)?);
            Ok(())
        };
        let cleanup: &[(&str, &str)] = &CLEANUP;
        match step {
            Decoder::Fuse => Ok(()),
            Decoder::ByteFallback => {
                self.filters.push(Filter::Byte);
                Ok(())
            }
            Decoder::Strip { content, start, stop } => {
                self.filters.push(Filter::Strip { content: content.to_string(), start: *start, stop: *stop });
                Ok(())
            }
            Decoder::Replace { pattern: Pattern::Text(text), content } => replace(text, content),
            // All that follows are rules for the first token, which is the only one, or the last.
            Decoder::Metaspace { replacement, prepended } => {
                replace(replacement.encode_utf8(&mut [0; 4]), if *prepended { "" } else { " " })
            }
            Decoder::WordPiece { cleanup: false, .. } => Ok(()),
            Decoder::WordPiece { cleanup: true, .. } => cleanup.iter().try_for_each(|(from, to)| replace(from, to)),
            Decoder::WordEnd { suffix } => replace(suffix, ""),
            Decoder::Ctc { pad, delimiter, cleanup: tidy } => {
                replace(pad, "")?;
                if *tidy {
                    cleanup.iter().try_for_each(|(from, to)| replace(from, to))?;
                    replace(delimiter, " ")?;
                }
                Ok(())
            }
            Decoder::Replace { pattern: Pattern::Regex(_), .. } | Decoder::Bytes | Decoder::LeadingSpace => {
                let what = "decoder behind Fuse or ByteLevel";
                Err(TextError::Unsupported { what, found: short(&format!("{step:?}")) })
            }
        }
    }

    /// The beginning of a text.
    pub(crate) fn begin(&self) -> DecodeState {
        DecodeState { filters: self.filters.iter().map(Filter::begin).collect(), ..DecodeState::default() }
    }

    /// A place in the middle of a text.
    pub(crate) fn middle(&self) -> DecodeState {
        let filters = self.filters.iter().map(Filter::middle).collect();
        DecodeState { inside: true, written: true, filters, ..DecodeState::default() }
    }

    /// Appends what is certain after one more token.
    pub(crate) fn push(
        &self,
        state: &mut DecodeState,
        text: &str,
        kind: TokenType,
        out: &mut Vec<u8>,
    ) -> Result<(), TextError> {
        let Some(bytes) = self.token(state, text, kind)? else { return Ok(()) };
        state.inside = true;
        state.written |= !bytes.is_empty();
        let ready = match &self.word_end {
            None => Some(bytes),
            Some(suffix) => state.pending.replace(bytes).map(|last| replace_bytes(&last, suffix, " ")),
        };
        if let Some(bytes) = ready {
            self.pass(state, bytes, out);
        }
        Ok(())
    }

    /// Appends what was held back; the state is then that of a new text.
    pub(crate) fn finish(&self, state: &mut DecodeState, out: &mut Vec<u8>) {
        if let (Some(last), Some(suffix)) = (state.pending.take(), &self.word_end) {
            self.pass(state, replace_bytes(&last, suffix, ""), out);
        }
        let mut rest = Vec::new();
        for (filter, state) in self.filters.iter().zip(&mut state.filters) {
            rest = filter.push(state, &rest);
            rest.extend(filter.finish(state));
        }
        out.extend_from_slice(&rest);
        *state = self.begin();
    }

    fn pass(&self, state: &mut DecodeState, mut bytes: Vec<u8>, out: &mut Vec<u8>) {
        for (filter, state) in self.filters.iter().zip(&mut state.filters) {
            bytes = filter.push(state, &bytes);
        }
        out.extend_from_slice(&bytes);
    }

    /// A token's own bytes; `None` where it is no token of its own.
    fn token(&self, state: &mut DecodeState, token: &str, kind: TokenType) -> Result<Option<Vec<u8>>, TextError> {
        let inside = state.inside;
        let ordinary = matches!(kind, TokenType::Normal | TokenType::Byte);
        let mut text = Cow::Borrowed(token);
        for step in &self.steps {
            match step {
                Step::Bytes => {
                    if kind == TokenType::Byte
                        && let Some(byte) = hex_byte(&text)
                    {
                        return Ok(Some(vec![byte]));
                    }
                    // Texts of added tokens are written plainly.
                    if ordinary {
                        let mut bytes = Vec::new();
                        alphabet::read(&text, &mut bytes);
                        match String::from_utf8(bytes) {
                            Ok(whole) => text = Cow::Owned(whole),
                            // Part of a character: no step on characters can follow.
                            Err(part) => return Ok(Some(part.into_bytes())),
                        }
                    }
                }
                Step::ByteFallback => {
                    if let Some(byte) = hex_byte(&text).filter(|_| ordinary) {
                        return Ok(Some(vec![byte]));
                    }
                }
                Step::Replace { splitter, content } => {
                    let mut changed = String::new();
                    let mut at = 0;
                    for found in splitter.matches(&text) {
                        let (start, end) = found?;
                        changed.push_str(&text[at..start]);
                        changed.push_str(content);
                        at = end;
                    }
                    changed.push_str(&text[at..]);
                    text = Cow::Owned(changed);
                }
                Step::Strip { content, start, stop } => {
                    // The counts are the file's: only as many steps as there is text.
                    let (mut rest, mut start, mut stop) = (&*text, *start, *stop);
                    while let Some(inner) = rest.strip_prefix(*content).filter(|_| start > 0) {
                        (rest, start) = (inner, start - 1);
                    }
                    while let Some(inner) = rest.strip_suffix(*content).filter(|_| stop > 0) {
                        (rest, stop) = (inner, stop - 1);
                    }
                    text = Cow::Owned(rest.to_owned());
                }
                Step::Metaspace { replacement, prepended } => {
                    let space = if !inside && *prepended { "" } else { " " };
                    text = Cow::Owned(text.replace(*replacement, space));
                }
                Step::WordPiece { prefix, cleanup } => text = Cow::Owned(word_piece(&text, prefix, *cleanup, inside)),
                Step::Ctc { pad, delimiter, cleanup } => {
                    if state.last.as_deref() == Some(&*text) {
                        return Ok(None);
                    }
                    let mut kept = text.replace(pad, "");
                    state.last = Some(text.into_owned());
                    if *cleanup {
                        kept = clean(kept).replace(delimiter, " ");
                    }
                    if kept.is_empty() {
                        return Ok(None);
                    }
                    text = Cow::Owned(kept);
                }
                Step::LeadingSpace if !state.written => {
                    if let Some(rest) = text.strip_prefix(' ') {
                        text = Cow::Owned(rest.to_owned());
                    }
                }
                Step::LeadingSpace => {}
                Step::Join if inside => text = Cow::Owned(format!(" {text}")),
                Step::Join => {}
            }
        }
        Ok(Some(text.into_owned().into_bytes()))
    }
}

impl Step {
    fn new(step: &Decoder) -> Result<Self, TextError> {
        Ok(match step {
            Decoder::Bytes => Self::Bytes,
            Decoder::ByteFallback => Self::ByteFallback,
            Decoder::Replace { pattern, content } => {
                Self::Replace { splitter: splitter(pattern)?, content: content.clone() }
            }
            &Decoder::Strip { content, start, stop } => Self::Strip { content, start, stop },
            &Decoder::Metaspace { replacement, prepended } => Self::Metaspace { replacement, prepended },
            Decoder::WordPiece { prefix, cleanup } => Self::WordPiece { prefix: prefix.clone(), cleanup: *cleanup },
            Decoder::Ctc { pad, delimiter, cleanup } => {
                Self::Ctc { pad: pad.clone(), delimiter: delimiter.clone(), cleanup: *cleanup }
            }
            Decoder::LeadingSpace => Self::LeadingSpace,
            Decoder::Fuse | Decoder::WordEnd { .. } => {
                let what = "decoder on single tokens";
                return Err(TextError::Unsupported { what, found: short(&format!("{step:?}")) });
            }
        })
    }
}

/// A token of a word-piece vocabulary, with the space before it.
fn word_piece(token: &str, prefix: &str, cleanup: bool, inside: bool) -> String {
    let text = match token.strip_prefix(prefix) {
        _ if !inside => token.to_owned(),
        Some(rest) => rest.to_owned(),
        None => format!(" {token}"),
    };
    if cleanup { clean(text) } else { text }
}

/// Without the spaces that [`CLEANUP`] lists.
fn clean(mut text: String) -> String {
    for (from, to) in CLEANUP {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text
}

/// What English does without a space before, in this order (Hugging Face's list).
const CLEANUP: [(&str, &str); 11] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

fn replace_bytes(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !from.is_empty() => text.replace(from, to).into_bytes(),
        _ => bytes.to_vec(),
    }
}

/// The byte of `<0xNN>`.
pub(crate) fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(list: &[Decoder], tokens: &[&str]) -> String {
        let decoders = Decoders::new(list).unwrap();
        let (mut state, mut out) = (decoders.begin(), Vec::new());
        for token in tokens {
            decoders.push(&mut state, token, TokenType::Normal, &mut out).unwrap();
        }
        decoders.finish(&mut state, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn spaces_follow_the_rules_of_each_kind() {
        assert_eq!(decode(&[], &["a", "b"]), "a b");
        let metaspace = Decoder::Metaspace { replacement: '▁', prepended: true };
        assert_eq!(decode(&[metaspace], &["▁a▁", "b", "▁c"]), "ab c");
        let pieces = Decoder::WordPiece { prefix: "##".into(), cleanup: true };
        assert_eq!(decode(&[pieces], &["##a", "##b", "it", "'", "s", "."]), "##ab it ' s.");
        let end = Decoder::WordEnd { suffix: "</w>".into() };
        assert_eq!(decode(&[end], &["a", "b</w>", "c</w>"]), "ab c");
    }

    #[test]
    fn steps_behind_the_whole_see_one_text() {
        let text = |from: &str, to: &str| Decoder::Replace { pattern: Pattern::Text(from.into()), content: to.into() };
        assert_eq!(decode(&[Decoder::Fuse, text("aab", "-")], &["a", "a", "ab", "aa"]), "a-aa");
        assert_eq!(decode(&[Decoder::Bytes, text("й", "i")], &["a", "Ð", "¹", "Ð"]), "ai\u{fffd}");
        let strip = Decoder::Strip { content: ' ', start: 1, stop: 1 };
        assert_eq!(decode(&[Decoder::Bytes, strip], &["Ġa", "Ġb", "Ġ"]), "a b");
        let pieces = Decoder::WordPiece { prefix: "##".into(), cleanup: true };
        assert_eq!(decode(&[Decoder::Fuse, pieces], &["it", " ", "'", " s", " ."]), "it's.");
        let metaspace = Decoder::Metaspace { replacement: '▁', prepended: true };
        assert_eq!(decode(&[Decoder::Fuse, metaspace], &["▁a▁", "▁c"]), "ac");
        assert_eq!(decode(&[Decoder::Fuse, Decoder::ByteFallback], &["<0x", "41", ">"]), "A");
        assert_eq!(decode(&[Decoder::Fuse, Decoder::ByteFallback], &["<0x", "41", ">", "b"]), "<0x41>b");
        assert_eq!(decode(&[Decoder::Fuse, Decoder::ByteFallback], &["<", "a"]), "<a");
    }

    #[test]
    fn repetitions_are_one_and_padding_nothing() {
        let ctc = |cleanup| Decoder::Ctc { pad: "<pad>".into(), delimiter: "|".into(), cleanup };
        let tokens = "<pad> h e e l <pad> l o o | | <pad> | w".split(' ').collect::<Vec<_>>();
        assert_eq!(decode(&[ctc(true)], &tokens), "hello  w");
        assert_eq!(decode(&[ctc(false)], &tokens), "hello||w");
        let metaspace = Decoder::Metaspace { replacement: '▁', prepended: true };
        assert_eq!(decode(&[ctc(true), metaspace], &["<pad>", "▁", "▁", "H", "H", "▁", "y"]), "H y");
        assert!(Decoders::new(&[ctc(true), ctc(true)]).is_err());
    }

    #[test]
    fn ends_are_stripped_however_the_text_arrives() {
        let strip =
            |content, start, stop| [Decoder::ByteFallback, Decoder::Fuse, Decoder::Strip { content, start, stop }];
        assert_eq!(decode(&strip(' ', 1, 0), &["<0x20>", " a"]), " a");
        assert_eq!(decode(&strip(' ', 2, 2), &[" ", " ", " a ", " ", " "]), " a ");
        assert_eq!(decode(&strip('é', 1, 1), &["<0xC3>", "<0xA9>", "<0xC3>"]), "\u{fffd}");
        assert_eq!(decode(&strip(' ', 1, 1), &[" "]), "");
        let huge = [Decoder::Strip { content: ' ', start: usize::MAX, stop: usize::MAX }, Decoder::Fuse];
        assert_eq!(decode(&huge, &["  a ", " b"]), "ab");
        assert_eq!(decode(&strip(' ', usize::MAX, usize::MAX), &[" ", " a ", " "]), "a");
    }
}
