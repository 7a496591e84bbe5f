//! Embeddings against Hugging Face transformers, and against themselves in other company.

use std::path::Path;
use tern::{EmbedOptions, Error, Model, ModelOptions, Pooling};
use tern_tests::{changed, converted, goldens, ids, json, open, runtime};

const POOLINGS: [Pooling; 3] = [Pooling::Mean, Pooling::Cls, Pooling::Last];

fn vectors(value: &serde_json::Value) -> Vec<Vec<f64>> {
    let row = |row: &serde_json::Value| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    value.as_array().unwrap().iter().map(row).collect()
}

fn raw(pooling: Pooling) -> EmbedOptions {
    EmbedOptions { pooling: Some(pooling), normalize: Some(false), ..Default::default() }
}

#[test]
fn vectors_are_those_of_transformers() {
    let golden = json(goldens().join("embeddings.json"));
    let texts: Vec<Vec<u32>> = golden["texts"].as_array().unwrap().iter().map(ids).collect();
    for (name, pooled) in golden["models"].as_object().unwrap() {
        let model = open(&goldens().join(name), "", 2);
        for pooling in POOLINGS {
            let found = model.embed_tokens(&texts, &raw(pooling)).unwrap();
            for (i, (found, expected)) in found.iter().zip(vectors(&pooled[pooling.name()])).enumerate() {
                let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                assert_eq!(found.len(), expected.len());
                let worst = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-4 * scale, "{name}, {}, text {i}: {worst} of {scale}", pooling.name());
            }
        }
    }
}

#[test]
fn company_does_not_change_a_bit() {
    let texts: Vec<Vec<u32>> = (0..40u32).map(|n| (0..=n * 3).map(|i| (i * 7 + n) % 290).collect()).collect();
    for name in ["tiny-llama", "tiny-gemma2"] {
        let model = open(&goldens().join(name), "", 1);
        for pooling in POOLINGS {
            let together = model.embed_tokens(&texts, &raw(pooling)).unwrap();
            let threads = open(&goldens().join(name), "", 3).embed_tokens(&texts, &raw(pooling)).unwrap();
            assert!(together == threads, "{name}: threads");
            for (text, vector) in texts.iter().zip(&together) {
                let alone = model.embed_tokens(std::slice::from_ref(text), &raw(pooling)).unwrap();
                assert!(alone[0] == *vector, "{name}: {} tokens", text.len());
            }
        }
    }
}

/// What a call ran on serves the next one, until it is asked for or a session wants the room.
#[test]
fn what_is_kept_makes_room() {
    let path = goldens().join("tiny-llama");
    let (model, other) = (open(&path, "", 1), open(&path, "", 1));
    let embed = || model.embed_tokens(&[vec![1, 2, 3]], &raw(Pooling::Mean)).unwrap();
    let empty = model.memory().used;
    let first = embed();
    let kept = model.memory().used;
    assert!(kept > empty);
    assert!(embed() == first);
    assert_eq!(model.memory().used, kept);
    model.trim().unwrap();
    assert_eq!(model.memory().used, empty);
    embed();
    let use_one = |model: &Model| {
        let session = model.session(Default::default()).unwrap();
        session.forward(&[1, 2, 3]).unwrap();
        model.memory().used
    };
    assert_eq!(use_one(&model), use_one(&other));
}

#[test]
fn normalized_vectors_have_length_one() {
    let model = open(&goldens().join("tiny-llama"), "", 1);
    let texts = ["The tern", "is a bird", "of the sea"];
    let (unit, plain) =
        (model.embed(&texts, &EmbedOptions::default()).unwrap(), model.embed(&texts, &raw(Pooling::Mean)).unwrap());
    for (unit, plain) in unit.iter().zip(&plain) {
        let length = plain.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!(unit.iter().zip(plain).all(|(u, p)| (f64::from(*u) - f64::from(*p) / length).abs() < 1e-6));
    }
}

#[test]
fn folders_say_how_they_pool() {
    let texts = [vec![1, 2, 3, 4]];
    let embed = |path: &Path| -> Result<Vec<Vec<f32>>, Error> {
        let options = EmbedOptions { normalize: Some(false), ..Default::default() };
        let model = runtime().open(path, ModelOptions { backend: Some("cpu".into()), ..Default::default() })?;
        model.embed_tokens(&texts, &options)
    };
    let expected = |pooling| open(&goldens().join("tiny-llama"), "", 0).embed_tokens(&texts, &raw(pooling)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    changed("tiny-llama", folder.path(), &serde_json::json!({}));
    assert!(embed(folder.path()).unwrap() == expected(Pooling::Mean));
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let say = |text: &str| std::fs::write(folder.path().join("1_Pooling/config.json"), text).unwrap();
    say(r#"{"word_embedding_dimension": 48, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    assert!(embed(folder.path()).unwrap() == expected(Pooling::Cls));
    say(r#"{"pooling_mode_lasttoken": true}"#);
    assert!(embed(folder.path()).unwrap() == expected(Pooling::Last));
    say(r#"{"pooling_mode_max_tokens": true}"#);
    let error = embed(folder.path()).unwrap_err();
    assert!(error.to_string().contains("pooling_mode_max_tokens"), "{error}");
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model: Model = open(&converted(&goldens().join("tiny-gpt2"), &folder.path().join("m.gguf")), "", 1);
    let options = raw(Pooling::Mean);
    let long = vec![vec![5; 1 << 20]];
    let error = model.embed_tokens(&long, &options).unwrap_err();
    assert!(matches!(error, Error::ContextFull { wanted: 1_048_576, .. }), "{error}");
    let cut = EmbedOptions { truncate: true, ..options.clone() };
    assert_eq!(model.embed_tokens(&long, &cut).unwrap()[0].len() as u64, model.info().width);
    assert!(matches!(model.embed_tokens(&[vec![]], &options), Err(Error::Empty)));
    assert!(matches!(model.embed_tokens(&[vec![1, 100_000]], &options), Err(Error::Token { id: 100_000, .. })));
    assert!(model.embed_tokens(&[], &options).unwrap().is_empty());
    options.cancel.cancel();
    assert!(model.embed_tokens(&[vec![1]], &options).unwrap_err().is_cancelled());
}
