//! Speculative decoding changes no token, no log-probability and no state: everything that is told of a generation is
//! compared with the same generation without, bit for bit.

use tern::{
    BatchOptions, Chat, Drafts, Error, Event, GenerateOptions, KvType, Model, ModelOptions, Overflow, Sampling,
    Session, SessionOptions, Speculation, StopReason, Timings,
};
use tern_quant::DType;
use tern_tests::{goldens, open, runtime, smollm2, smollm2_as, smollm2_cut};

/// A generation, but for its times.
#[derive(Debug, Default, PartialEq)]
struct Told {
    tokens: Vec<(u32, String, Option<u32>)>,
    end: Option<(StopReason, String, Option<String>)>,
    /// The session's tokens, and the bits of the logits after them.
    after: (Vec<u32>, Vec<u32>),
}

fn told(events: impl Iterator<Item = Result<Event, Error>>) -> (Told, Timings) {
    let (mut told, mut timings) = (Told::default(), Timings::default());
    for event in events {
        match event.unwrap() {
            Event::Token(t) => told.tokens.push((t.id, t.text, t.logprob.map(f32::to_bits))),
            Event::Done(f) => (told.end, timings) = (Some((f.reason, f.text, f.stop_string)), f.timings),
        }
    }
    (told, timings)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

fn after(session: &Session) -> (Vec<u32>, Vec<u32>) {
    let tokens = session.tokens();
    (tokens, bits(&session.forward(&[]).unwrap()))
}

fn always(drafts: Drafts) -> Speculation {
    Speculation { drafts, always: true }
}

fn whole(session: &Session, prompt: &[u32], options: &GenerateOptions) -> (Told, Timings) {
    let (mut told, timings) = told(session.generate(prompt, options.clone()).unwrap());
    told.after = after(session);
    (told, timings)
}

/// Sessions whose tokens nobody else computes.
fn session(model: &Model) -> Session {
    session_in(model, KvType::F16)
}

fn session_in(model: &Model, kv: KvType) -> Session {
    model.session(SessionOptions { context: Some(768), isolated: true, kv, ..Default::default() }).unwrap()
}

const CODE: &str = "def area(width, height):\n    return width * height\n\ndef volume(width, height, depth):\n    return width * height * depth\n\n";
const PROSE: &str = "The tern is a seabird of the family Laridae. It breeds in the north";
const LIST: &str = "1. apples\n2. pears\n3. plums\n4. apples\n5. pears\n6. plums\n7.";

fn settings() -> Vec<GenerateOptions> {
    let base = GenerateOptions { max_tokens: 48, logprobs: true, ignore_end: true, ..Default::default() };
    let sampled = |temperature, seed| Sampling { temperature, seed, ..Default::default() };
    let with = |sampling| GenerateOptions { sampling, ..base.clone() };
    vec![
        base.clone(),
        with(sampled(0.7, 1)),
        with(Sampling { top_k: 40, top_p: 0.95, min_p: 0.02, ..sampled(1.0, 1) }),
        with(Sampling { repetition_penalty: 1.3, penalty_window: 20, ..sampled(0.6, 3) }),
        with(Sampling { presence_penalty: 0.5, frequency_penalty: 0.2, penalty_window: 7, ..sampled(0.0, 0) }),
        with(Sampling { logit_bias: vec![(28, f32::NEG_INFINITY), (198, 2.0)], ..sampled(0.3, 4) }),
        GenerateOptions { stop: vec!["ear".into(), "depth *".into()], ..base.clone() },
        GenerateOptions { max_tokens: 5, ignore_end: false, special: true, ..base },
    ]
}

/// Compares all settings over all prompts; returns how much was drafted and accepted.
fn compare(model: &Model, drafts: &Drafts, prompts: &[&str]) -> (usize, usize) {
    compare_in(model, KvType::F16, drafts, prompts)
}

fn compare_in(model: &Model, kv: KvType, drafts: &Drafts, prompts: &[&str]) -> (usize, usize) {
    let (mut drafted, mut accepted) = (0, 0);
    for prompt in prompts {
        let prompt = model.encode(prompt).unwrap();
        for options in settings() {
            let expected = whole(&session_in(model, kv), &prompt, &options).0;
            let options = GenerateOptions { speculation: always(drafts.clone()), ..options };
            let (found, timings) = whole(&session_in(model, kv), &prompt, &options);
            assert!(found == expected, "{options:?}: {:?} {:?}", found.tokens, expected.tokens);
            drafted += timings.proposed_tokens;
            accepted += timings.accepted_tokens;
        }
    }
    println!("{drafts:?}: {accepted} of {drafted} drafts accepted");
    assert!(accepted > 0, "none of {drafted} drafts came true");
    (drafted, accepted)
}

#[test]
fn lookup_changes_nothing() {
    let model = open(&smollm2(), "", 1);
    compare(&model, &Drafts::Lookup, &[CODE, PROSE, LIST]);
    compare_in(&model, KvType::I8, &Drafts::Lookup, &[LIST]);
    for tier in ["avx2", "scalar"] {
        compare(&open(&smollm2_cut(2), tier, 1), &Drafts::Lookup, &[LIST]);
    }
}

#[test]
fn a_draft_model_changes_nothing_be_it_good_or_bad() {
    let model = open(&smollm2(), "", 1);
    let (drafted, accepted) = compare(&model, &Drafts::Model(open(&smollm2_as(DType::Q4_0), "", 1)), &[LIST]);
    assert!(accepted * 10 > drafted, "the same model in other numbers often agrees, fifteen times in a row or not");
    compare(&model, &Drafts::Model(open(&smollm2_cut(2), "", 1)), &[CODE]);
    // Itself, through the same engine: the same settings and random numbers choose the same tokens.
    let (drafted, accepted) = compare(&model, &Drafts::Model(model.clone()), &[PROSE]);
    assert_eq!(accepted, drafted);
}

#[test]
fn tiny_models_on_both_backends() {
    // Mistral's layers look back only so far; those of the last four have states that no draft may touch.
    let names =
        ["tiny-llama3/model.gguf", "tiny-mistral", "tiny-q4-k-m/model.gguf", "tiny-qwen3-next", "tiny-ttt-gated"];
    for path in names.into_iter().chain(["tiny-ttt-mlp-conv", "tiny-lact-muon"]).map(|name| goldens().join(name)) {
        for backend in ["cpu", "reference"] {
            let options = ModelOptions { backend: Some(backend.into()), threads: 1, ..Default::default() };
            let model = runtime().open(&path, options).unwrap();
            let vocab = model.info().vocab as u32;
            let prompt: Vec<u32> = (0..40).map(|i| i * 7 % 13 % vocab).collect();
            let context = SessionOptions { context: Some(100), isolated: true, ..Default::default() };
            for (temperature, seed) in [(0.0, 0), (0.5, 1), (1.0, 1)] {
                let sampling = Sampling { temperature, seed, ..Default::default() };
                // Until the context is full.
                let options = GenerateOptions { sampling, logprobs: true, ignore_end: true, ..Default::default() };
                let expected = whole(&model.session(context).unwrap(), &prompt, &options).0;
                assert_eq!(expected.end.as_ref().map(|e| e.0), Some(StopReason::Context));
                for drafts in [Drafts::Lookup, Drafts::Model(model.clone())] {
                    let options = GenerateOptions { speculation: always(drafts), ..options.clone() };
                    let found = whole(&model.session(context).unwrap(), &prompt, &options).0;
                    assert!(found == expected, "{} on {backend}: {options:?}", path.display());
                }
            }
        }
    }
}

#[test]
fn left_at_any_token_a_session_is_what_it_would_be() {
    let model = open(&smollm2(), "", 1);
    let prompt = model.encode(CODE).unwrap();
    let draft = open(&smollm2_as(DType::Q4_0), "", 1);
    left_at_any_token(&model, &prompt, [Drafts::Lookup, Drafts::Model(draft)]);
}

#[test]
fn so_is_one_whose_layers_learn() {
    for name in ["tiny-qwen3-next", "tiny-qwen35", "tiny-ttt-gated", "tiny-ttt-mlp-conv", "tiny-lact"] {
        let model = open(&goldens().join(name), "", 1);
        // Across the end of a mini-batch, whatever its length.
        let prompt: Vec<u32> = (0..29).map(|i| i * 7 % 13).collect();
        left_at_any_token(&model, &prompt, [Drafts::Lookup, Drafts::Model(model.clone())]);
    }
}

fn left_at_any_token(model: &Model, prompt: &[u32], drafts: [Drafts; 2]) {
    let plain = GenerateOptions { max_tokens: 40, ignore_end: true, ..Default::default() };
    let drafting = |drafts| GenerateOptions { speculation: always(drafts), ..plain.clone() };
    let folder = std::env::temp_dir();
    for drafts in drafts {
        let one = session(model);
        for n in [1, 2, 3, 5, 9, 14] {
            one.reset().unwrap();
            let expected = session(model);
            expected.generate(prompt, plain.clone()).unwrap().take(n).for_each(|e| drop(e.unwrap()));
            let mut generation = one.generate(prompt, drafting(drafts.clone())).unwrap();
            for i in 0..n {
                generation.next().unwrap().unwrap();
                assert_eq!(one.tokens(), expected.tokens()[..prompt.len() + i + 1]);
            }
            // Forked and saved while tokens are chosen that were not given yet.
            let file = folder.join(format!("tern-speculation-{}-{n}", std::process::id()));
            let fork = one.fork().unwrap();
            if n % 2 == 1 {
                one.save(&file).unwrap();
                let restored = model.restore(&file, SessionOptions::default()).unwrap();
                std::fs::remove_file(&file).unwrap();
                assert!(after(&restored) == after(&expected), "saved after {n}");
            }
            assert!(after(&fork) == after(&expected), "forked after {n}");
            let next = generation.next().unwrap().unwrap();
            let Event::Token(next) = next else { panic!("an end") };
            assert!(bits(&expected.forward(&[next.id]).unwrap()) == after(&one).1, "after {n} and one more");
            assert!(matches!(generation.next(), Some(Err(Error::Interrupted))));
            drop(generation);
            let mut other = vec![100, 200, 30];
            other.extend(prompt);
            one.rollback(2).unwrap();
            expected.rollback(2).unwrap();
            assert!(bits(&one.forward(&other).unwrap()) == bits(&expected.forward(&other).unwrap()));
        }
    }
}

#[test]
fn a_batch_gives_what_each_has_alone() {
    let model = open(&smollm2(), "", 1);
    let prompts: Vec<Vec<u32>> = [CODE, PROSE, LIST, CODE, PROSE, LIST, CODE].map(|t| model.encode(t).unwrap()).into();
    let options = |i: usize| GenerateOptions {
        max_tokens: 10 + 7 * i,
        sampling: Sampling { temperature: 0.3 * (i % 3) as f32, seed: i as u64, ..Default::default() },
        logprobs: true,
        ..Default::default()
    };
    let alone = |i: usize| told(session(&model).generate(&prompts[i], options(i)).unwrap()).0;
    let expected: Vec<Told> = (0..prompts.len()).map(alone).collect();
    let draft = open(&smollm2_cut(2), "", 1);
    for force in [true, false] {
        let session = SessionOptions { context: Some(512), ..Default::default() };
        let mut batch = model.batch(BatchOptions { sequences: 4, session }).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let drafts = [Drafts::Lookup, Drafts::Off, Drafts::Model(draft.clone())][i % 3].clone();
            batch.add(
                prompt.clone(),
                GenerateOptions { speculation: Speculation { drafts, always: force }, ..options(i) },
            );
        }
        let mut events: Vec<Vec<_>> = prompts.iter().map(|_| Vec::new()).collect();
        batch.for_each(|(i, event)| events[i].push(event));
        for (events, expected) in events.into_iter().zip(&expected) {
            assert!(told(events.into_iter()).0 == *expected);
        }
    }
}

