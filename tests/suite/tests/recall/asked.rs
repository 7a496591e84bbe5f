//! Facts asked of a model: with nothing in view, with their statement or the whole text in view, and of what was learned from the text.

use crate::models::WINDOW;
use std::path::Path;
use tern::learn::store::{Change, DEFAULT_KEEP, Edit, Manifest};
use tern::learn::{Document, Fact, Hold, LoraOptions, Mode, Origin, Recall, Store, TrainingOptions, recall};
use tern::{GenerateOptions, Model, Session, SessionOptions};

/// How often LoRA learns from a text: it is as good as it knows it by heart then.
const TIMES: usize = 40;

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub facts: usize,
    /// Was it the state that learned, rather than factors?
    pub by_state: bool,
    /// Nats per answer, the whole text in view.
    pub text: f64,
    pub recall: Recall,
    /// Answers that are right, written greedily: with nothing in view, with the text in view, from what was learned.
    pub right: [usize; 3],
}

impl Asked {
    /// With those of another text.
    pub fn and(self, other: Self) -> Self {
        let facts = self.facts + other.facts;
        let mean = |a: f64, b: f64| (a * self.facts as f64 + b * other.facts as f64) / facts as f64;
        let (a, b) = (self.recall, other.recall);
        Self {
            facts,
            by_state: other.by_state,
            text: mean(self.text, other.text),
            recall: Recall {
                facts,
                base: mean(a.base, b.base),
                learned: mean(a.learned, b.learned),
                ceiling: mean(a.ceiling, b.ceiling),
            },
            right: std::array::from_fn(|i| self.right[i] + other.right[i]),
        }
    }
}

/// Asks `model` for the facts of a text, before and after it learned from it as `mode` says. `store` is used for one delta.
pub fn ask(model: &Model, mode: Mode, (text, facts): &(String, Vec<Fact>), store: &Path) -> Asked {
    let training = TrainingOptions { context: WINDOW, learning_rate: 5e-3, ..TrainingOptions::default() };
    let mut pupil = mode.pupil(model, LoraOptions { training, ..LoraOptions::default() }).unwrap();
    pupil.begin(None, 1).unwrap();
    let mut recall = recall::before(&mut *pupil, facts).unwrap();
    let in_text: Vec<Fact> = facts.iter().map(|f| Fact { statement: text.clone(), ..f.clone() }).collect();
    let in_text = recall::before(&mut *pupil, &in_text).unwrap().ceiling;
    let samples = pupil.encode(&Document::text("text", Origin::User, text.as_str())).unwrap();
    for _ in 0..if pupil.reads() { 1 } else { TIMES } {
        for sample in &samples {
            pupil.step(&[sample], Hold::default(), 1.0).unwrap();
        }
    }
    recall::after(&mut *pupil, facts, &mut recall).unwrap();

    let edit = Edit::open(&Store::open(store), DEFAULT_KEEP).unwrap();
    let settings = serde_json::json!({ "pupil": pupil.settings() });
    let manifest = Manifest { base: pupil.base().unwrap(), settings, ..Manifest::default() };
    edit.commit("text", Change::Next, manifest, &pupil.delta().unwrap(), &[]).unwrap();
    let delta = edit.delta("text").unwrap().unwrap();
    let options = SessionOptions { context: Some(WINDOW), ..Default::default() };
    let session = model.session(options).unwrap();
    let nothing = right(&session, "", facts);
    let learned = match mode {
        Mode::State => right(&delta.session(model, options).unwrap(), "", facts),
        Mode::Lora => {
            let id = model.add_adapter(delta.adapter(model).unwrap()).unwrap();
            session.set_adapters(&[(id, 1.0)]).unwrap();
            let learned = right(&session, "", facts);
            session.set_adapters(&[]).unwrap();
            model.remove_adapter(id);
            learned
        }
    };
    session.forward(&model.encode(text).unwrap()).unwrap();
    let right = [nothing, right(&session, "\n\n", facts), learned];
    Asked { facts: facts.len(), by_state: mode == Mode::State, text: in_text, recall, right }
}

/// Facts to which the greedy answer is right, each asked behind what `session` has read.
fn right(session: &Session, between: &str, facts: &[Fact]) -> usize {
    let is_right = |fact: &&Fact| {
        let prompt = session.model().encode(&format!("{between}{}", fact.question)).unwrap();
        let expected = session.model().encode(&fact.answer).unwrap();
        let options = GenerateOptions { max_tokens: expected.len(), ..GenerateOptions::default() };
        let asked = session.fork().unwrap();
        let answer: String = asked.generate(&prompt, options).unwrap().map(|e| e.unwrap().text().to_owned()).collect();
        answer == fact.answer
    };
    facts.iter().filter(is_right).count()
}
