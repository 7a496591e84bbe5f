//! A small ternary model, trained here, that then learns: the whole transaction on a base whose matrices are packed in two bits.
//!
//! Its training is straight-through estimation: what factors beside the ternary matrices have learned is added to full-precision ones, and
//! of these the ternary ones are made anew.

use std::path::Path;
use tern::Model;
use tern::learn::evidence::Verdict;
use tern::learn::learner::{Budget, Control};
use tern::learn::store::{DEFAULT_KEEP, Edit};
use tern::learn::{
    Document, Example, LearnOptions, Learner, LoraOptions, LoraPupil, Origin, Random, Store, TrainingOptions,
};
use tern_tests::quantized;
use tern_tests::trained::Trained;

/// Enough columns for a block of TQ2_0.
const CONFIG: &str = r#"{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 256, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 257,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "attention_bias": false,
    "tie_word_embeddings": true}"#;
const ROUNDS: u64 = 40;
const STEPS: usize = 10;
const WINDOW: usize = 128;
const BATCH: usize = 4;

/// Sentences out of eight subjects, verbs, objects and places each. Those of kind 1 share the subjects and verbs of kind 0.
fn note(number: usize, kind: usize) -> String {
    let subjects = "the teacher,my sister,the doctor,a student,his uncle,the baker,her friend,a visitor";
    let verbs = "reads,opens,carries,finds,borrows,paints,closes,admires";
    let objects = [
        "the letter,a window,the old book,her ticket,a red coat,the parcel,his umbrella,a cup",
        "the chart,a frayed rope,the anchor,an old buoy,the lantern,a brass bell,the rudder,a sextant",
    ][kind];
    let places = [
        "in the morning,at home,on the train,with care,after work,in town,for a while,by the door",
        "at dawn,near the pier,in thick fog,before noon,under sail,after supper,by the mole,on deck",
    ][kind];
    let words = [subjects, verbs, objects, places].map(|list| list.split(',').collect::<Vec<_>>());
    let mut random = Random::new((number * 2 + kind) as u64);
    let mut sentence = || words.each_ref().map(|w| w[random.below(w.len())]).join(" ") + ".\n";
    (0..12).map(|_| sentence()).collect()
}

/// Signs of what is not small, times the mean magnitude (BitNet b1.58, arXiv 2402.17764), in the layers' matrices.
fn ternary(name: &str, values: &mut [f32]) {
    if !name.starts_with("blk.") || name.contains("norm") {
        return;
    }
    let mean = values.iter().map(|v| v.abs()).sum::<f32>() / values.len() as f32;
    // A power of two is the same in every type of number.
    let scale = mean.log2().round().exp2();
    values.iter_mut().for_each(|v| *v = (*v / scale).round().clamp(-1.0, 1.0) * scale);
}

/// A stretch of a note of kind 0.
fn example(model: &Model, random: &mut Random) -> Example {
    let tokens = model.encode(&note(1000 + random.below(100_000), 0)).unwrap();
    Example::of(tokens[..WINDOW.min(tokens.len())].to_vec())
}

fn trained(folder: &Path) -> Trained {
    let mut model = Trained::new(folder, CONFIG, &[], ternary);
    // As large as it takes for a sure prediction by the tied head, which is not trained.
    model.change(|name, values| {
        if name == "token_embd.weight" {
            values.iter_mut().for_each(|v| *v *= 4.0);
        }
    });
    let mut random = Random::new(1);
    let round = |round: u64| {
        let options = TrainingOptions {
            rank: 32,
            alpha: 32.0,
            learning_rate: 6e-3 * (1.0 - round as f64 / ROUNDS as f64),
            context: (WINDOW * BATCH) as u64,
            seed: round,
            ..TrainingOptions::default()
        };
        model.round(options, STEPS, |m| (0..BATCH).map(|_| example(m, &mut random)).collect())
    };
    let losses: Vec<f64> = (0..ROUNDS).map(round).collect();
    println!("nats per byte while it is trained: {losses:.2?}");
    model.write();
    model
}

#[test]
fn a_ternary_model_trained_here_learns_and_commits() {
    let folder = tempfile::tempdir().unwrap();
    let file = quantized(&trained(folder.path()).path, &folder.path().join("ternary.gguf"), "TQ2_0");
    let model = tern_tests::open(&file, "", 2);
    let ternary = model.tensors().iter().filter(|t| t.dtype == "TQ2_0").count();
    assert_eq!(ternary, 14, "{:?}", model.tensors());

    let store = Store::open(folder.path().join("store"));
    let edit = Edit::open(&store, DEFAULT_KEEP).unwrap();
    // Its matrices are small, and are to change by little of their norm.
    let mut lora = LoraOptions::default();
    lora.training.learning_rate = 5e-4;
    let mut pupil = LoraPupil::new(&model, lora).unwrap();
    let documents: Vec<Document> =
        (0..100).map(|i| Document::text(format!("notes/{i}"), Origin::User, note(i, 1))).collect();
    let options = LearnOptions {
        budget: Budget { seconds: f64::MAX, steps: 60, ..Budget::default() },
        ..LearnOptions::default()
    };
    let outcome =
        Learner::new(&mut pupil, &edit, "notes", options).unwrap().learn(documents, &Control::default()).unwrap();
    let (gain, harm) = (&outcome.gain, &outcome.harm);
    println!(
        "{:.3} -> {:.3} bits per byte on {} documents, {:.1}% better; own answers {:+.4}, KL {:.4}, change {:.4}; shrunk to {}; {}",
        gain.before,
        gain.after,
        gain.documents,
        100.0 * gain.share(),
        harm.anchor_rise,
        harm.divergence,
        harm.norm,
        outcome.shrunk,
        outcome.verdict,
    );
    assert_eq!((outcome.verdict, outcome.generation), (Verdict::Commit, 1), "{outcome:?}");
    assert!(gain.documents >= 20 && gain.low > 0.0 && gain.share() > 0.06, "{gain:?}");
    assert!(harm.broken(&outcome.bounds).is_none(), "{harm:?}");
    // What was committed is an adapter for the packed model.
    let delta = edit.delta("notes").unwrap().unwrap();
    let id = model.add_adapter(delta.adapter(&model).unwrap()).unwrap();
    let tokens = model.encode(&note(50_000, 1)).unwrap();
    let score = || -> f32 {
        let scored = model.score(&tokens, &Default::default(), &mut |_, _| {}).unwrap();
        -scored.iter().filter_map(|s| s.logprob).sum::<f32>()
    };
    let before = score();
    model.choose_adapters(&[(id, 1.0)]).unwrap();
    let after = score();
    assert!(after < 0.95 * before, "{before} -> {after} nats for a note that nobody has seen");
}
