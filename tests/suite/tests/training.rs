//! Training against PyTorch: gradients of every factor, and ten steps (`tests/goldens/learn/make_training.py`, for fast weights
//! `make_ttt_training.py` and `make_lact_training.py`); and what training promises of itself.

use std::path::PathBuf;
use tern::learn::{Adapter, Example, Recompute, Training, TrainingOptions};
use tern::{CancelFlag, Model, ModelOptions};
use tern_tests::{converted, goldens, json, runtime, tiers};

const NAMES: [&str; 6] = ["tiny-llama", "tiny-qwen3", FAST[0], FAST[1], FAST[2], FAST[3]];
/// Weights that learn along the text, of one layer, of two, and with a gate: the gradient goes through their updates.
const FAST: [&str; 4] = ["tiny-ttt-gated", "tiny-ttt-mlp-conv", "tiny-lact", "tiny-lact-muon"];

/// How far a gradient may be from PyTorch's in double precision. A step made orthogonal lets rounding errors grow by its five first
/// factors, 600 in all, where a chunk has fewer rows than a matrix.
fn tolerance(name: &str) -> f32 {
    if name.ends_with("muon") { 1e-3 } else { 1e-4 }
}

struct Golden {
    json: serde_json::Value,
    folder: PathBuf,
    examples: Vec<Example>,
    options: TrainingOptions,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = goldens().join("learn").join(name);
        let json = json(folder.join("training.json"));
        let example = |e: &serde_json::Value| Example {
            tokens: e["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect(),
            counts: e["counts"].as_array().unwrap().iter().map(|c| c.as_bool().unwrap()).collect(),
        };
        let examples = json["examples"].as_array().unwrap().iter().map(example).collect();
        let options = TrainingOptions {
            rank: json["rank"].as_u64().unwrap(),
            alpha: json["alpha"].as_f64().unwrap() as f32,
            learning_rate: json["lr"].as_f64().unwrap(),
            clip: None,
            context: 64,
            targets: json["targets"].as_array().into_iter().flatten().map(|t| t.as_str().unwrap().into()).collect(),
            ..Default::default()
        };
        Self { json, folder, examples, options }
    }

