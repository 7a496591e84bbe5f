//! Adapters beside a model's matrices at inference, on the reference and on every CPU tier: PyTorch's numbers, and what sessions with
//! different ones share (`tests/goldens/learn/make_training.py`).

use std::path::PathBuf;
use tern::learn::{Adapter, Example, Training, TrainingOptions};
use tern::{Event, GenerateOptions, KvType, Model, ModelOptions, ScoreOptions, Session, SessionOptions};
use tern_tests::{converted, goldens, json, runtime, tiers};

fn open(path: PathBuf, backend: &str, tier: &str) -> Model {
    let options = ModelOptions { backend: Some(backend.into()), tier: tier.into(), threads: 1, ..Default::default() };
    runtime().open(path, options).unwrap()
}

/// A model on each backend and tier, as a folder and as the file made of it, whose query and key rows have another order.
fn models(name: &str) -> Vec<Model> {
    let folder = goldens().join(name);
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("adapters-{name}.gguf"));
    let file = converted(&folder, &made);
    let mut models = vec![open(folder.clone(), "reference", ""), open(file.clone(), "reference", "")];
    for tier in tiers() {
        models.extend([open(folder.clone(), "cpu", tier), open(file.clone(), "cpu", tier)]);
    }
    models
}

fn adapter(model: &Model, name: &str) -> Adapter {
    Adapter::read(model, goldens().join("learn").join(name).join("adapter")).unwrap()
}

fn exact() -> SessionOptions {
    SessionOptions { kv: KvType::F32, context: Some(256), ..Default::default() }
}

/// The golden's first example, and its nats with the adapter.
fn example(name: &str) -> (Vec<u32>, f64) {
    let golden = json(goldens().join("learn").join(name).join("training.json"));
    let tokens = golden["examples"][0]["tokens"].as_array().unwrap();
    (tokens.iter().map(|t| t.as_u64().unwrap() as u32).collect(), golden["nats"][0].as_f64().unwrap())
}

fn bits(logits: Vec<f32>) -> Vec<u32> {
    logits.into_iter().map(f32::to_bits).collect()
}

fn logits(session: &Session, tokens: &[u32]) -> Vec<u32> {
    session.reset().unwrap();
    bits(session.forward(tokens).unwrap())
}

#[test]
fn a_text_is_as_likely_as_pytorch_says() {
    for name in ["tiny-llama", "tiny-qwen3"] {
        let (tokens, nats) = example(name);
        for model in models(name) {
            let id = model.add_adapter(adapter(&model, name)).unwrap();
            model.choose_adapters(&[(id, 1.0)]).unwrap();
            let options = ScoreOptions { kv: KvType::F32, ..Default::default() };
            let scores = model.score(&tokens, &options, &mut |_, _| {}).unwrap();
            let found: f64 = scores.iter().filter_map(|s| s.logprob).map(|l| -f64::from(l)).sum();
            // The files' weights are F16 or F32, whose products are exact to rounding.
            assert!((found - nats).abs() < 2e-3 * nats, "{name} {}: {found} {nats}", model.info().tier);
        }
    }
}

/// GGUF has heads of Qwen 3.5 in another order: as rows of some matrices and as columns of another.
#[test]
fn heads_in_another_order_have_the_same_adapters() {
    let name = "tiny-qwen35";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("heads");
    let tokens: Vec<u32> = (0..40).map(|i| (i * i * 7 + 31 * i) % 290 + 3).collect();
    let models = models(name);
    for trained in &models[..2] {
        let options = TrainingOptions { rank: 3, learning_rate: 0.02, context: 64, ..Default::default() };
        let mut training = Training::new(trained, options).unwrap();
        let examples = [Example::of(tokens.clone())];
        let losses: Vec<f64> = (0..4).map(|_| training.step(&examples).unwrap().loss).collect();
        assert!(losses[3] < 0.9 * losses[0], "{losses:?}");
        let adapter = training.adapter();
        assert!(adapter.get("blk.0.ssm_out.weight").is_some() && adapter.get("blk.0.attn_qkv.weight").is_some());
        let mut expected: Vec<f32> = Vec::new();
        for model in &models {
            adapter.write_peft(model, &folder, "tiny").unwrap();
            assert_eq!(Adapter::read(trained, &folder).unwrap(), adapter);
            let id = model.add_adapter(Adapter::read(model, &folder).unwrap()).unwrap();
            let session = model.session(exact()).unwrap();
            session.set_adapters(&[(id, 1.0)]).unwrap();
            let found = session.forward(&tokens).unwrap();
            let scale = found.iter().fold(0f32, |m, l| m.max(l.abs()));
            let distance = |to: &[f32]| found.iter().zip(to).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
            if expected.is_empty() {
                expected.clone_from(&found);
            }
            assert!(distance(&expected) < 1e-4, "{} {}", model.info().tier, distance(&expected));
            session.set_adapters(&[]).unwrap();
            session.reset().unwrap();
            assert!(distance(&session.forward(&tokens).unwrap()) > 1e-2);
        }
    }
}

