//! A model whose weights learn along the text, as a pupil: its state after reading is the delta.

use tern::learn::learner::Control;
use tern::learn::store::{Change, DEFAULT_KEEP, Edit, Manifest};
use tern::learn::{
    Document, Hold, LearnOptions, Learner, LoraOptions, LoraPupil, Mode, Origin, Pupil, StateOptions, StatePupil, Store,
};
use tern::{CancelFlag, Error, Model, SessionOptions};
use tern_tests::goldens;

const READS: &str = "tiny-ttt-gated";

fn model(name: &str) -> Model {
    tern_tests::open(&goldens().join(name), "scalar", 1)
}

fn options() -> StateOptions {
    StateOptions { context: 40, ..StateOptions::from(&LoraOptions::default()) }
}

fn words(seed: usize) -> String {
    let words = ["rain", "gauge", "tide", "falls", "slowly", "over", "the", "pier"];
    let text: Vec<&str> = (0..60).map(|i| words[(i * (seed + 3) + i * i / 7) % words.len()]).collect();
    text.join(" ")
}

fn text(seed: usize) -> Document {
    Document::text(format!("{seed}"), Origin::User, words(seed))
}

#[test]
fn what_was_read_is_kept_and_sessions_begin_with_it() {
    let model = model(READS);
    assert_eq!((Mode::of(&model), Mode::of(&self::model("tiny-llama"))), (Mode::State, Mode::Lora));
    let mut pupil = StatePupil::new(&model, options()).unwrap();
    pupil.begin(None, 0).unwrap();
    let asked = pupil.encode(&text(1)).unwrap();
    let base = pupil.nats(&asked).unwrap();
    // Nothing read: the base model, as training sees it.
    let lora = LoraOptions {
        training: tern::learn::TrainingOptions { context: 40, ..Default::default() },
        ..Default::default()
    };
    let mut other = LoraPupil::new(&model, lora).unwrap();
    let expected = other.nats(&asked).unwrap();
    assert!((base / expected - 1.0).abs() < 1e-4, "{base} {expected}");
    assert_eq!(pupil.divergence(&asked).unwrap(), 0.0);

    let read = pupil.encode(&text(2)).unwrap();
    let mut seen = 0.0;
    for sample in &read {
        seen += pupil.step(&[sample], Hold::default(), 1.0).unwrap().nats;
    }
    let (after, divergence) = (pupil.nats(&asked).unwrap(), pupil.divergence(&asked).unwrap());
    assert!(seen > 0.0 && after != base && divergence > 0.0, "{seen} {base} -> {after}, {divergence}");
    // Asking changes nothing, and a flag that is raised leaves the state as it was.
    assert_eq!(pupil.nats(&asked).unwrap(), after);
    let flag = CancelFlag::new();
    pupil.obey(&flag);
    flag.cancel();
    assert!(pupil.step(&[&asked[0]], Hold::default(), 1.0).unwrap_err().is_cancelled());
    flag.reset();
    assert_eq!(pupil.nats(&asked).unwrap(), after);

    let delta = pupil.delta().unwrap();
    let mut again = StatePupil::new(&model, options()).unwrap();
    again.begin(Some(&delta), 0).unwrap();
    assert_eq!(again.nats(&asked).unwrap(), after);
    again.begin(None, 0).unwrap();
    assert_eq!(again.nats(&asked).unwrap(), base);

    let folder = tempfile::tempdir().unwrap();
    let edit = Edit::open(&Store::open(folder.path()), DEFAULT_KEEP).unwrap();
    let manifest = Manifest {
        base: pupil.base().unwrap(),
        settings: serde_json::json!({ "pupil": pupil.settings() }),
        ..Manifest::default()
    };
    edit.commit("diary", Change::Next, manifest, &delta, &[]).unwrap();
    let kept = edit.delta("diary").unwrap().unwrap();
    assert_eq!(StateOptions::of(&kept.manifest).unwrap(), options());
    let begun = kept.session(&model, SessionOptions { context: Some(64), ..Default::default() }).unwrap();
    // To its last token, in however many samples.
    let tokens = model.encode(&words(2)).unwrap();
    assert!(read.len() > 1 && read[0].goes_on && !read[read.len() - 1].goes_on);
    assert_eq!((begun.tokens(), begun.capacity()), (tokens.clone(), tokens.len() + 64));
    let whole = model.session(SessionOptions { context: Some(512), ..Default::default() }).unwrap();
    let next = &asked[0].example.tokens;
    let expected = whole.forward(&[tokens, next.clone()].concat()).unwrap();
    assert_eq!(begun.forward(next).unwrap(), expected);
    // Factors do not go on from it.
    let mut learner = Learner::new(&mut other, &edit, "diary", LearnOptions::default()).unwrap();
    let error = learner.learn(vec![text(3)], &Control::default()).unwrap_err();
    assert!(matches!(&error, Error::Setting { setting: "mode", found, .. } if found == "lora"), "{error}");
    // It is no adapter, and another model's it is not.
    assert!(matches!(kept.adapter(&model), Err(Error::Setting { setting: "delta", .. })));
    assert!(matches!(kept.session(&self::model("tiny-ttt-linear"), SessionOptions::default()), Err(Error::Learn(_))));
}

#[test]
fn a_transcript_is_no_memory() {
    let error = StatePupil::new(&model("tiny-qwen3"), options()).err().unwrap();
    assert!(matches!(&error, Error::Setting { setting: "model", found, .. } if found == "Qwen3ForCausalLM"), "{error}");
}