    fn number(&self, key: &str) -> f64 {
        self.json[key].as_f64().unwrap()
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        self.json[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// A training that begins with the golden's adapter.
    fn training(&self, model: &Model) -> Training {
        let mut training = Training::new(model, self.options.clone()).unwrap();
        training.set_adapter(&Adapter::read(model, self.folder.join("adapter")).unwrap()).unwrap();
        training
    }
}

fn open(path: PathBuf, backend: &str) -> Model {
    let options = ModelOptions { backend: Some(backend.into()), threads: 1, ..Default::default() };
    runtime().open(path, options).unwrap()
}

/// The model as a folder, and as the GGUF file made of it, whose query and key rows have another order.
fn files(name: &str) -> [PathBuf; 2] {
    let folder = goldens().join(name);
    let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("training-{name}.gguf"));
    [converted(&folder, &made), folder]
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// Largest difference between two adapters' factors, as a share of the largest number of each.
fn difference(found: &Adapter, expected: &Adapter) -> f32 {
    assert_eq!(found.factors.len(), expected.factors.len());
    let each = found.factors.iter().flat_map(|f| {
        let e = expected.get(&f.tensor).unwrap_or_else(|| panic!("no {}", f.tensor));
        [(&f.a, &e.a), (&f.b, &e.b)].map(|(x, y)| {
            assert_eq!(x.len(), y.len());
            let differences: Vec<f32> = x.iter().zip(y).map(|(x, y)| x - y).collect();
            largest(&differences) / largest(y)
        })
    });
    each.fold(0.0, f32::max)
}

#[test]
fn gradients_are_pytorchs() {
    for name in NAMES {
        let golden = Golden::read(name);
        for path in files(name) {
            let model = open(path.clone(), "reference");
            let mut training = golden.training(&model);
            let (loss, gradient) = training.gradients(&golden.examples).unwrap();
            assert!((loss - golden.number("loss")).abs() < 1e-4, "{name}: {loss}");
            let expected = Adapter::read(&model, golden.folder.join("gradient")).unwrap();
            let error = difference(&gradient, &expected);
            println!("{name} {}: gradient differs by {error:e}", path.display());
            assert!(error < tolerance(name), "{name} {}: {error}", path.display());
            let scores = training.score(&golden.examples).unwrap();
            for ((score, nats), example) in scores.iter().zip(golden.numbers("nats")).zip(&golden.examples) {
                assert!(
                    (score.nats - nats).abs() < 1e-3 && score.tokens == example.targets(),
                    "{name}: {score:?} {nats}"
                );
            }
        }
    }
}

#[test]
fn fast_weights_train_on_every_tier() {
    for (name, tier) in FAST.iter().flat_map(|name| tiers().into_iter().map(move |tier| (name, tier))) {
        let golden = Golden::read(name);
        let model = tern_tests::open(&goldens().join(name), tier, 2);
        let mut training = golden.training(&model);
        let (loss, gradient) = training.gradients(&golden.examples).unwrap();
        assert!((loss - golden.number("loss")).abs() < 1e-4, "{tier}: {loss}");
        let expected = Adapter::read(&model, golden.folder.join("gradient")).unwrap();
        let error = difference(&gradient, &expected);
        println!("{name} {tier}: gradient differs by {error:e}");
        assert!(error < tolerance(name), "{name} {tier}: {error}");
        for (step, expected) in golden.numbers("losses").into_iter().enumerate() {
            let report = training.step(&golden.examples).unwrap();
            let most = 20.0 * f64::from(tolerance(name)) * expected;
            assert!((report.loss - expected).abs() < most, "{name} {tier} step {step}: {} {expected}", report.loss);
        }
    }
}

#[test]
fn ten_steps_are_pytorchs() {
    for name in NAMES {
        let golden = Golden::read(name);
        let mut training = golden.training(&open(goldens().join(name), "reference"));
        for (step, expected) in golden.numbers("losses").into_iter().enumerate() {
            let report = training.step(&golden.examples).unwrap();
            assert!((report.loss - expected).abs() < 2e-3 * expected, "{name} step {step}: {} {expected}", report.loss);
        }
    }
}

#[test]
fn what_is_computed_twice_changes_no_bit_and_takes_less() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let mut results = Vec::new();
    for n in [0, 1] {
        let options = TrainingOptions { recompute: Some(Recompute(n)), ..golden.options.clone() };
        let mut training = Training::new(&model, options).unwrap();
        training.set_adapter(&Adapter::read(&model, golden.folder.join("adapter")).unwrap()).unwrap();
        let working = training.planned().working_bytes;
        results.push((working, training.gradients(&golden.examples).unwrap()));
    }
    assert_eq!(results[0].1, results[1].1);
    assert!(results[1].0 < results[0].0, "{} {}", results[0].0, results[1].0);
}

#[test]
fn a_budget_is_kept_or_refused() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let free = Training::plan(&model, &golden.options).unwrap();
    assert_eq!(free.recompute, Recompute(0));
    let tight = TrainingOptions { max_bytes: Some(free.total_bytes - 1), ..golden.options.clone() };
    let before = model.memory().used;
    let mut training = Training::new(&model, tight).unwrap();
    training.score(&golden.examples).unwrap();
    assert!(training.planned().recompute > Recompute(0) && training.planned().fits());
    let taken = model.memory().used - before;
    let planned = training.planned().total_bytes;
    assert!(taken.abs_diff(planned) <= planned / 20, "{taken} of {planned}");
    drop(training);
    assert_eq!(model.memory().used, before);
    let none = TrainingOptions { max_bytes: Some(1000), ..golden.options.clone() };
    assert!(matches!(Training::new(&model, none), Err(tern::Error::Memory { needed, .. }) if needed > 1000));
    assert_eq!(model.memory().used, before);
}

#[test]
fn a_training_goes_on_from_its_file_bit_for_bit() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let options = TrainingOptions { dropout: 0.2, clip: Some(1.0), seed: 9, ..golden.options.clone() };
    let steps = |t: &mut Training, n: usize| -> Vec<f64> {
        (0..n).map(|i| t.step(&golden.examples[i % 3..=i % 3]).unwrap().loss).collect()
    };
    let mut whole = Training::new(&model, options.clone()).unwrap();
    let first = steps(&mut whole, 3);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("training.state");
    whole.save(&file).unwrap();
    let rest = steps(&mut whole, 3);
    let mut again = Training::new(&model, options.clone()).unwrap();
    assert_eq!(steps(&mut again, 3), first);
    let mut resumed = Training::new(&model, TrainingOptions { ..options.clone() }).unwrap();
    resumed.resume(&file).unwrap();
    assert_eq!((resumed.steps(), steps(&mut resumed, 3)), (3, rest));
    assert_eq!(resumed.adapter(), whole.adapter());
    let other = TrainingOptions { rank: 2, ..options };
    let error = Training::new(&model, other).unwrap().resume(&file).unwrap_err();
    assert!(matches!(error, tern::Error::TrainingFile { .. }), "{error}");
}