#[test]
fn without_it_the_model_is_what_it_was() {
    let (tokens, _) = example("tiny-llama");
    for model in models("tiny-llama") {
        let before = model.memory().used;
        let plain = model.session(exact()).unwrap();
        let expected = logits(&plain, &tokens);
        let id = model.add_adapter(adapter(&model, "tiny-llama")).unwrap();
        let other = model.session(exact()).unwrap();
        other.set_adapters(&[(id, 1.0)]).unwrap();
        let adapted = logits(&other, &tokens);
        assert_ne!(adapted, expected);
        // Beside it, and what was computed before it came.
        assert_eq!(logits(&plain, &tokens), expected);
        let next = bits(plain.forward(&[7]).unwrap());
        plain.rollback(1).unwrap();
        other.set_adapters(&[]).unwrap();
        assert_eq!(bits(plain.forward(&[7]).unwrap()), next);
        // The same tokens, computed again.
        other.rollback(1).unwrap();
        assert_eq!(bits(other.forward(&tokens[tokens.len() - 1..]).unwrap()), expected);
        other.set_adapters(&[(id, 0.0)]).unwrap();
        assert_eq!(logits(&other, &tokens), expected);
        other.set_adapters(&[(id, 1.0)]).unwrap();
        assert_eq!(logits(&other, &tokens), adapted);
        drop((plain, other));
        model.trim().unwrap();
        assert_eq!(model.memory().used, before);
    }
}

#[test]
fn sessions_with_different_ones_do_not_touch_each_other() {
    // Longer than a page, so that the prefix cache has something to confuse.
    let tokens: Vec<u32> = (0..150).map(|i| (i * i * 7 + 31 * i) % 290 + 3).collect();
    for model in models("tiny-llama") {
        let mut second = adapter(&model, "tiny-llama");
        second.factors.retain(|f| f.tensor.contains("ffn"));
        let first = model.add_adapter(adapter(&model, "tiny-llama")).unwrap();
        let second = model.add_adapter(second).unwrap();
        let choices = [vec![], vec![(first, 1.0)], vec![(first, 0.5), (second, -0.25)], vec![(second, 1.0)]];
        let alone: Vec<Vec<u32>> = choices
            .iter()
            .map(|choice| {
                let session = model.session(SessionOptions { isolated: true, ..exact() }).unwrap();
                session.set_adapters(choice).unwrap();
                logits(&session, &tokens)
            })
            .collect();
        for round in 0..2 {
            let sessions: Vec<Session> = choices.iter().map(|_| model.session(exact()).unwrap()).collect();
            for (i, session) in sessions.iter().enumerate() {
                session.set_adapters(&choices[(i + round) % choices.len()]).unwrap();
            }
            for (i, session) in sessions.iter().enumerate() {
                assert_eq!(logits(session, &tokens), alone[(i + round) % choices.len()], "{i}");
                let fork = session.fork().unwrap();
                fork.rollback(1).unwrap();
                assert_eq!(bits(fork.forward(&tokens[149..]).unwrap()), alone[(i + round) % choices.len()]);
            }
            // The same session changes its mind.
            sessions[0].set_adapters(&choices[3]).unwrap();
            assert_eq!(logits(&sessions[0], &tokens), alone[3]);
        }
    }
}

#[test]
fn weights_add_up() {
    let (tokens, _) = example("tiny-llama");
    let model = open(goldens().join("tiny-llama"), "reference", "");
    let [a, b] = [(); 2].map(|()| model.add_adapter(adapter(&model, "tiny-llama")).unwrap());
    let with = |choice: &[(tern::AdapterId, f32)]| {
        let session = model.session(exact()).unwrap();
        session.set_adapters(choice).unwrap();
        session.forward(&tokens).unwrap()
    };
    let (whole, halves) = (with(&[(a, 1.0)]), with(&[(a, 0.25), (b, 0.75)]));
    let largest = whole.iter().zip(&halves).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-3, "{largest}");
    model.remove_adapter(b);
    let session = model.session(exact()).unwrap();
    assert!(matches!(session.set_adapters(&[(b, 1.0)]), Err(tern::Error::NoAdapter { .. })));
    assert!(matches!(session.set_adapters(&[(a, f32::NAN)]), Err(tern::Error::Setting { .. })));
}

#[test]
fn a_saved_session_goes_on_with_it() {
    let (tokens, _) = example("tiny-llama");
    let model = open(goldens().join("tiny-llama"), "cpu", "");
    let id = model.add_adapter(adapter(&model, "tiny-llama")).unwrap();
    model.choose_adapters(&[(id, 1.0)]).unwrap();
    let session = model.session(exact()).unwrap();
    session.forward(&tokens).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("adapted.session");
    session.save(&file).unwrap();
    let text = |session: &Session| -> Vec<u32> {
        let options = GenerateOptions { max_tokens: 12, ignore_end: true, ..Default::default() };
        let ids = session.generate(&[9], options).unwrap().filter_map(|e| match e.unwrap() {
            Event::Token(token) => Some(token.id),
            Event::Done(_) => None,
        });
        ids.collect()
    };
    let restored = model.restore(&file, exact()).unwrap();
    assert_eq!(text(&restored), text(&session));
    // And without it where none is chosen.
    model.choose_adapters(&[]).unwrap();
    let plain = model.restore(&file, exact()).unwrap();
    let fresh = model.session(exact()).unwrap();
    fresh.forward(&tokens).unwrap();
    assert_eq!(text(&plain), text(&fresh));
}
