//! Same tokens every time: bit-equal logits whatever the number of threads and however a prompt is cut, on every tier.

use tern::{Model, SessionOptions};
use tern_quant::DType;
use tern_tests::{open, smollm2, smollm2_as, tiers};

fn prompt(model: &Model) -> Vec<u32> {
    let text = "The tern is a seabird. It breeds in the north, winters in the south, and sees more daylight than any other animal. ";
    let mut tokens = model.encode(&text.repeat(6)).unwrap();
    tokens.truncate(150);
    tokens
}

/// Logits after the prompt and after each of five more tokens, as bits.
fn bits(model: &Model, chunk: u64) -> Vec<Vec<u32>> {
    let session = model
        .session(SessionOptions { context: Some(256), chunk: Some(chunk), isolated: true, ..Default::default() })
        .unwrap();
    let mut logits = vec![session.forward(&prompt(model)).unwrap()];
    for t in [7, 99, 1000, 3, 42] {
        logits.push(session.forward(&[t]).unwrap());
    }
    logits.iter().map(|row| row.iter().map(|l| l.to_bits()).collect()).collect()
}

#[test]
fn threads_and_chunks_do_not_change_a_bit() {
    let files = [smollm2(), smollm2_as(DType::Q4_0), smollm2_as(DType::Q8_0), smollm2_as(DType::F16)];
    for file in &files {
        for tier in tiers() {
            // The scalar tier is slow; one file says what there is to say.
            if tier == "scalar" && file != &files[0] {
                continue;
            }
            let expected = bits(&open(file, tier, 2), 256);
            for threads in [1, 3, 8] {
                let same = bits(&open(file, tier, threads), 256) == expected;
                assert!(same, "{} {tier}: {threads} threads", file.display());
            }
            let model = open(file, tier, 2);
            for chunk in [1, 7, 64] {
                assert!(bits(&model, chunk) == expected, "{} {tier}: chunks of {chunk}", file.display());
            }
        }
    }
}

#[test]
fn a_rollback_leaves_no_trace() {
    let model = open(&smollm2(), "", 2);
    let session = model.session(SessionOptions { context: Some(512), ..Default::default() }).unwrap();
    let tokens = prompt(&model);
    let expected = session.forward(&tokens).unwrap();
    for n in [1, 3, 70, 150] {
        session.forward(&vec![5; n]).unwrap();
        session.rollback(n + 2).unwrap();
        assert!(session.forward(&tokens[148..]).unwrap() == expected, "rollback of {n}");
    }
}
