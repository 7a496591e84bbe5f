//! Generation beyond the context: what is kept is what a new session would be given.

use tern::{
    Drafts, Endless, Error, Event, GenerateOptions, KvType, Model, Sampling, Session, SessionOptions, Speculation,
    StopReason,
};
use tern_tests::{goldens, open};

const CAPACITY: usize = 48;

fn session(model: &Model) -> Session {
    let options =
        SessionOptions { context: Some(CAPACITY as u64), isolated: true, kv: KvType::F32, ..Default::default() };
    model.session(options).unwrap()
}

fn generate(session: &Session, prompt: &[u32], options: GenerateOptions) -> (Vec<u32>, Option<StopReason>) {
    let (mut tokens, mut reason) = (Vec::new(), None);
    for event in session.generate(prompt, options).unwrap() {
        match event.unwrap() {
            Event::Token(t) => tokens.push(t.id),
            Event::Done(f) => reason = Some(f.reason),
        }
    }
    (tokens, reason)
}

fn options(endless: Endless) -> GenerateOptions {
    GenerateOptions { max_tokens: 200, ignore_end: true, endless: Some(endless), ..Default::default() }
}

#[test]
fn every_token_is_that_of_a_new_session_with_what_is_kept() {
    for name in ["tiny-llama", "tiny-gemma2"] {
        let model = open(&goldens().join(name), "", 1);
        for (first, recent) in [(4, 0), (0, 20), (7, 5)] {
            let prompt: Vec<u32> = (0..11).map(|i| i * 13 % 290).collect();
            let (tokens, reason) = generate(&session(&model), &prompt, options(Endless { first, recent }));
            assert_eq!((tokens.len(), reason), (200, Some(StopReason::Length)));
            let kept = if recent == 0 { CAPACITY / 2 } else { recent };
            let mut text = prompt.clone();
            for (i, &token) in tokens.iter().enumerate() {
                let logits = session(&model).forward(&text).unwrap();
                let best = (0..).zip(&logits).fold((0u32, f32::MIN), |b, (id, &l)| if l > b.1 { (id, l) } else { b }).0;
                assert_eq!(token, best, "{name}, {first} and {recent}, token {i}");
                if text.len() == CAPACITY {
                    text = [&text[..first], &text[CAPACITY - kept..]].concat();
                }
                text.push(token);
            }
        }
    }
}

#[test]
fn drafts_change_nothing_beyond_the_context() {
    let model = open(&goldens().join("tiny-llama"), "", 1);
    let prompt: Vec<u32> = (0..20).map(|i| i % 5 + 40).collect();
    for sampling in [Sampling::default(), Sampling { temperature: 0.4, seed: 3, ..Default::default() }] {
        let plain = GenerateOptions { sampling, ..options(Endless::default()) };
        let expected_session = session(&model);
        let expected = generate(&expected_session, &prompt, plain.clone());
        for drafts in [Drafts::Lookup, Drafts::Model(model.clone())] {
            let session = session(&model);
            let speculation = Speculation { drafts, always: true };
            assert_eq!(generate(&session, &prompt, GenerateOptions { speculation, ..plain.clone() }), expected);
            assert_eq!(session.tokens(), expected_session.tokens());
        }
    }
}

#[test]
fn memory_stays_what_it_was() {
    let model = open(&goldens().join("tiny-llama"), "", 1);
    let session = session(&model);
    let mut peaks = Vec::new();
    for event in session.generate(&[1, 2, 3], options(Endless::default())).unwrap() {
        event.unwrap();
        assert!(session.tokens().len() <= CAPACITY);
        peaks.push(model.memory().peak);
    }
    assert_eq!(peaks[CAPACITY / 2], peaks[peaks.len() - 1]);
}

#[test]
fn a_context_that_nothing_would_leave_is_refused() {
    let model = open(&goldens().join("tiny-llama"), "", 1);
    let error = session(&model).generate(&[1], options(Endless { first: 40, recent: 8 })).err();
    assert!(matches!(error, Some(Error::Setting { setting: "endless", .. })), "{error:?}");
}

#[test]
fn pages_shared_with_the_cache_are_no_obstacle() {
    let model = open(&goldens().join("tiny-llama"), "", 1);
    for context in [64, 128] {
        let of = |isolated| {
            let options = SessionOptions { context: Some(context), isolated, ..Default::default() };
            let generation = GenerateOptions { max_tokens: 400, ..endless() };
            generate(&model.session(options).unwrap(), &[1, 2, 3], generation)
        };
        assert_eq!(of(false), of(true), "{context}");
    }
}

fn endless() -> GenerateOptions {
    options(Endless::default())
}
