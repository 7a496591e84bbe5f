//! Sessions that share a model's memory and steps: every one has the bits that it has alone.

use std::thread;
use tern::{BatchOptions, Event, GenerateOptions, KvType, Model, Sampling, Session, SessionOptions, StopReason};
use tern_tests::{open, smollm2};

/// Pseudo-random tokens.
fn text(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8) % 40_000)
        .collect()
}

fn session(model: &Model, isolated: bool) -> Session {
    session_in(model, isolated, KvType::F16)
}

fn session_in(model: &Model, isolated: bool, kv: KvType) -> Session {
    model.session(SessionOptions { context: Some(1024), isolated, kv, ..Default::default() }).unwrap()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

/// Logits after the prompt and after every further token.
fn walk(session: &Session, prompt: &[u32], more: &[u32]) -> Vec<Vec<u32>> {
    let first = bits(&session.forward(prompt).unwrap());
    std::iter::once(first).chain(more.iter().map(|&t| bits(&session.forward(&[t]).unwrap()))).collect()
}

#[test]
fn a_sequence_does_not_notice_others_that_come_and_go() {
    let model = open(&smollm2(), "", 2);
    let (prompt, more) = (text(1, 130), text(2, 24));
    for (kv, others) in [(KvType::F16, 1), (KvType::F16, 3), (KvType::F16, 15), (KvType::I8, 3)] {
        let expected = walk(&session_in(&model, true, kv), &prompt, &more);
        thread::scope(|scope| {
            for other in 0..others {
                let model = &model;
                // Each comes, computes and leaves at its own time, some of them twice.
                scope.spawn(move || {
                    for round in 0..1 + other % 2 {
                        let s = session_in(model, other % 3 == 0, kv);
                        walk(&s, &text(10 + other, 5 + 17 * other as usize), &text(round, 6 + other as usize));
                    }
                });
            }
            for _ in 0..2 {
                assert!(walk(&session_in(&model, true, kv), &prompt, &more) == expected, "{kv:?} beside {others}");
            }
        });
    }
}

#[test]
fn shared_beginnings_and_forks_have_the_same_bits() {
    let model = open(&smollm2(), "", 2);
    for kv in [KvType::F16, KvType::I8] {
        shared_beginnings(&model, |isolated| session_in(&model, isolated, kv));
    }
}

fn shared_beginnings(model: &Model, session: impl Fn(bool) -> Session) {
    let prompt = text(3, 700);
    let more = text(4, 5);
    let expected = walk(&session(true), &prompt, &more);
    let first = session(false);
    assert!(walk(&first, &prompt, &more) == expected);

    let second = session(false);
    let mut generation = second.generate(&prompt, GenerateOptions { max_tokens: 0, ..Default::default() }).unwrap();
    assert!(matches!(generation.next(), Some(Ok(Event::Done(_)))));
    assert!(bits(&second.forward(&[]).unwrap()) == expected[0], "a beginning that was computed before");
    let again = session(false);
    let events = again.generate(&prompt, GenerateOptions { max_tokens: 1, ..Default::default() }).unwrap();
    let Some(Ok(Event::Done(finish))) = events.last() else { panic!("no end") };
    assert_eq!((finish.timings.reused_tokens, finish.timings.prompt_tokens), (640, 60));

    let fork = second.fork().unwrap();
    drop(second);
    assert_eq!(fork.tokens(), prompt);
    assert!(bits(&fork.forward(&more[..1]).unwrap()) == expected[1], "a fork goes on without its origin");
    for n in [1, 500] {
        let other = fork.fork().unwrap();
        other.rollback(n).unwrap();
        let tokens = fork.tokens();
        let logits = other.forward(&tokens[tokens.len() - n..]).unwrap();
        assert!(bits(&logits) == expected[1], "a fork taken back by {n}");
    }
    // What a fork wrote is nothing to the others.
    assert!(bits(&first.forward(&[]).unwrap()) == expected[5]);
    model.trim().unwrap();
    assert!(bits(&fork.forward(&more[1..2]).unwrap()) == expected[2], "after trimming");
    assert!(walk(&session(false), &prompt, &more) == expected, "computed anew after trimming");
}

#[test]
fn a_batch_gives_each_prompt_the_answer_it_has_alone() {
    let model = open(&smollm2(), "", 2);
    let options = |i: u64| GenerateOptions {
        max_tokens: 4 + 3 * i as usize,
        sampling: Sampling { temperature: if i.is_multiple_of(2) { 0.0 } else { 0.9 }, seed: i, ..Default::default() },
        logprobs: true,
        ..Default::default()
    };
    let prompts: Vec<Vec<u32>> = (0..10).map(|i| text(20 + i, 3 + 40 * i as usize)).collect();
    let alone: Vec<Vec<Event>> = prompts
        .iter()
        .zip(0..)
        .map(|(p, i)| session(&model, true).generate(p, options(i)).unwrap().map(Result::unwrap).collect())
        .collect();
    let session = SessionOptions { context: Some(512), ..Default::default() };
    let mut batch = model.batch(BatchOptions { sequences: 4, session }).unwrap();
    for (p, i) in prompts.iter().zip(0..) {
        assert_eq!(batch.add(p.clone(), options(i)), i as usize);
    }
    let bad = batch.add(vec![u32::MAX], options(0));
    let cancelled = batch.add(text(99, 400), options(9));
    batch.cancel(cancelled);
    let mut together = vec![Vec::new(); prompts.len()];
    let mut errors = Vec::new();
    for (id, event) in batch.by_ref() {
        match event {
            Ok(event) => together[id].push(event),
            Err(error) => errors.push((id, error.to_string())),
        }
    }
    assert_eq!(batch.pending(), 0);
    // All at once, in the middle of long prompts.
    for i in 0..6 {
        batch.add(text(30 + i, 450), options(9));
    }
    assert_eq!(batch.pending(), 6);
    let cancel = batch.cancel_flag();
    thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(40));
        cancel.cancel();
    });
    let mut cancelled_ones = 0;
    for (_, event) in batch.by_ref() {
        match event {
            Ok(Event::Done(end)) => cancelled_ones += usize::from(end.reason == StopReason::Cancelled),
            Ok(Event::Token(_)) => {}
            Err(error) => cancelled_ones += usize::from(error.is_cancelled()),
        }
    }
    assert_eq!((batch.pending(), cancelled_ones), (0, 6));
    errors.sort();
    assert_eq!(errors.iter().map(|e| e.0).collect::<Vec<_>>(), [bad, cancelled]);
    for (i, (a, b)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(a.len(), b.len(), "prompt {i}");
        for pair in a.iter().zip(b) {
            match pair {
                (Event::Done(a), Event::Done(b)) => assert_eq!((a.reason, &a.text), (b.reason, &b.text)),
                (Event::Token(a), Event::Token(b)) => {
                    assert_eq!((a.id, &a.text, a.logprob), (b.id, &b.text, b.logprob), "prompt {i}");
                }
                (a, b) => panic!("prompt {i}: {a:?} is not {b:?}"),
            }
        }
        let Some(Event::Done(end)) = b.last() else { panic!("prompt {i} has no end") };
        assert!(matches!(end.reason, StopReason::Length | StopReason::End));
    }
}

