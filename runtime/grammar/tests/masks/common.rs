//! Tokenizers, and a comparison of every mask of random texts with an oracle's.

use std::path::Path;
use tern::{Constraint, Matcher, Tokenizer};

/// A byte-level BPE vocabulary of 296 tokens, and two in the manner of SentencePiece, with bytes for what has no token.
pub const TOKENIZERS: [&str; 3] = [
    "../../tests/goldens/tiny-llama/tokenizer.json",
    "../text/tests/goldens/kinds/bpe-gemma.json",
    "../text/tests/goldens/kinds/bpe-fallback-prepend.json",
];

pub fn tokenizer(path: &str) -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    Tokenizer::from_hf(&json.get("file").unwrap_or(&json).to_string(), None).unwrap()
}

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}

/// What another implementation says of a text.
pub trait Oracle {
    /// Can it still become one of the form?
    fn viable(&self, text: &[u8]) -> bool;
    /// Is it one?
    fn complete(&self, text: &[u8]) -> bool;
}

/// Which tokens a matcher allows.
pub fn allowed(matcher: &mut dyn Matcher, tokenizer: &Tokenizer) -> Vec<bool> {
    // A few rows more than tokens, as padded models have.
    let mut logits = vec![0.0; tokenizer.vocab_size() + 7];
    matcher.mask(&mut logits).unwrap();
    assert!(logits[tokenizer.vocab_size()..].iter().all(|&l| l == f32::NEG_INFINITY));
    logits.iter().take(tokenizer.vocab_size()).map(|&l| l == 0.0).collect()
}

/// Walks along `walks` random texts and compares each mask, token by token. Returns how many masks there were.
pub fn compare(constraint: &Constraint, tokenizer: &Tokenizer, oracle: &dyn Oracle, walks: usize) -> usize {
    let mut random = Random(7);
    let mut masks = 0;
    for _ in 0..walks {
        let mut matcher = constraint.begin().unwrap();
        let mut text = Vec::new();
        for _ in 0..24 {
            if matcher.is_done() {
                assert!(oracle.complete(&text), "{constraint:?} ended {:?}", String::from_utf8_lossy(&text));
                break;
            }
            masks += 1;
            let allowed = allowed(&mut *matcher, tokenizer);
            for (id, &allowed) in (0..).zip(&allowed) {
                let after = [&text[..], &tokenizer.token_bytes(id).unwrap()].concat();
                let expected = match () {
                    () if tokenizer.is_end(id) => oracle.complete(&text),
                    () if tokenizer.is_control(id) => false,
                    () => after.len() > text.len() && oracle.viable(&after),
                };
                let shown = String::from_utf8_lossy(&after).into_owned();
                assert_eq!(allowed, expected, "token {id}, {:?}: {shown:?}", tokenizer.token_text(id));
                assert_eq!(matcher.allowed(&[id]).unwrap() == 1, allowed, "token {id}: {shown:?}");
            }
            let open: Vec<u32> = (0..).zip(&allowed).filter(|a| *a.1).map(|a| a.0).collect();
            let next = open[random.below(open.len())];
            matcher.push(next).unwrap();
            if tokenizer.is_end(next) {
                assert!(matcher.is_done());
                break;
            }
            text.extend(tokenizer.token_bytes(next).unwrap());
        }
    }
    masks
}