#[test]
fn zero_effect_at_first_and_divergence_after() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let mut training = Training::new(&model, golden.options.clone()).unwrap();
    assert_eq!(training.kl(&golden.examples).unwrap(), 0.0);
    for _ in 0..3 {
        training.step(&golden.examples).unwrap();
    }
    let kl = training.kl(&golden.examples).unwrap();
    assert!(kl > 1e-3, "{kl}");
    let ratios = training.adapter().norm_ratios(&model).unwrap();
    assert!(ratios.len() == 14 && ratios.iter().all(|(_, r)| *r > 0.0 && *r < 2.0), "{ratios:?}");
}

#[test]
fn query_only_trains_nothing_else() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let options = TrainingOptions { targets: vec!["attn_q".into()], ..golden.options.clone() };
    let mut training = Training::new(&model, options).unwrap();
    let losses: Vec<f64> = (0..5).map(|_| training.step(&golden.examples).unwrap().loss).collect();
    assert!(losses[4] < losses[0], "{losses:?}");
    let adapter = training.adapter();
    assert!(adapter.factors.len() == 2 && adapter.factors.iter().all(|f| f.tensor.ends_with("attn_q.weight")));
    let wrong = TrainingOptions { targets: vec!["attn_z".into()], ..golden.options.clone() };
    assert!(Training::new(&model, wrong).err().unwrap().to_string().contains("attn_q"));
}

#[test]
fn adapters_go_through_files_unchanged() {
    let golden = Golden::read(NAMES[0]);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let models = files(NAMES[0]).map(|f| open(f, "reference"));
    let adapter = Adapter::read(&models[0], golden.folder.join("adapter")).unwrap();
    // The same whichever form of the model it is read for.
    assert_eq!(adapter, Adapter::read(&models[1], golden.folder.join("adapter")).unwrap());
    for model in &models {
        adapter.write_gguf(model, folder.join("adapter.gguf")).unwrap();
        assert_eq!(Adapter::read(model, folder.join("adapter.gguf")).unwrap(), adapter);
        adapter.write_peft(model, folder.join("peft"), "tiny").unwrap();
        assert_eq!(Adapter::read(model, folder.join("peft")).unwrap(), adapter);
    }
    let other = open(goldens().join("tiny-qwen3"), "reference");
    assert!(matches!(Adapter::read(&other, folder.join("adapter.gguf")), Err(tern::Error::Adapter(_))));
}

#[test]
fn it_can_be_cancelled_and_bad_examples_are_refused() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "reference");
    let mut training = golden.training(&model);
    let before = training.adapter();
    let flag: CancelFlag = training.cancel_flag();
    // Again and again: what is cancelled before a call is not.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while ended.recv_timeout(std::time::Duration::from_millis(30)).is_err() {
            flag.cancel();
        }
    });
    let many: Vec<Example> = (0..2000).map(|i| golden.examples[i % 3].clone()).collect();
    let error = training.step(&many).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    end.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!((training.adapter(), training.steps()), (before, 0));
    let long = Example::of(vec![5; 65]);
    assert!(matches!(training.step(&[long]), Err(tern::Error::Setting { .. })));
    assert!(matches!(training.step(&[Example::of(vec![5])]), Err(tern::Error::Empty)));
    assert!(matches!(training.step(&[Example::of(vec![5, 99999])]), Err(tern::Error::Token { .. })));
}

#[test]
fn anothers_flag_ends_a_step_and_stays_up() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "cpu");
    let mut training = golden.training(&model);
    let (flag, before) = (CancelFlag::new(), training.adapter());
    training.obey(&flag);
    let raised = flag.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        raised.cancel();
    });
    let many: Vec<Example> = (0..20_000).map(|i| golden.examples[i % 3].clone()).collect();
    let error = training.step(&many).unwrap_err();
    thread.join().unwrap();
    assert!(error.is_cancelled() && flag.is_cancelled(), "{error}");
    // Whatever it is asked next.
    assert!(training.step(&golden.examples).unwrap_err().is_cancelled());
    assert!(training.hold(&golden.examples).unwrap_err().is_cancelled());
    assert!(training.kl(&golden.examples).unwrap_err().is_cancelled());
    assert_eq!((training.adapter(), training.steps()), (before, 0));
    flag.reset();
    training.step(&golden.examples).unwrap();
}

