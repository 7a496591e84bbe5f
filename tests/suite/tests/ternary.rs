//! A small ternary model, trained here, that then learns: the whole transaction on a base whose matrices are packed in two bits.
//!
//! Its training is straight-through estimation by means of what there is for adapters: factors are trained beside the ternary matrices, what
//! they have learned is added to full-precision ones, and of these the ternary ones are made anew, again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::learn::evidence::Verdict;
use tern::learn::learner::{Budget, Control};
use tern::learn::store::{DEFAULT_KEEP, Edit};
use tern::learn::{
    Document, Example, LearnOptions, Learner, LoraOptions, LoraPupil, Origin, Random, Store, Training, TrainingOptions,
};
use tern::{CancelFlag, Model, ModelOptions};
use tern_convert::Creation;
use tern_formats::{DType, FileSource, safetensors};
use tern_tests::{quantized, runtime};

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

/// A folder with a model, and its weights in full precision.
struct Latent {
    folder: PathBuf,
    tensors: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
}

impl Latent {
    fn new(folder: &Path) -> Self {
        let config = folder.join("small.json");
        std::fs::write(&config, CONFIG).unwrap();
        let folder = folder.join("model");
        Creation::new(&config, None, DType::F32, 5).unwrap().write(&folder, false, &CancelFlag::new()).unwrap();
        let source = FileSource::open(folder.join("model.safetensors")).unwrap();
        let file = safetensors::open(Arc::new(source)).unwrap().checkpoint;
        let mut tensors = BTreeMap::new();
        for info in file.tensors() {
            let bytes = file.read(info).unwrap();
            let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            tensors.insert(info.name.to_string(), (info.shape.to_vec(), values));
        }
        // As large as it takes for a sure prediction by the tied head, which is not trained.
        tensors.get_mut("model.embed_tokens.weight").unwrap().1.iter_mut().for_each(|v| *v *= 4.0);
        Self { folder, tensors }
    }

    /// Writes the model with ternary matrices: signs of what is not small, times the mean magnitude (BitNet b1.58, arXiv 2402.17764).
    fn write(&self) {
        let path = self.folder.join("model.safetensors");
        let mut writer = safetensors::Writer::new("model.safetensors");
        for (name, (shape, _)) in &self.tensors {
            writer.tensor(name, DType::F32, shape.clone()).unwrap();
        }
        let mut body = writer.begin(std::fs::File::create(path).unwrap()).unwrap();
        for (name, (_, values)) in &self.tensors {
            let mean = values.iter().map(|v| v.abs()).sum::<f32>() / values.len() as f32;
            // A power of two is the same in every type of number.
            let scale = mean.log2().round().exp2();
            let ternary =
                |v: f32| if name.ends_with("_proj.weight") { (v / scale).round().clamp(-1.0, 1.0) * scale } else { v };
            body.write(&values.iter().flat_map(|&v| ternary(v).to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        }
        body.finish().unwrap();
    }

    /// A few steps beside the ternary matrices; what they teach is added to the latent ones. The last loss.
    fn round(&mut self, round: u64, random: &mut Random) -> f64 {
        self.write();
        let model = open(&self.folder);
        let options = TrainingOptions {
            rank: 32,
            alpha: 32.0,
            learning_rate: 6e-3 * (1.0 - round as f64 / ROUNDS as f64),
            context: (WINDOW * BATCH) as u64,
            seed: round,
            ..TrainingOptions::default()
        };
        let mut training = Training::new(&model, options).unwrap();
        let mut loss = 0.0;
        for _ in 0..STEPS {
            let examples: Vec<Example> = (0..BATCH)
                .map(|_| {
                    let tokens = model.encode(&note(1000 + random.below(100_000), 0)).unwrap();
                    Example::of(tokens[..WINDOW.min(tokens.len())].to_vec())
                })
                .collect();
            loss = training.step(&examples).unwrap().loss;
        }
        for f in training.adapter().factors {
            let name = f.tensor.strip_prefix("blk.").unwrap();
            let (layer, rest) = name.split_once('.').unwrap();
            let part = match rest.strip_suffix(".weight").unwrap() {
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                other => panic!("{other}"),
            };
            let (_, values) = self.tensors.get_mut(&format!("model.layers.{layer}.{part}.weight")).unwrap();
            for (row, b) in values.chunks_exact_mut(f.columns).zip(f.b.chunks_exact(f.rank)) {
                for (&b, a) in b.iter().zip(f.a.chunks_exact(f.columns)) {
                    row.iter_mut().zip(a).for_each(|(v, &a)| *v += f.scale * b * a);
                }
            }
        }
        loss
    }
}

fn open(path: &Path) -> Model {
    let options = ModelOptions { backend: Some("cpu".into()), threads: 2, ..Default::default() };
    runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_ternary_model_trained_here_learns_and_commits() {
    let folder = tempfile::tempdir().unwrap();
    let mut latent = Latent::new(folder.path());
    let mut random = Random::new(1);
    let losses: Vec<f64> = (0..ROUNDS).map(|round| latent.round(round, &mut random)).collect();
    println!("nats per byte while it is trained: {losses:.2?}");
    latent.write();
    let file = quantized(&latent.folder, &folder.path().join("ternary.gguf"), "TQ2_0");
    let model = open(&file);
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
