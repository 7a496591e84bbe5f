//! Tokenizers in GGUF keys: SentencePiece's BPE, Unigram and WordPiece. What is sound loads, gives text back as its normalizer
//! leaves it, and gives the same tokens after it was written as keys again; the rest ends in an error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use tern_text::{Bos, DecodeOptions, EncodeOptions, GgufTokenizer, SpecialIds, TokenType, Tokenizer, TokenizerSpec};

use crate::bytes::Choices;
use crate::charsmap::{self, Entry};
use crate::tokenizer_load::use_it;
use crate::tokenizer_round_trip::text;
use crate::watch::{Budget, within};

/// Tables whose size does not depend on the keys: lists per byte value, a decoder.
const CONSTANT: usize = 1 << 20;

/// What a byte of the keys, or one of the eight beside each token, may turn into: a trie's node, a place in a hash table.
const PER_BYTE: usize = 64;

/// One case.
pub fn case(data: &[u8]) {
    let mut c = Choices::new(data);
    let mut parts = Parts::choose(&mut c);
    let sound = c.once_in(2);
    if !sound {
        for _ in 0..=c.below(3) {
            parts.break_something(&mut c);
        }
    }
    let text = text(&mut c);
    let size = parts.size();
    let budget = Budget::new(PER_BYTE * size + CONSTANT, size);
    let loaded = within(budget, "putting a tokenizer together", || {
        let spec = TokenizerSpec::from_gguf(parts.keys())?;
        Tokenizer::new(spec.clone()).map(|tokenizer| (spec, Arc::new(tokenizer)))
    });
    let (spec, tokenizer) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(!sound, "refused sound keys: {error}");
            assert!(error.to_string().len() < 4 << 10, "an error of {} bytes", error.to_string().len());
            return;
        }
    };
    use_it(&tokenizer, &text);
    let written = written_again(&spec, &tokenizer, &text, sound);
    if sound {
        assert!(written, "sound keys cannot be written again");
        if let Some(expected) = parts.gives_back(&text) {
            assert_eq!(decoded(&tokenizer, &text), expected, "decoding what was encoded");
        }
    }
}

const PLAIN: EncodeOptions = EncodeOptions { special: false, bos: Bos::No };

fn decoded(tokenizer: &Tokenizer, text: &str) -> String {
    let ids = tokenizer.encode(text, PLAIN).expect("any text of this size encodes");
    assert!(!ids.iter().any(|&id| tokenizer.is_control(id)), "a control token out of plain text");
    tokenizer.decode(&ids, DecodeOptions::default()).expect("our own ids")
}

/// Whether the parts can be keys again; those give the same tokens and, written once more, are the same.
fn written_again(spec: &TokenizerSpec<'_>, tokenizer: &Tokenizer, text: &str, sound: bool) -> bool {
    let Ok(keys) = spec.to_gguf() else { return false };
    let again = TokenizerSpec::from_gguf(keys.clone()).expect("keys of ours");
    assert_eq!(format!("{:?}", again.to_gguf().expect("keys of ours")), format!("{keys:?}"));
    let again = Tokenizer::new(again).expect("keys of ours");
    for special in [false, true] {
        let options = EncodeOptions { special, bos: Bos::Auto };
        match (tokenizer.encode(text, options), again.encode(text, options)) {
            (Ok(ids), Ok(other)) => assert_eq!(ids, other, "tokens after writing the keys"),
            (Err(_), Err(_)) => assert!(!sound, "sound keys cannot encode"),
            (one, other) => panic!("before writing {one:?}, after {other:?}"),
        }
    }
    true
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Scored,
    Unigram,
    WordPiece,
}

/// Its place in [`Parts::flags`].
const REMOVE_EXTRA_WHITESPACES: usize = 4;

/// Keys, owned.
struct Parts {
    kind: Kind,
    model: &'static str,
    tokens: Vec<String>,
    types: Option<Vec<i32>>,
    scores: Option<Vec<f32>>,
    special: SpecialIds,
    flags: [Option<bool>; 7],
    table: Option<Vec<u8>>,
    /// What the table was made from.
    entries: Vec<Entry>,
    /// Whether every byte has a token.
    bytes: bool,
    user_defined: bool,
}