#[test]
fn what_holding_takes_is_planned_and_counted() {
    let golden = Golden::read(NAMES[0]);
    let model = open(goldens().join(NAMES[0]), "cpu");
    let tokens: usize = golden.examples.iter().map(Example::targets).sum();
    let options = TrainingOptions { holds: tokens as u64, ..golden.options.clone() };
    let (plain, plan) = (Training::plan(&model, &golden.options).unwrap(), Training::plan(&model, &options).unwrap());
    assert_eq!(plain.holding_bytes, 0);
    assert_eq!(plan.total_bytes, plain.total_bytes + plan.holding_bytes);
    // No more than is planned is ever taken.
    let before = model.memory().used;
    let mut training = Training::new(&model, options).unwrap();
    training.score(&golden.examples).unwrap();
    let held = training.hold(&golden.examples).unwrap();
    let kept = model.memory().used;
    training.kl(&golden.examples).unwrap();
    let peak = model.memory().peak - before;
    assert!(peak <= plan.total_bytes + plan.total_bytes / 20, "{peak} of {}", plan.total_bytes);
    drop(held);
    let width = 4 * model.info().width;
    assert_eq!(kept - model.memory().used, tokens as u64 * width);
}

/// `x` with `factor` times the factors of `d` added.
fn moved(x: &Adapter, d: &Adapter, factor: f32) -> Adapter {
    let mut out = x.clone();
    for f in &mut out.factors {
        let d = d.get(&f.tensor).unwrap();
        f.a.iter_mut().zip(&d.a).for_each(|(x, d)| *x += factor * d);
        f.b.iter_mut().zip(&d.b).for_each(|(x, d)| *x += factor * d);
    }
    out
}

fn squares(x: &Adapter) -> f64 {
    x.factors.iter().flat_map(|f| f.a.iter().chain(&f.b)).map(|&v| f64::from(v).powi(2)).sum()
}

#[test]
fn holding_has_the_gradient_of_the_divergence_from_the_base() {
    // Differences of results in single precision are too rough behind steps that are made orthogonal.
    for name in NAMES.into_iter().filter(|name| !name.ends_with("muon")) {
        let golden = Golden::read(name);
        let [path, _] = files(name);
        for backend in ["reference", "cpu"] {
            let model = open(path.clone(), backend);
            let mut training = Training::new(&model, golden.options.clone()).unwrap();
            let none: [Example; 0] = [];
            let (_, plain) = training.gradients(&golden.examples).unwrap();
            let held = training.hold(&golden.examples).unwrap();
            let held: Vec<_> = held.iter().collect();
            let (_, rest) = training.gradients_holding(&none, &held, 1.0).unwrap();
            assert!(squares(&rest) < 1e-10 * squares(&plain), "{}: the base holds still", squares(&rest));

            // The adapter is none of the base's: holding does not depend on it, its gradient does.
            let adapter = Adapter::read(&model, golden.folder.join("adapter")).unwrap();
            training.set_adapter(&adapter).unwrap();
            let (_, slope) = training.gradients_holding(&none, &held, 1.0).unwrap();
            let (told, kl) = (training.step_holding(&golden.examples, &held, 1.0).unwrap().divergence, {
                training.set_adapter(&adapter).unwrap();
                training.kl(&golden.examples).unwrap()
            });
            assert!((told / kl - 1.0).abs() < 1e-3, "{name} on {backend}: a step tells {told} of {kl}");
            let length = squares(&slope).sqrt();
            let step = 1e-2 / length as f32;
            let mut kl = |factor: f32| {
                training.set_adapter(&moved(&adapter, &slope, factor)).unwrap();
                training.kl(&golden.examples).unwrap()
            };
            let found = (kl(step) - kl(-step)) / (2.0 * f64::from(step));
            let ratio = found / length.powi(2);
            assert!((ratio - 1.0).abs() < 0.02, "{name} on {backend}: {found} for {}", length.powi(2));

            // Held again with another adapter in place: the same.
            let again = training.hold(&golden.examples).unwrap();
            training.set_adapter(&adapter).unwrap();
            let (_, same) = training.gradients_holding(&none, &again.iter().collect::<Vec<_>>(), 1.0).unwrap();
            assert_eq!(difference(&same, &slope), 0.0);
        }
    }
}