#[test]
fn cancelled_at_any_time_it_goes_on_alike() {
    let model = open(&smollm2(), "", 1);
    let prompt = model.encode(LIST).unwrap();
    let options = GenerateOptions { max_tokens: 60, ignore_end: true, ..Default::default() };
    let expected = told(session(&model).generate(&prompt, options.clone()).unwrap()).0;
    let draft = open(&smollm2_as(DType::Q4_0), "", 1);
    for drafts in [Drafts::Lookup, Drafts::Model(draft)] {
        let options = GenerateOptions { speculation: always(drafts), ..options.clone() };
        for micros in (0..12).map(|i| i * 15_000) {
            let session = session(&model);
            let generation = session.generate(&prompt, options.clone()).unwrap();
            let flag = session.cancel_flag();
            let found = std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(std::time::Duration::from_micros(micros));
                    flag.cancel();
                });
                told(generation).0
            });
            let so_far = found.tokens.len();
            assert_eq!(found.tokens, expected.tokens[..so_far]);
            if so_far < 60 {
                assert_eq!(found.end.map(|e| e.0), Some(StopReason::Cancelled));
                let rest = GenerateOptions { max_tokens: 60 - so_far, ..options.clone() };
                let rest = told(session.generate(&[], rest).unwrap()).0;
                let ids = |t: &[(u32, String, Option<u32>)]| t.iter().map(|t| t.0).collect::<Vec<_>>();
                assert_eq!(ids(&rest.tokens), ids(&expected.tokens[so_far..]));
            }
        }
    }
}