impl Parts {
    fn choose(c: &mut Choices<'_>) -> Self {
        let kind = *c.pick(&[Kind::Scored, Kind::Unigram, Kind::WordPiece]);
        let model = match kind {
            Kind::Scored => "llama",
            Kind::Unigram => "t5",
            Kind::WordPiece => "bert",
        };
        let mut list = List::default();
        let special = list.special(kind);
        // T5 has none; Llama has them all.
        let bytes = kind == Kind::Scored || (kind == Kind::Unigram && c.once_in(2));
        if bytes {
            (0..=255).for_each(|byte| list.add(format!("<0x{byte:02X}>"), TokenType::Byte));
        }
        let user_defined = kind != Kind::WordPiece && c.once_in(4);
        if user_defined {
            (0..=c.below(2)).for_each(|i| list.add(format!("<{i}{}>", c.text(4)), TokenType::UserDefined));
        }
        list.pieces(c, kind);
        let scores = (kind != Kind::WordPiece).then(|| scores(c, kind, &list));
        let flag = |c: &mut Choices<'_>| c.once_in(2).then(|| c.once_in(2));
        let entries = if kind != Kind::WordPiece && c.once_in(3) { charsmap::choose(c) } else { Vec::new() };
        let table = (!entries.is_empty()).then(|| charsmap::table(&entries));
        Self {
            kind,
            model,
            types: Some(list.types),
            tokens: list.tokens,
            scores,
            special,
            flags: std::array::from_fn(|_| flag(c)),
            table,
            entries,
            bytes,
            user_defined,
        }
    }

    fn keys(&self) -> GgufTokenizer<'_> {
        let [add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces, lowercase, strip_accents] =
            self.flags;
        GgufTokenizer {
            model: Cow::Borrowed(self.model),
            tokens: self.tokens.iter().map(|t| Cow::Borrowed(t.as_str())).collect(),
            token_type: self.types.clone(),
            scores: self.scores.clone(),
            special: self.special,
            cls: self.special.bos.filter(|_| self.kind == Kind::WordPiece),
            add_bos,
            add_eos,
            add_sep,
            add_space_prefix,
            remove_extra_whitespaces,
            precompiled_charsmap: self.table.as_deref().map(Cow::Borrowed),
            lowercase,
            strip_accents,
            ..GgufTokenizer::default()
        }
    }

    fn size(&self) -> usize {
        let texts: usize = self.tokens.iter().map(|t| t.len() + 8).sum();
        texts + self.table.as_ref().map_or(0, Vec::len)
    }

    fn break_something(&mut self, c: &mut Choices<'_>) {
        // All may have been cut off already.
        if self.tokens.is_empty() {
            return;
        }
        let at = c.below(self.tokens.len());
        let other = c.below(self.tokens.len());
        match c.below(12) {
            0 => self.tokens[at] = self.tokens[other].clone(),
            1 => self.tokens[at] = c.text(12).repeat(1 + c.below(200)),
            2 => self.tokens[at].clear(),
            3 => self.tokens.truncate(at),
            4 => self.types = None,
            5 => {
                if let Some(kind) = self.types.as_mut().and_then(|types| types.get_mut(at)) {
                    *kind = if c.once_in(4) { c.number() } else { 1 + c.below(6) as i32 };
                }
            }
            6 => self.scores = None,
            7 | 8 => {
                let bits = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e-45];
                let score = if c.once_in(2) { f32::from_bits(c.number()) } else { *c.pick(&bits) };
                if let Some(place) = self.scores.as_mut().and_then(|scores| scores.get_mut(at)) {
                    *place = score;
                }
            }
            9 => {
                let id = if c.once_in(4) { None } else { Some(c.extreme() as u32) };
                let s = &mut self.special;
                let ids = [&mut s.bos, &mut s.eos, &mut s.unk, &mut s.pad, &mut s.sep, &mut s.mask, &mut s.eot];
                let i = c.below(ids.len());
                *ids.into_iter().nth(i).expect("one of them") = id;
            }
            10 => self.model = c.word(&["llama", "t5", "bert", "gpt2", "gemma4", ""]),
            _ => {
                let n = c.below(64);
                let table = self.table.get_or_insert_with(|| c.bytes(n));
                if !table.is_empty() {
                    let at = c.below(table.len());
                    table[at] = c.number();
                }
            }
        }
    }

    /// What decoding a text's tokens must give, where that can be told without another tokenizer.
    fn gives_back(&self, text: &str) -> Option<String> {
        // Unknown text is lost without bytes, and BERT's tokens keep neither spaces nor case.
        if !self.bytes || self.user_defined {
            return None;
        }
        let tidy = self.flags[REMOVE_EXTRA_WHITESPACES].unwrap_or(false);
        let out = charsmap::replaced(&self.entries, text).replace('▁', " ");
        if !tidy {
            // The space that is put before a text is taken away again.
            return Some(out);
        }
        // Marks that the text itself has are not removed as spaces are, nor are several spaces in place of something else.
        if text.contains('▁') || self.entries.iter().any(|e| e.to.contains("  ")) {
            return None;
        }
        Some(out.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
    }
}

