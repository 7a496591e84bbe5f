//! Fixed small tokenizers, any text, any ids: decoding gives the text back, piece by piece or whole, in bounded memory.

use std::sync::{Arc, LazyLock};

use tern_text::{Bos, DecodeOptions, Detokenizer, EncodeOptions, Tokenizer, Utf8Stream};
use unicode_normalization::UnicodeNormalization;

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// What comes back.
enum Back {
    /// The text itself, unless one of these, which take spaces around them along, is in it.
    Same(&'static [&'static str]),
    /// The text in normal form C, with spaces that the pre-tokenizer puts before words.
    Composed,
}

struct Fixed {
    tokenizer: Arc<Tokenizer>,
    back: Back,
}

static FIXED: LazyLock<Vec<Fixed>> = LazyLock::new(|| {
    let load = |json: &str, back| Fixed {
        tokenizer: Arc::new(Tokenizer::from_hf(json, None).expect("a tokenizer of our own tests")),
        back,
    };
    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../../runtime/text/tests/goldens/", $name, ".tokenizer.json"))
        };
    }
    vec![
        load(golden!("smollm2"), Back::Same(&[])),
        load(golden!("llama3"), Back::Same(&["<pad me>"])),
        load(golden!("nfc"), Back::Composed),
    ]
});

/// Caches, and the state of expressions in use.
const CONSTANT: usize = 4 << 20;

/// What a byte of text may take: an id and its place in the working lists.
const PER_BYTE: usize = 64;

/// One case.
pub fn case(data: &[u8]) {
    if let Some(text) = crate::raw(data) {
        let text = String::from_utf8_lossy(text);
        return FIXED.iter().for_each(|fixed| round_trip(fixed, &text));
    }
    let mut c = Choices::new(data);
    let fixed = c.pick(&FIXED);
    if c.once_in(4) {
        any_ids(&mut c, &fixed.tokenizer);
    } else {
        round_trip(fixed, &text(&mut c));
    }
}

/// Pieces that tokenizers treat specially, between arbitrary ones.
pub(crate) fn text(c: &mut Choices<'_>) -> String {
    const PIECES: &[&str] = &[
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "'s",
        "'LL",
        "’re",
        "123",
        "4567",
        "é",
        "e\u{301}",
        "й",
        "и\u{306}",
        "\u{200d}",
        "👩‍👩‍👧",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "漢字",
        "한",
        "\u{1112}\u{1161}",
        "ﬁ",
        "ǆ",
        "\u{0}",
        "\u{7f}",
        "<|im_start|>",
        "<|eot_id|>",
        "<think>",
        "<pad me>",
        "Über",
        "Ü",
        "...",
        "--",
        "▁",
        "##",
        "<0x0A>",
        "\u{feff}",
        "\u{fffd}",
        "\u{10ffff}",
        "ſ",
        "İ",
    ];
    let mut out = String::new();
    for _ in 0..c.below(24) {
        if c.once_in(3) {
            let n = 1 + c.below(6);
            out.push_str(&String::from_utf8_lossy(&c.bytes(n)));
        } else {
            let times = if c.once_in(8) { c.below(200) } else { 1 };
            out.push_str(&c.word(PIECES).repeat(times));
        }
    }
    out
}

fn round_trip(fixed: &Fixed, text: &str) {
    let t = &fixed.tokenizer;
    let budget = Budget::new(PER_BYTE * text.len() + CONSTANT, text.len());
    let options = EncodeOptions { special: false, bos: Bos::No };
    let ids = within(budget, "encoding", || t.encode(text, options)).expect("any text encodes");
    assert!(ids.iter().all(|&id| (id as usize) < t.vocab_size()));
    assert!(!ids.iter().any(|&id| t.is_control(id)), "a control token out of plain text");
    let whole = t.decode(&ids, DecodeOptions::default()).expect("our own ids");
    match fixed.back {
        Back::Same(except) if except.iter().any(|token| text.contains(token)) => {}
        Back::Same(_) => assert_eq!(whole, text),
        Back::Composed => assert_eq!(composed(&whole), composed(text)),
    }
    assert_eq!(one_by_one(t, &ids), whole);
    let special = t.encode(text, EncodeOptions { special: true, bos: Bos::No }).expect("any text encodes");
    assert!(special.len() <= text.len().max(1) * 4, "{} ids out of {} bytes", special.len(), text.len());
}

/// In normal form C and without spaces.
fn composed(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').nfc().collect()
}

/// Any ids, half characters among them.
fn any_ids(c: &mut Choices<'_>, t: &Arc<Tokenizer>) {
    let ids: Vec<u32> = (0..c.below(64)).map(|_| c.below(t.vocab_size()) as u32).collect();
    let whole = t.decode(&ids, DecodeOptions::default()).expect("ids of the vocabulary");
    assert_eq!(one_by_one(t, &ids), whole);
    assert!(t.decode(&[t.vocab_size() as u32], DecodeOptions::default()).is_err());
    let n = c.below(32);
    let bytes = c.bytes(n);
    let (mut stream, mut out) = (Utf8Stream::default(), String::new());
    let cut = c.below(bytes.len() + 1);
    stream.push(&bytes[..cut], &mut out);
    stream.push(&bytes[cut..], &mut out);
    stream.finish(&mut out);
    assert_eq!(out, String::from_utf8_lossy(&bytes));
}

fn one_by_one(t: &Arc<Tokenizer>, ids: &[u32]) -> String {
    let mut stream = Detokenizer::new(Arc::clone(t), DecodeOptions::default());
    let mut pieces: String = ids.iter().map(|&id| stream.push(id).expect("ids of the vocabulary")).collect();
    pieces.push_str(&stream.finish());
    pieces
}