#[test]
fn a_conversation_that_forgets_goes_on_alike() {
    let model = open(&smollm2(), "", 1);
    let draft = open(&smollm2_cut(2), "", 1);
    let talk = |drafts: Drafts| -> Vec<Told> {
        let session =
            model.session(SessionOptions { context: Some(256), isolated: true, ..Default::default() }).unwrap();
        let mut chat = Chat::new(&model, session, None).unwrap();
        chat.set_overflow(Overflow::Shift);
        let options = GenerateOptions { max_tokens: 50, speculation: always(drafts), ..Default::default() };
        let say = |text: &str| told(chat.send(text, options.clone()).unwrap()).0;
        ["Name three birds.", "Say that again.", "And again, in the other order.", "Once more.", "And again."]
            .map(say)
            .into()
    };
    let expected = talk(Drafts::Off);
    for drafts in [Drafts::Lookup, Drafts::Model(draft)] {
        assert!(talk(drafts) == expected);
    }
}

#[test]
fn left_to_itself_it_changes_nothing_either() {
    let model = open(&smollm2(), "", 1);
    let draft = open(&smollm2_cut(2), "", 1);
    let prompt = model.encode(CODE).unwrap();
    for temperature in [0.0, 0.8] {
        let sampling = Sampling { temperature, ..Default::default() };
        let options =
            GenerateOptions { max_tokens: 300, logprobs: true, ignore_end: true, sampling, ..Default::default() };
        let expected = whole(&session(&model), &prompt, &options).0;
        for speculation in [Speculation::lookup(), Speculation::model(draft.clone())] {
            let options = GenerateOptions { speculation, ..options.clone() };
            let one = session(&model);
            for _ in 0..2 {
                // The second time with what was learned in the first.
                one.reset().unwrap();
                let (found, timings) = whole(&one, &prompt, &options);
                println!("{:?}: {} of {}", options.speculation, timings.accepted_tokens, timings.proposed_tokens);
                assert!(found == expected, "{options:?}");
            }
        }
    }
}