#[test]
fn pages_behind_a_window_are_freed_and_come_back_when_they_are_needed() {
    let folder = tern_tests::goldens().join("tiny-mistral");
    let model = open(&folder, "", 2);
    let vocab = model.info().vocab as u32;
    let tokens: Vec<u32> = text(5, 1500).into_iter().map(|t| t % vocab).collect();
    let session = |isolated| {
        let options = SessionOptions { context: Some(2000), chunk: Some(32), isolated, ..Default::default() };
        model.session(options).unwrap()
    };
    let small = {
        let one = session(true);
        let used = model.memory().used;
        drop(one);
        model.trim().unwrap();
        used
    };
    let full = open(&tern_tests::goldens().join("tiny-llama"), "", 2);
    let other = full.session(SessionOptions { context: Some(2000), chunk: Some(32), ..Default::default() }).unwrap();
    assert!(full.memory().used > small + 1000 * full.info().kv_bytes_per_token, "{} and {small}", full.memory().used);
    drop(other);

    let walked = session(true);
    let expected: Vec<Vec<u32>> = tokens.iter().map(|&t| bits(&walked.forward(&[t]).unwrap())).collect();
    // In one go, taken back within and beyond what is kept, forked, and beginning as others did.
    let other = session(false);
    assert!(bits(&other.forward(&tokens).unwrap()) == expected[1499]);
    for n in [1, 40, 700, 1499] {
        other.rollback(n).unwrap();
        assert!(bits(&other.forward(&[]).unwrap()) == expected[1499 - n], "taken back by {n}");
        let fork = other.fork().unwrap();
        assert!(bits(&fork.forward(&tokens[1500 - n..]).unwrap()) == expected[1499], "a fork, {n} behind");
        assert!(bits(&other.forward(&tokens[1500 - n..]).unwrap()) == expected[1499], "{n} again");
    }
    assert!(bits(&session(false).forward(&tokens[..900]).unwrap()) == expected[899]);
    let path = std::env::temp_dir().join(format!("tern-window-{}", std::process::id()));
    other.save(&path).unwrap();
    let restored = model.restore(&path, SessionOptions { context: Some(2000), ..Default::default() }).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(bits(&restored.forward(&[]).unwrap()) == expected[1499], "restored");
    restored.rollback(600).unwrap();
    assert!(bits(&restored.forward(&[]).unwrap()) == expected[899], "restored, and taken back to what the file lacks");
}
