//! A real model against transformers and llama.cpp: tokens, log-probabilities, greedy text, template.

use std::collections::HashMap;
use tern::{Event, GenerateOptions, KvType, Message, Model, ScoreOptions, SessionOptions};
use tern_quant::DType;
use tern_tests::{goldens, ids, json, open, smollm2, smollm2_as};

const TOP: usize = 5;

/// `top5.bin`, see `make_smollm2.py`: for each source, for each position, the likeliest tokens.
struct Top5 {
    sources: Vec<Vec<Vec<(u32, f32)>>>,
}

fn top5() -> Top5 {
    let bytes = std::fs::read(goldens().join("smollm2/top5.bin")).unwrap();
    let u32_at = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap()) as usize;
    assert_eq!(&bytes[..8], b"TERNTOP5");
    let (sources, positions, k) = (u32_at(12), u32_at(16), u32_at(20));
    assert_eq!((u32_at(8), k), (1, TOP));
    let mut all = vec![Vec::new(); sources];
    for record in bytes[24..].chunks_exact(k * 6) {
        let turn = all.iter().map(Vec::len).sum::<usize>() % sources;
        let (ids, values) = record.split_at(k * 2);
        let ids = ids.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes(b.try_into().unwrap())));
        let values = values.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        all[turn].push(ids.zip(values).collect());
    }
    assert!(all.iter().all(|s: &Vec<Vec<(u32, f32)>>| s.len() == positions));
    Top5 { sources: all }
}

/// Differences of the golden's top-5 log-probabilities from ours.
fn differences(model: &Model, source: &[Vec<(u32, f32)>], kv: KvType) -> Vec<f32> {
    let texts = json(goldens().join("smollm2/texts.json"));
    let mut golden = source.iter();
    let mut differences = Vec::new();
    for text in texts["texts"].as_array().unwrap() {
        let tokens = ids(&text["tokens"]);
        let options = ScoreOptions { top: 200, kv, ..Default::default() };
        let scored = model.score(&tokens, &options, &mut |_, _| ()).unwrap();
        for s in &scored[1..] {
            let ours: HashMap<u32, f32> = s.top.iter().copied().collect();
            differences.extend(
                golden.next().unwrap().iter().map(|(id, l)| (ours.get(id).copied().unwrap_or(f32::MIN) - l).abs()),
            );
        }
    }
    assert!(golden.next().is_none());
    differences
}

fn check(what: &str, differences: &[f32], limit: f32, share: f64, never: f32) {
    let beyond = differences.iter().filter(|d| **d > limit).count() as f64 / differences.len() as f64;
    let largest = differences.iter().fold(0f32, |m, d| m.max(*d));
    println!("{what}: {} values, {:.3}% beyond {limit}, largest {largest}", differences.len(), beyond * 100.0);
    assert!(beyond <= share && largest <= never, "{what}");
}

#[test]
fn f32_and_f16_weights_give_the_probabilities_of_transformers_and_llama_cpp() {
    let golden = top5();
    let exact = open(&smollm2_as(DType::F32), "", 2);
    check("F32, exact cache, transformers", &differences(&exact, &golden.sources[0], KvType::F32), 0.002, 0.0, 0.002);
    check("F32, transformers", &differences(&exact, &golden.sources[0], KvType::F16), 0.02, 0.001, 0.05);
    check("F32, llama.cpp", &differences(&exact, &golden.sources[3], KvType::F16), 0.02, 0.001, 0.05);
    drop(exact);
    let half = open(&smollm2_as(DType::F16), "", 2);
    check("F16, transformers", &differences(&half, &golden.sources[1], KvType::F16), 0.02, 0.001, 0.05);
}

#[test]
fn tokens_equal_those_of_two_implementations() {
    let model = open(&smollm2(), "", 2);
    let texts = json(goldens().join("smollm2/texts.json"));
    for text in texts["texts"].as_array().unwrap() {
        let options = tern::EncodeOptions { special: text["special"].as_bool().unwrap_or(false), bos: tern::Bos::No };
        let plain = text["text"].as_str().unwrap();
        let tokens = model.tokenizer().encode(plain, options).unwrap();
        assert_eq!(tokens, ids(&text["tokens"]), "{}", text["name"]);
        let back = model.tokenizer().decode(&tokens, tern::DecodeOptions { skip_special: false }).unwrap();
        assert_eq!(back, plain);
    }
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let model = open(&smollm2(), "", 2);
    let chats = json(goldens().join("smollm2/chat.json"));
    for chat in chats["chat"].as_array().unwrap() {
        let text = |m: &serde_json::Value, key: &str| m[key].as_str().unwrap().to_owned();
        let messages: Vec<Message> = chat["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message::new(text(m, "role"), text(m, "content")))
            .collect();
        let tokens = model.encode_chat(&messages, true).unwrap();
        assert_eq!(tokens, ids(&chat["prompt_tokens"]));
        let back = model.tokenizer().decode(&tokens, tern::DecodeOptions { skip_special: false }).unwrap();
        assert_eq!(back, text(chat, "prompt"));
        let options = tern::EncodeOptions { special: true, bos: tern::Bos::No };
        let without = model.encode_chat(&messages, false).unwrap();
        assert_eq!(without, model.tokenizer().encode(&text(chat, "text"), options).unwrap());
    }
}

#[test]
fn greedy_text_equals_that_of_transformers_except_at_near_ties() {
    let model = open(&smollm2_as(DType::F32), "", 2);
    let greedy = json(goldens().join("smollm2/greedy.json"));
    for case in greedy["greedy"].as_array().unwrap() {
        let expected = ids(&case["tokens"]);
        let session = model.session(SessionOptions { context: Some(512), ..Default::default() }).unwrap();
        let options = GenerateOptions { max_tokens: expected.len(), ignore_end: true, ..Default::default() };
        let mut found = Vec::new();
        for event in session.generate(&ids(&case["prompt_tokens"]), options).unwrap() {
            if let Event::Token(t) = event.unwrap() {
                found.push(t.id);
            }
        }
        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let gap = case["gaps"][same].as_f64().unwrap_or(0.0);
        assert!(same == expected.len() || gap < 0.05, "{}: apart at {same}, where the gap is {gap}", case["prompt"]);
    }
}