/// Tokens with their types.
#[derive(Default)]
struct List {
    tokens: Vec<String>,
    types: Vec<i32>,
    /// All texts: comparing each with those before it took a fifth of the target's time.
    known: HashSet<String>,
}

impl List {
    /// Texts that are there already are left out.
    fn add(&mut self, text: String, kind: TokenType) {
        if !text.is_empty() && self.known.insert(text.clone()) {
            self.tokens.push(text);
            self.types.push(kind as i32);
        }
    }

    fn special(&mut self, kind: Kind) -> SpecialIds {
        use TokenType::{Control, Unknown};
        let (texts, ids): (&[(&str, TokenType)], _) = match kind {
            Kind::Scored => (
                &[("<unk>", Unknown), ("<s>", Control), ("</s>", Control)],
                SpecialIds { unk: Some(0), bos: Some(1), eos: Some(2), ..SpecialIds::default() },
            ),
            Kind::Unigram => (
                &[("<pad>", Control), ("</s>", Control), ("<unk>", Unknown), ("<s>", Control)],
                SpecialIds { pad: Some(0), eos: Some(1), unk: Some(2), bos: Some(3), ..SpecialIds::default() },
            ),
            Kind::WordPiece => (
                &[("[PAD]", Control), ("[UNK]", Unknown), ("[CLS]", Control), ("[SEP]", Control), ("[MASK]", Control)],
                SpecialIds {
                    pad: Some(0),
                    unk: Some(1),
                    bos: Some(2),
                    sep: Some(3),
                    eos: Some(3),
                    mask: Some(4),
                    ..SpecialIds::default()
                },
            ),
        };
        texts.iter().for_each(|(text, kind)| self.add((*text).to_owned(), *kind));
        ids
    }

    /// Characters, then what pairs of earlier pieces make.
    fn pieces(&mut self, c: &mut Choices<'_>, kind: Kind) {
        let mut pieces: Vec<String> = "▁abcdefgstu0123'.,éй漢👩\u{301}\n".chars().map(String::from).collect();
        for _ in 0..c.below(40) {
            let pair = format!("{}{}", c.pick(&pieces), c.pick(&pieces));
            if pair.len() < 200 {
                pieces.push(pair);
            }
        }
        for piece in pieces {
            // BERT's unused tokens keep their spelling, which another one may come to; without a space's token it is lost.
            let unused = kind != Kind::WordPiece && piece != "▁" && c.once_in(32);
            self.add(piece, if unused { TokenType::Unused } else { TokenType::Normal });
        }
        if kind == Kind::WordPiece {
            // The marks of words stand only at the front.
            let keep: Vec<bool> = self.tokens.iter().map(|t| !t.trim_start_matches('▁').contains('▁')).collect();
            let mut kept = keep.iter();
            self.types.retain(|_| *kept.next().expect("one for each"));
            let mut kept = keep.iter();
            self.tokens.retain(|_| *kept.next().expect("one for each"));
        }
    }
}

/// Ranks for BPE; log-probabilities, with ties, for Unigram.
fn scores(c: &mut Choices<'_>, kind: Kind, list: &List) -> Vec<f32> {
    let score = |(i, kind_of): (usize, &i32)| match kind {
        _ if *kind_of != TokenType::Normal as i32 => 0.0,
        Kind::Scored => -(i as f32),
        _ => -f32::from(c.number::<u8>()) / 16.0,
    };
    list.types.iter().enumerate().map(score).collect()
}
