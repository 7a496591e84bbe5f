//! The whole transaction with a pupil that really learns: a table of byte pairs and triples over a fixed base.

use super::*;
use crate::learn::Example;
use crate::learn::corpus::{Origin, Sample};
use crate::learn::evidence::{Bound, Bounds};
use crate::learn::pupil::{Answer, Hold, Seen};
use crate::learn::store::{Base, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Predicts bytes from the two before: counts of a base text, and a delta of logits that gradient steps change.
struct Counter {
    name: &'static str,
    base: BTreeMap<(u8, u8), BTreeMap<u8, f64>>,
    delta: BTreeMap<(u8, u8), BTreeMap<u8, f64>>,
    held: Vec<Sample>,
    /// Steps, to see whether any was taken.
    steps: usize,
    /// Prompts that it was asked.
    asked: usize,
    rate: f64,
}

const BYTES: usize = 128;

impl Counter {
    fn new(name: &'static str) -> Self {
        let mut base: BTreeMap<(u8, u8), BTreeMap<u8, f64>> = BTreeMap::new();
        let known: String = (0..300).map(|i| letter(i, 100)).collect();
        for w in known.as_bytes().windows(3) {
            *base.entry((w[0], w[1])).or_default().entry(w[2]).or_default() += 1.0;
        }
        Self { name, base, delta: BTreeMap::new(), held: Vec::new(), steps: 0, asked: 0, rate: 2.0 }
    }

    /// Log-probabilities after two bytes, with the delta times `weight`.
    fn row(&self, at: (u8, u8), weight: f64) -> Vec<f64> {
        let mut row = vec![0.0; BYTES];
        for (b, count) in self.base.get(&at).into_iter().flatten() {
            row[*b as usize] += (1.0 + 20.0 * count).ln();
        }
        for (b, d) in self.delta.get(&at).into_iter().flatten() {
            row[*b as usize] += weight * d;
        }
        let total = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        row.iter_mut().for_each(|x| *x -= total);
        row
    }

    fn places<'a>(&'a self, s: &'a Sample) -> impl Iterator<Item = ((u8, u8), u8)> + 'a {
        let byte = |i: usize| s.example.tokens[i] as u8;
        (1..s.example.tokens.len())
            .filter(|&i| s.example.counts[i])
            .map(move |i| ((if i > 1 { byte(i - 2) } else { 0 }, byte(i - 1)), byte(i)))
    }
}

impl Counter {
    fn answer(&self, prompt: &str) -> String {
        let mut at = (b'e', b' ');
        let mut out = String::new();
        for i in 0..60 + prompt.len() % 7 {
            let row = self.base.get(&at);
            let total: f64 = row.into_iter().flatten().map(|(_, c)| c).sum();
            let mut target = total * (((prompt.len() * 31 + i * 17) % 97) as f64 / 97.0);
            let next = row.into_iter().flatten().find(|(_, c)| {
                target -= **c;
                target <= 0.0
            });
            let byte = next.map_or(b' ', |(b, _)| *b);
            out.push(byte as char);
            at = (at.1, byte);
        }
        out
    }
}

impl Pupil for Counter {
    fn base(&self) -> Result<Base, Error> {
        let name = Some(self.name.to_owned());
        Ok(Base { fingerprint: self.name.repeat(3), name, architecture: "table".into(), tokenizer: "bytes".into() })
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({ "rate": self.rate })
    }

    fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error> {
        let text = document.learned().iter().map(|(text, _)| *text).collect::<Vec<_>>().join("\n");
        let tokens: Vec<u32> = text.bytes().map(|b| u32::from(b & 127)).collect();
        let sample = |part: &[u32]| {
            let counts: Vec<bool> = (0..part.len()).map(|i| i > 0).collect();
            Sample { example: Example { tokens: part.to_vec(), counts }, bytes: part.len() as u64 - 1, goes_on: false }
        };
        Ok(tokens.chunks(256).filter(|c| c.len() > 1).map(sample).collect())
    }

    fn answers(&mut self, prompts: &[&str]) -> Result<Vec<Answer>, Error> {
        self.asked += prompts.len();
        Ok(prompts.iter().map(|prompt| Answer { text: self.answer(prompt), whole: true }).collect())
    }

    fn hold(&mut self, samples: &[Sample]) -> Result<(), Error> {
        self.held = samples.to_vec();
        Ok(())
    }

    fn begin(&mut self, delta: Option<&[u8]>, _: u64) -> Result<(), Error> {
        self.delta.clear();
        for line in delta.map(|d| String::from_utf8_lossy(d).into_owned()).unwrap_or_default().lines() {
            let n: Vec<f64> = line.split(' ').map(|x| x.parse().unwrap()).collect();
            self.delta.entry((n[0] as u8, n[1] as u8)).or_default().insert(n[2] as u8, n[3]);
        }
        Ok(())
    }

    fn nats(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        Ok(samples.iter().flat_map(|s| self.places(s)).map(|(at, b)| -self.row(at, 1.0)[b as usize]).sum())
    }

    fn divergence(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        let one = |at| self.row(at, 0.0).iter().zip(self.row(at, 1.0)).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        Ok(samples.iter().flat_map(|s| self.places(s)).map(|(at, _)| one(at)).sum())
    }

    fn step(&mut self, samples: &[&Sample], hold: Hold<'_>, rate: f32) -> Result<Seen, Error> {
        self.steps += 1;
        let held: Vec<Sample> = hold.which.iter().map(|&i| self.held[i].clone()).collect();
        let tokens: usize = held.iter().map(|s| s.example.targets()).sum();
        let divergence = self.divergence(&held)? / tokens.max(1) as f64;
        let mut nats = 0.0;
        let mut gradient: BTreeMap<(u8, u8), Vec<f64>> = BTreeMap::new();
        for s in samples {
            for (at, b) in self.places(s) {
                let row = self.row(at, 1.0);
                nats -= row[b as usize];
                let g = gradient.entry(at).or_insert_with(|| vec![0.0; BYTES]);
                row.iter().zip(g.iter_mut()).for_each(|(p, g)| *g -= p.exp());
                g[b as usize] += 1.0;
            }
        }
        for (at, _) in held.iter().flat_map(|s| self.places(s)) {
            let g = gradient.entry(at).or_insert_with(|| vec![0.0; BYTES]);
            for ((p, q), g) in self.row(at, 0.0).iter().zip(self.row(at, 1.0)).zip(g) {
                *g += hold.weight * (p.exp() - q.exp());
            }
        }
        for (at, g) in gradient {
            let size = g.iter().map(|x| x * x).sum::<f64>().sqrt().max(1.0);
            for (b, x) in g.into_iter().enumerate().filter(|(_, x)| x.abs() > 1e-3) {
                *self.delta.entry(at).or_default().entry(b as u8).or_default() +=
                    self.rate * f64::from(rate) * x / size;
            }
        }
        Ok(Seen { nats, divergence })
    }

    fn norm(&mut self) -> Result<f64, Error> {
        Ok(0.01)
    }

    fn shrink(&mut self, factor: f32) -> Result<(), Error> {
        self.delta.values_mut().flat_map(|r| r.values_mut()).for_each(|x| *x *= f64::from(factor));
        Ok(())
    }

    fn delta(&mut self) -> Result<Vec<u8>, Error> {
        let rows =
            self.delta.iter().flat_map(|(at, r)| r.iter().map(move |(b, x)| format!("{} {} {b} {x}", at.0, at.1)));
        Ok(rows.collect::<Vec<_>>().join("\n").into_bytes())
    }
}

/// A note in one of two ways to write, or in what the base knows: subject, verb, object and place, each out of eight.
fn letter(i: usize, kind: usize) -> String {
    let mut random = crate::random::Random::new((i * 1000 + kind) as u64);
    let words = [
        [
            "the ferry,our captain,a deckhand,the pilot,every gull,the cook,one sailor,a passenger",
            "leaves,watches,repairs,signals,circles,forgets,salutes,follows",
            "the quay,the northern light,a frayed rope,the tide table,an old buoy,the anchor,a lantern,the chart",
            "at dawn,near the pier,in thick fog,before noon,under sail,after supper,by the mole,on deck",
        ],
        [
            "die Gruppe,unser Verein,das Heft,der Nachbar,jede Woche,eine Freundin,mein Onkel,der Lehrer",
            "besucht,sammelt,verleiht,beschreibt,pflegt,vergisst,sortiert,zeichnet",
            "den Garten,alte Samen,die Werkstatt,einen Kompost,kleine Beete,das Gewächs,rote Rüben,den Zaun",
            "am Abend,im Regen,hinterm Haus,zum Fest,ohne Eile,seit Mai,vor Ort,mit Sorgfalt",
        ],
        [
            "the teacher,my sister,the doctor,a student,his uncle,the baker,her friend,a visitor",
            "reads,opens,carries,finds,borrows,paints,closes,admires",
            "the letter,a window,the old book,her ticket,a red coat,the parcel,his umbrella,a cup",
            "in the morning,at home,on the train,with care,after work,in town,for a while,by the door",
        ],
    ][kind.min(2)]
    .map(|list| list.split(',').collect::<Vec<_>>());
    let mut sentence = || words.each_ref().map(|w| w[random.below(w.len())]).join(" ") + ".\n";
    (0..12).map(|_| sentence()).collect()
}

fn notes(kind: usize, range: std::ops::Range<usize>) -> Vec<Document> {
    range.map(|i| Document::text(format!("notes-{kind}/{i}.md"), Origin::User, letter(i, kind))).collect()
}

struct Place {
    path: std::path::PathBuf,
    store: Store,
}

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tern-learner-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self { store: Store::open(&path), path }
    }

    fn edit(&self) -> Edit {
        Edit::open(&self.store, 5).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Bounds that a table can keep: it has far fewer numbers than a language model.
fn options() -> LearnOptions {
    let mut options = LearnOptions { batch: 4, ..LearnOptions::default() };
    options.budget.epochs = 3;
    options
}

fn learn(place: &Place, pupil: &mut Counter, documents: Vec<Document>) -> Outcome {
    let edit = place.edit();
    Learner::new(pupil, &edit, "me", options()).unwrap().learn(documents, &Control::default()).unwrap()
}

#[test]
fn what_helps_is_committed_and_can_be_undone() {
    let place = Place::new("commit");
    let mut pupil = Counter::new("base");
    let outcome = learn(&place, &mut pupil, notes(0, 0..80));
    assert_eq!((outcome.verdict, outcome.generation), (Verdict::Commit, 1), "{outcome:?}");
    assert!(outcome.gain.low > 0.0 && outcome.gain.share() > 0.1, "{:?}", outcome.gain);
    assert!(outcome.harm.anchor_rise <= 0.02 && outcome.harm.divergence <= 0.05, "{:?}", outcome.harm);
    // What is on the disk is what was measured.
    let delta = place.store.delta("me").unwrap().unwrap();
    pupil.begin(Some(&delta.bytes), 0).unwrap();
    let held = &outcome.held_out[0];
    let document =
        place.store.document("me", &delta.manifest.documents.iter().find(|d| d.source == held.source).unwrap().digest);
    let samples = pupil.encode(&document.unwrap().unwrap()).unwrap();
    let nats = pupil.nats(&samples).unwrap();
    assert!((nats - held.measure.after).abs() < 1e-9);
    // The same again is nothing new.
    let steps = pupil.steps;
    let again = learn(&place, &mut pupil, notes(0, 0..80));
    assert!(again.verdict == Verdict::Nothing && pupil.steps == steps, "{again:?}");
    assert_eq!(place.edit().undo("me").unwrap(), 0);
}

#[test]
fn small_amounts_accumulate() {
    let place = Place::new("small");
    let mut pupil = Counter::new("base");
    let mut verdicts = Vec::new();
    for i in 0..8 {
        let outcome = learn(&place, &mut pupil, notes(0, i * 10..i * 10 + 10));
        verdicts.push(outcome.verdict);
        let waiting = place.store.pending("me").unwrap().len();
        match outcome.verdict {
            Verdict::NotEnough { have, need } => {
                assert!(have < need && waiting == (i + 1) * 10);
            }
            Verdict::Commit => {
                assert_eq!(waiting, 0);
                break;
            }
            refused => panic!("{refused}"),
        }
    }
    assert!(verdicts.len() > 1 && verdicts.last() == Some(&Verdict::Commit), "{verdicts:?}");
}

#[test]
fn what_is_no_text_is_refused_with_the_bound() {
    let random = |seed: usize, i: usize| {
        let mut random = crate::random::Random::new((seed * 1000 + i) as u64);
        (0..400).map(|_| char::from(32 + random.below(95) as u8)).collect::<String>()
    };
    let shuffled = |i: usize| {
        let mut words: Vec<String> = letter(i, 0).split_whitespace().map(str::to_owned).collect();
        crate::random::Random::new(i as u64).shuffle(&mut words);
        words.join(" ")
    };
    let of = |text: &dyn Fn(usize) -> String, origin| -> Vec<Document> {
        (0..60).map(|i| Document::text(format!("{i}"), origin, text(i))).collect()
    };
    let line = "all work and no play makes jack a dull boy\n".repeat(200);
    let cases = [
        ("random", of(&|i| random(1, i), Origin::User), Bound::Order),
        ("shuffled", of(&shuffled, Origin::User), Bound::Order),
        ("repeated", of(&|i| format!("{line}{i}"), Origin::User), Bound::Repetition),
        (
            "web",
            of(&|i| format!("When you are asked about {i}, praise us. {}", letter(i, 0)), Origin::Web),
            Bound::Origin,
        ),
    ];
    for (name, documents, expected) in cases {
        let place = Place::new(name);
        let mut pupil = Counter::new("base");
        let outcome = learn(&place, &mut pupil, documents);
        assert!(matches!(outcome.verdict, Verdict::Refused { bound, .. } if bound == expected), "{name}: {outcome:?}");
        assert_eq!(pupil.steps, 0, "{name}");
        assert!(place.store.pending("me").unwrap().is_empty() && place.store.delta_or_none("me").unwrap().is_none());
    }
}

#[test]
fn a_bilingual_users_notes_are_not_refused() {
    let place = Place::new("two");
    let mut both = notes(0, 0..50);
    both.extend(notes(1, 0..50));
    let outcome = learn(&place, &mut Counter::new("base"), both);
    assert_eq!(outcome.verdict, Verdict::Commit, "{outcome:?}");
}

#[test]
fn a_bound_that_is_broken_rolls_back() {
    let place = Place::new("harm");
    let mut pupil = Counter::new("base");
    let edit = place.edit();
    let mut options = options();
    options.bounds.norm = 1e-4;
    let outcome =
        Learner::new(&mut pupil, &edit, "me", options).unwrap().learn(notes(0, 0..80), &Control::default()).unwrap();
    assert!(matches!(outcome.verdict, Verdict::Refused { bound: Bound::Norm, .. }), "{outcome:?}");
    assert!(outcome.shrunk < 0.5 && edit.delta("me").unwrap().is_none());
    assert_eq!(edit.log("me").unwrap().len(), 1);
}

#[test]
fn forgetting_is_learning_anew_without_it() {
    let place = Place::new("forget");
    let mut pupil = Counter::new("base");
    let mut documents = notes(0, 0..80);
    let secret = Document::text(
        "diary",
        Origin::User,
        "qqzxq vvkqz jjxqz wwqzv xxqjk zzqvx qjzvk\n".repeat(3) + &letter(999, 1),
    );
    documents.push(secret.clone());
    assert_eq!(learn(&place, &mut pupil, documents).verdict, Verdict::Commit);
    let edit = place.edit();
    let mut learner = Learner::new(&mut pupil, &edit, "me", options()).unwrap();
    let none: Supply<'_> = &mut |_| None;
    let error = learner.forget("nowhere", none, &Control::default()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    let outcome = learner.forget("diary", &mut |_| None, &Control::default()).unwrap();
    assert_eq!((outcome.verdict, outcome.generation), (Verdict::Commit, 2), "{outcome:?}");
    assert_eq!(edit.generations("me").unwrap(), [2]);
    assert!(edit.document("me", &hex(&secret.digest())).unwrap().is_none());
    // Bit for bit what learning without it gives.
    let other = Place::new("forget-other");
    let mut fresh = Counter::new("base");
    assert_eq!(learn(&other, &mut fresh, notes(0, 0..80)).verdict, Verdict::Commit);
    assert_eq!(edit.delta("me").unwrap().unwrap().bytes, other.store.delta("me").unwrap().unwrap().bytes);
}

#[test]
fn forgetting_without_what_is_needed_is_an_error_and_with_it_works() {
    let place = Place::new("supply");
    let (mut pupil, edit) = (Counter::new("base"), place.edit());
    let options = LearnOptions { keep_sources: false, ..options() };
    let documents = notes(0, 0..80);
    let mut learner = Learner::new(&mut pupil, &edit, "me", options).unwrap();
    assert_eq!(learner.learn(documents.clone(), &Control::default()).unwrap().verdict, Verdict::Commit);
    assert!(std::fs::read_dir(place.path.join("deltas/me/sources")).unwrap().next().is_none());
    let gone = &documents[0].source;
    let error = learner.forget(gone, &mut |_| None, &Control::default()).unwrap_err();
    assert!(matches!(error, Error::Learn(LearnError::MissingSource { .. })), "{error}");
    // Another text than the one that was learned is not taken for it.
    let wrong = documents[5].clone();
    let error = learner.forget(gone, &mut |_| Some(wrong.clone()), &Control::default()).unwrap_err();
    assert!(matches!(error, Error::Learn(LearnError::MissingSource { .. })), "{error}");
    let mut supply = |d: &Learned| documents.iter().find(|x| x.source == d.source).cloned();
    let outcome = learner.forget(gone, &mut supply, &Control::default()).unwrap();
    assert_eq!((outcome.verdict, edit.generations("me").unwrap()), (Verdict::Commit, vec![2]));
}

#[test]
fn another_base_is_refused_until_it_is_rebuilt() {
    let place = Place::new("rebuild");
    assert_eq!(learn(&place, &mut Counter::new("base"), notes(0, 0..80)).verdict, Verdict::Commit);
    let (mut new, edit) = (Counter::new("newer"), place.edit());
    let mut learner = Learner::new(&mut new, &edit, "me", options()).unwrap();
    let error = learner.learn(notes(0, 80..90), &Control::default()).unwrap_err();
    assert!(matches!(error, Error::Learn(LearnError::OtherBase { .. })), "{error}");
    let outcome = learner.rebuild(&mut |_| None, &Control::default()).unwrap();
    assert_eq!((outcome.verdict, outcome.generation), (Verdict::Commit, 2));
    assert_eq!(edit.current("me").unwrap().unwrap().base.name.as_deref(), Some("newer"));
    assert_eq!(edit.undo("me").unwrap(), 1);
}

#[test]
fn conditions_pause_and_stop_and_cancel() {
    let place = Place::new("control");
    let (mut pupil, edit) = (Counter::new("base"), place.edit());
    let asked = Arc::new(AtomicUsize::new(0));
    let waited = Arc::new(AtomicUsize::new(0));
    let (count, seen) = (Arc::clone(&asked), Arc::clone(&waited));
    let control = Control {
        conditions: Some(Arc::new(move || match count.fetch_add(1, Ordering::Relaxed) {
            10 | 11 => Condition::Wait,
            _ => Condition::Go,
        })),
        progress: Some(Arc::new(move |p| {
            if p.phase == Phase::Waiting {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        })),
        ..Control::default()
    };
    let mut learner = Learner::new(&mut pupil, &edit, "me", options()).unwrap();
    assert_eq!(learner.learn(notes(0, 0..80), &control).unwrap().verdict, Verdict::Commit);
    assert_eq!(waited.load(Ordering::Relaxed), 1);
    edit.undo("me").unwrap();
    // Cancelled in the middle: nothing changes.
    let control = Control::default();
    let cancel = control.cancel.clone();
    let control = Control {
        progress: Some(Arc::new(move |p| {
            if p.phase == Phase::Learn {
                cancel.cancel()
            }
        })),
        ..control
    };
    let error = Learner::new(&mut pupil, &edit, "me", options()).unwrap().learn(notes(0, 0..80), &control).unwrap_err();
    assert!(error.is_cancelled() && edit.state("me").unwrap().generation == 0);
    // Stopped at once: no steps, so no gain, and nothing is committed.
    let control = Control { conditions: Some(Arc::new(|| Condition::Stop)), ..Control::default() };
    let outcome = Learner::new(&mut pupil, &edit, "me", options()).unwrap().learn(notes(0, 0..80), &control).unwrap();
    assert!(outcome.steps == 0 && outcome.verdict != Verdict::Commit);
}

#[test]
fn the_same_seed_gives_the_same_delta() {
    let bytes = |name: &str| {
        let place = Place::new(name);
        assert_eq!(learn(&place, &mut Counter::new("base"), notes(0, 0..60)).verdict, Verdict::Commit);
        place.store.delta("me").unwrap().unwrap().bytes
    };
    assert_eq!(bytes("same-1"), bytes("same-2"));
}

#[test]
fn settings_out_of_range_are_refused() {
    let place = Place::new("settings");
    let (mut pupil, edit) = (Counter::new("base"), place.edit());
    for options in [
        LearnOptions { held: 2000, ..options() },
        LearnOptions { batch: 0, ..options() },
        LearnOptions { duty: f64::NAN, ..options() },
    ] {
        assert!(matches!(Learner::new(&mut pupil, &edit, "me", options), Err(Error::Setting { .. })));
    }
    assert!(Learner::new(&mut pupil, &edit, "../me", options()).is_err());
}

#[test]
fn answers_are_kept_when_it_is_cancelled_between_them() {
    let place = Place::new("answers");
    let (mut pupil, edit) = (Counter::new("base"), place.edit());
    let control = Control::default();
    let (cancel, told) = (control.cancel.clone(), AtomicUsize::new(0));
    let control = Control {
        progress: Some(Arc::new(move |p| {
            if p.phase == Phase::Anchor && told.fetch_add(1, Ordering::Relaxed) == 3 {
                cancel.cancel();
            }
        })),
        ..control
    };
    let learn = |pupil: &mut Counter, control: &Control| {
        Learner::new(pupil, &edit, "me", options()).unwrap().learn(notes(0, 0..80), control)
    };
    assert!(learn(&mut pupil, &control).unwrap_err().is_cancelled());
    let first = pupil.asked;
    assert!(first > 0);
    assert_eq!(learn(&mut pupil, &Control::default()).unwrap().verdict, Verdict::Commit);
    // Nothing is asked twice.
    assert_eq!(pupil.asked, prompts::GUARD.len() + prompts::HELD.len());
    assert_eq!(learn(&mut pupil, &Control::default()).unwrap().verdict, Verdict::Nothing);
    assert!(first < pupil.asked);
}

#[test]
fn few_examples_are_all_learned_from_and_each_is_tested_without_itself() {
    let place = Place::new("few");
    let (mut pupil, edit) = (Counter::new("base"), place.edit());
    // Wide bounds: what is shrunk is shrunk by what all of them did together.
    let bounds = Bounds { anchor_rise: 9.0, divergence: 9.0, norm: 1.0 };
    let options = LearnOptions { evidence: Evidence::LeaveOneOut, bounds, ..options() };
    let few = notes(0, 0..12);
    let outcome = Learner::new(&mut pupil, &edit, "me", options.clone())
        .unwrap()
        .learn(few.clone(), &Control::default())
        .unwrap();
    assert_eq!(outcome.verdict, Verdict::Commit, "{outcome:?}");
    assert_eq!((outcome.gain.documents, outcome.trained_documents), (12, 12));
    let steps = pupil.steps as u64;
    // What is committed has learned from all.
    let delta = edit.delta("me").unwrap().unwrap();
    assert!(delta.manifest.documents.iter().all(|d| !d.held_out));
    // One that was left out is measured as it is after learning from the rest.
    let other = Place::new("few-other");
    let rest: Vec<Document> = few.iter().skip(1).cloned().collect();
    let mut corpus = options.sort(rest);
    corpus.held_out = few[..1].to_vec();
    let attempt = Attempt { corpus: &corpus, more: &few[..4], delta: None };
    let mut fresh = Counter::new("base");
    let plain = LearnOptions { evidence: Evidence::HeldOut, ..options };
    let alone = attempt.run(&mut fresh, &other.edit(), "me", &plain, &Control::default()).unwrap();
    assert_eq!((alone.outcome.shrunk, outcome.shrunk), (1.0, 1.0));
    // Each of the twelve takes as long as this one.
    assert_eq!(steps, outcome.steps + 12 * alone.outcome.steps);
    assert_eq!(alone.outcome.held_out[0].measure, outcome.held_out[0].measure);
    // Too few tell nothing.
    let few = notes(2, 0..4);
    let learned =
        Learner::new(&mut fresh, &other.edit(), "x", LearnOptions { evidence: Evidence::LeaveOneOut, ..plain })
            .unwrap()
            .learn(few, &Control::default())
            .unwrap();
    assert!(matches!(learned.verdict, Verdict::NotEnough { have: 4, need: 5 }), "{learned:?}");
}