#[test]
fn a_model_with_other_tokens_is_refused() {
    let model = open(&smollm2(), "", 1);
    let other = open(&goldens().join("tiny-llama"), "", 1);
    let session = session(&model);
    let options = GenerateOptions { speculation: Speculation::model(other), ..Default::default() };
    let error = session.generate(&[1, 2, 3], options).err().unwrap();
    assert!(matches!(error, Error::DraftVocabulary { vocab: 49152, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("49152") && text.contains("same tokenizer") && !text.contains('\n'), "{text}");
    assert!(session.tokens().is_empty(), "nothing is appended");
}

#[test]
fn room_for_drafts_counts() {
    // Steps of 16 rows, whose logits are most of what they need.
    let options = |speculate| SessionOptions { context: Some(4096), chunk: Some(16), speculate, ..Default::default() };
    let plan = |speculate| runtime().plan(smollm2(), &ModelOptions::default(), &options(speculate), 1).unwrap();
    let (with, without) = (plan(true), plan(false));
    let rows = with.total_bytes - without.total_bytes;
    assert!(rows >= 14 * 49152 * 4, "{rows} bytes for the logits of 15 drafts");
    assert!(without.total_bytes > without.loading_bytes);
    let open = |max_bytes| runtime().open(smollm2(), ModelOptions { max_bytes: Some(max_bytes), ..Default::default() });
    let drafting = || GenerateOptions { speculation: Speculation::lookup(), max_tokens: 3, ..Default::default() };
    // Just enough for a session, not for drafts: refused before anything is appended, and the session is as it was.
    let model = open(without.total_bytes + rows / 2).unwrap();
    assert!(matches!(model.session(options(true)), Err(Error::Memory { .. })));
    let session = model.session(options(false)).unwrap();
    assert!(matches!(session.generate(&[1, 2, 3], drafting()), Err(Error::Memory { .. })));
    assert!(session.tokens().is_empty());
    session.forward(&[1, 2, 3]).unwrap();
    let model = open(with.total_bytes).unwrap();
    let session = model.session(options(true)).unwrap();
    assert!(session.generate(&[1, 2, 3], drafting()).unwrap().all(|event| event.is_ok()));
}
