//! Streams against whole texts, and stop strings against a search without cleverness.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::sync::Arc;

use common::{Random, tokenizer};
use tern_text::{Bos, DecodeOptions, Detokenizer, EncodeOptions, StopMatcher, TextError, Utf8Stream};

const OPTIONS: DecodeOptions = DecodeOptions { skip_special: false };

#[test]
fn any_tokens_stream_as_they_decode() {
    let tokenizer = Arc::new(tokenizer("llama3"));
    let mut random = Random(1);
    let mut replaced = 0;
    for round in 0..4000 {
        // Tokens of single bytes come first in these vocabularies: half of the rounds make broken UTF-8 of them.
        let range = if round % 2 == 0 { 262 } else { tokenizer.vocab_size() };
        let ids: Vec<u32> = (0..random.below(24)).map(|_| random.below(range) as u32).collect();
        let whole = tokenizer.decode(&ids, OPTIONS).unwrap();
        let mut stream = Detokenizer::new(Arc::clone(&tokenizer), OPTIONS);
        let mut joined: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        joined += &stream.finish();
        assert_eq!(joined, whole, "{ids:?}");
        replaced += whole.matches('\u{fffd}').count();
    }
    assert!(replaced > 1000, "{replaced}");
    let unknown = tokenizer.vocab_size() as u32;
    assert!(
        matches!(Detokenizer::new(tokenizer, OPTIONS).push(unknown), Err(TextError::UnknownId { id, .. }) if id == unknown)
    );
}

#[test]
fn any_bytes_stream_as_the_standard_library_reads_them() {
    let mut random = Random(2);
    let pool: &[u8] = b"a\x80\xbf\xc2\xc3\xe0\xa0\xed\x9f\xe2\x82\xac\xf0\x90\xf4\x8f\xf5\xff";
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(14)).map(|_| pool[random.below(pool.len())]).collect();
        let (mut stream, mut out, mut rest) = (Utf8Stream::default(), String::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(1 + random.below(rest.len()));
            stream.push(head, &mut out);
            rest = tail;
        }
        stream.finish(&mut out);
        assert_eq!(out, String::from_utf8_lossy(&bytes), "{bytes:?}");
    }
}

#[test]
fn text_survives_the_way_there_and_back() {
    let tokenizer = tokenizer("smollm2");
    let mut random = Random(3);
    for _ in 0..2000 {
        let text: String =
            (0..random.below(60)).filter_map(|_| char::from_u32(random.below(0x11_0000) as u32)).collect();
        let ids = tokenizer.encode(&text, EncodeOptions { special: false, bos: Bos::No }).unwrap();
        assert_eq!(tokenizer.decode(&ids, OPTIONS).unwrap(), text);
    }
}

/// The first place where a stop string ends, and of those that end there the longest.
fn naive(text: &str, stops: &[String]) -> Option<(usize, usize)> {
    (1..=text.len()).filter(|&end| text.is_char_boundary(end)).find_map(|end| {
        let ends_here = stops.iter().enumerate().filter(|(_, s)| text[..end].ends_with(s.as_str()));
        let (index, stop) = ends_here.max_by_key(|(i, s)| (s.len(), usize::MAX - i))?;
        Some((index, end - stop.len()))
    })
}

#[test]
fn stop_strings_end_the_text_wherever_it_is_cut() {
    let mut random = Random(4);
    let letters: Vec<char> = "abé日".chars().collect();
    let word =
        |random: &mut Random, n: usize| -> String { (0..n).map(|_| letters[random.below(letters.len())]).collect() };
    let mut stopped = 0;
    for _ in 0..20_000 {
        let stops: Vec<String> = (0..random.below(4))
            .map(|_| {
                let n = 1 + random.below(5);
                word(&mut random, n)
            })
            .collect();
        let n = random.below(30);
        let text = word(&mut random, n);
        let mut matcher = StopMatcher::new(&stops).unwrap();
        let (mut out, mut found) = (String::new(), None);
        let mut chars = text.chars().peekable();
        while chars.peek().is_some() && found.is_none() {
            let piece: String = chars.by_ref().take(1 + random.below(4)).collect();
            let step = matcher.push(&piece);
            out += &step.text;
            found = step.stop;
            // What was given out is never taken back.
            assert!(text.starts_with(&out));
        }
        match naive(&text, &stops) {
            Some((index, start)) => {
                assert_eq!((found, out.as_str()), (Some(index), &text[..start]), "{text:?} {stops:?}");
                assert_eq!(matcher.push("more").text, "");
                assert_eq!(matcher.stopped(), Some(index));
                stopped += 1;
            }
            None => {
                out += &matcher.finish();
                assert_eq!((found, out), (None, text));
            }
        }
    }
    assert!(stopped > 5000, "{stopped}");
}

#[test]
fn nothing_is_held_back_without_need() {
    let mut matcher = StopMatcher::new(&["\n\nUser:"]).unwrap();
    assert_eq!(matcher.push("Hello\n").text, "Hello");
    assert_eq!(matcher.push("\nUs").text, "");
    assert_eq!(matcher.push("ually").text, "\n\nUsually");
    assert_eq!(matcher.push("\n\n").text, "");
    assert_eq!(matcher.finish(), "\n\n");
    assert_eq!(StopMatcher::new(&[] as &[&str]).unwrap().push("any").text, "any");
    assert!(matches!(StopMatcher::new(&["a", ""]), Err(TextError::EmptyStop { index: 1 })));
    assert!(matches!(StopMatcher::new(&["a".repeat(5000)]), Err(TextError::TooLarge { .. })));
}
