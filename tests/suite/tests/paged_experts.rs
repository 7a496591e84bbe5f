//! Experts that stay in the file: the same bits as those in memory, with hits and misses as the choices imply; and what is refused.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tern::learn::{Example, Training, TrainingOptions};
use tern::{CancelFlag, Error, ExpertCache, Experts, Model, ModelOptions, SessionOptions};
use tern_convert::Creation;
use tern_formats::DType;
use tern_tests::{converted, goldens, json as read, quantized, runtime};

/// Files of a model with random weights in the style of the golden `name`, in sizes that fit blocks of 32.
fn made(folder: &Path, name: &str, settings: &Value, types: &str) -> PathBuf {
    let mut config = read(goldens().join(name).join("config.json"));
    let sizes = json!({
        "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 96, "shared_expert_intermediate_size": 64,
        "vocab_size": 300,
    });
    for (key, value) in sizes.as_object().unwrap().iter().chain(settings.as_object().unwrap()) {
        if !config[key].is_null() {
            config[key] = value.clone();
        }
    }
    let path = folder.join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let made = folder.join("made");
    Creation::new(&path, None, DType::F32, 5).unwrap().write(&made, true, &CancelFlag::new()).unwrap();
    let plain = converted(&made, &folder.join("plain.gguf"));
    quantized(&plain, &folder.join(format!("{types}.gguf")), types)
}

fn open(path: &Path, experts: Experts) -> Result<Model, Error> {
    let options = ModelOptions { backend: Some("cpu".into()), threads: 2, experts, ..Default::default() };
    runtime().open(path, options)
}

fn paged(path: &Path, cache_bytes: u64) -> Model {
    open(path, Experts::Paged { cache_bytes }).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Bits of the logits after a prompt, and after each of some tokens.
fn bits(model: &Model) -> Vec<Vec<u32>> {
    let session = model.session(SessionOptions::default()).unwrap();
    let prompt: Vec<u32> = (0..40).map(|i| i * 37 % 250).collect();
    let steps = [&prompt[..], &[3], &[141], &[59], &[3], &[26], &[200]];
    let logits = steps.iter().map(|tokens| session.forward(tokens).unwrap());
    logits.map(|l| l.iter().map(|x| x.to_bits()).collect()).collect()
}

fn counted(model: &Model) -> ExpertCache {
    model.expert_cache().unwrap().unwrap()
}

#[test]
fn every_family_has_the_bits_that_it_has_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![(4, converted(&goldens().join("tiny-gpt-oss-mxfp4"), &folder.path().join("mxfp4.gguf")))];
    for (name, experts, types) in [
        ("tiny-mixtral", 5, "Q8_0"),
        ("tiny-mixtral", 5, "Q4_0"),
        ("tiny-olmoe", 6, "Q5_1"),
        ("tiny-qwen2-moe", 7, "IQ4_NL"),
        ("tiny-qwen3-moe", 9, "Q4_1"),
    ] {
        let own = folder.path().join(format!("{name}-{types}"));
        std::fs::create_dir(&own).unwrap();
        files.push((experts, made(&own, name, &json!({}), types)));
    }
    for (experts, file) in files {
        let expected = bits(&open(&file, Experts::Resident).unwrap());
        let all = paged(&file, u64::MAX);
        assert!(bits(&all) == expected, "{}", file.display());
        let full = counted(&all);
        assert!(full.misses > 0 && full.hits > full.misses, "{full:?}");
        let stacks = full.cache_bytes / experts;
        assert_eq!(full.cache_bytes % experts, 0);
        let mut rates = vec![full.hit_rate().unwrap()];
        for room in [(experts - 1).min(3), 2, 1] {
            let model = paged(&file, room * stacks);
            assert!(bits(&model) == expected, "{}, {room} experts", file.display());
            let some = counted(&model);
            assert_eq!((some.cache_bytes, some.file_bytes), (room * stacks, full.file_bytes));
            // What is used does not depend on what is there.
            assert_eq!(some.hits + some.misses, full.hits + full.misses);
            rates.push(some.hit_rate().unwrap());
        }
        println!("{}: hit rates {rates:?}", file.display());
        assert!(rates.is_sorted_by(|a, b| a >= b) && rates[0] > rates[3], "{rates:?}");
    }
}

#[test]
fn hits_are_those_of_the_slots_where_every_expert_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(folder.path(), "tiny-mixtral", &json!({"num_experts_per_tok": 5}), "Q8_0");
    let (experts, stacks, later) = (5, 2 * 3, 6);
    let full = counted(&paged(&file, u64::MAX)).cache_bytes;
    for room in 1..=experts {
        let model = paged(&file, full / experts * room);
        bits(&model);
        let c = counted(&model);
        // The first step packs all; each one after it finds as many as there is room for.
        let misses = stacks * (experts + later * (experts - room));
        assert_eq!((c.hits, c.misses), (stacks * later * room, misses), "{room}");
        assert_eq!(c.read_bytes, misses * (c.file_bytes / (stacks * experts)));
    }
}

#[test]
fn what_is_planned_counts_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = json!({"hidden_size": 256, "intermediate_size": 1024});
    let file = made(folder.path(), "tiny-mixtral", &sizes, "Q8_0");
    let full = counted(&paged(&file, u64::MAX)).cache_bytes;
    let plan = |experts| {
        let options = ModelOptions { backend: Some("cpu".into()), experts, ..Default::default() };
        runtime().plan(&file, &options, &SessionOptions::default(), 1).unwrap()
    };
    let (resident, on_disk) = (plan(Experts::Resident), plan(Experts::Paged { cache_bytes: full / 5 }));
    assert_eq!(resident.weights_bytes - on_disk.weights_bytes, full / 5 * 4);
    assert_eq!((resident.paged_bytes, on_disk.paged_bytes), (0, counted(&paged(&file, u64::MAX)).file_bytes));
    assert_eq!(on_disk.mapped_bytes, resident.mapped_bytes);
    assert!(on_disk.loading_bytes < resident.loading_bytes);
    // A cap between the two: one runs and stays below it, the other is refused.
    let cap = on_disk.total_bytes.max(on_disk.loading_bytes) + full / 10;
    assert!(resident.total_bytes > cap);
    let capped = |experts| {
        let options = ModelOptions { backend: Some("cpu".into()), experts, max_bytes: Some(cap), ..Default::default() };
        let model = runtime().open(&file, options)?;
        let session = model.session(SessionOptions::default())?;
        session.forward(&[7, 200, 41, 3])?;
        Ok(model.memory().peak)
    };
    assert!(matches!(capped(Experts::Resident), Err(Error::Memory { .. })));
    let peak = capped(Experts::Paged { cache_bytes: full / 5 }).unwrap();
    assert!(peak <= cap, "{peak} of {cap}");
}

#[test]
fn training_goes_through_experts_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(folder.path(), "tiny-mixtral", &json!({}), "Q8_0");
    let full = counted(&paged(&file, u64::MAX)).cache_bytes;
    let gradients = |model: &Model| {
        let options = TrainingOptions { context: 64, rank: 4, ..Default::default() };
        let mut training = Training::new(model, options).unwrap();
        let examples = [Example::of((0..40).map(|i| i * 29 % 250).collect())];
        // Twice, so that factors are not zeros.
        training.step(&examples).unwrap();
        training.gradients(&examples).unwrap()
    };
    let expected = gradients(&open(&file, Experts::Resident).unwrap());
    for room in [1, 3, 5] {
        let model = paged(&file, full / 5 * room);
        assert_eq!(gradients(&model), expected, "{room}");
        assert!(counted(&model).misses > 0);
    }
}

#[test]
fn what_cannot_stay_in_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(folder.path(), "tiny-mixtral", &json!({}), "Q8_0");
    let some = Experts::Paged { cache_bytes: 1 << 30 };
    let unmapped = ModelOptions { map: false, experts: some, ..Default::default() };
    let refused = |opened: Result<Model, Error>| opened.err().expect("it is refused");
    let error = refused(runtime().open(&file, unmapped));
    assert!(matches!(&error, Error::Paging { tensor, .. } if tensor == "blk.0.ffn_gate_exps.weight"), "{error}");
    assert!(error.to_string().contains("not mapped"), "{error}");
    let error = refused(open(&folder.path().join("made"), some));
    assert!(matches!(&error, Error::Paging { .. }) && error.to_string().contains("convert it to GGUF"), "{error}");
    let full = counted(&paged(&file, u64::MAX)).cache_bytes;
    let error = refused(open(&file, Experts::Paged { cache_bytes: full / 5 - 1 }));
    let (least, given) = (full / 5, full / 5 - 1);
    let told = matches!(error, Error::Memory { needed, available, .. } if (needed, available) == (least, given));
    assert!(told, "{error}");
    // Bytes in memory are there to stay.
    let bytes = std::fs::read(&file).unwrap();
    let options = ModelOptions { backend: Some("cpu".into()), threads: 2, experts: some, ..Default::default() };
    let model = runtime().open_bytes("bytes", bytes, options).unwrap();
    assert!(bits(&model) == bits(&open(&file, Experts::Resident).unwrap()) && counted(&model).misses > 0);
}

#[test]
fn what_has_nothing_to_pack_counts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Floats are used where the file is mapped.
    let floats = made(folder.path(), "tiny-mixtral", &json!({}), "F16");
    let model = paged(&floats, 0);
    assert!(bits(&model) == bits(&open(&floats, Experts::Resident).unwrap()));
    let c = counted(&model);
    assert_eq!((c.cache_bytes, c.hits, c.misses, c.hit_rate()), (0, 0, 0, None));
    assert!(c.file_bytes > 0);
    // A model without experts, and a backend that takes such weights as any other.
    let dense = goldens().join("tiny-llama");
    assert_eq!(paged(&dense, 0).expert_cache().unwrap(), None);
    let file = made(folder.path(), "tiny-mixtral", &json!({}), "Q8_0");
    let reference = |experts| {
        let options = ModelOptions { backend: Some("reference".into()), experts, ..Default::default() };
        runtime().open(&file, options).unwrap()
    };
    let model = reference(Experts::Paged { cache_bytes: 0 });
    assert!(bits(&model) == bits(&reference(Experts::Resident)));
    assert_eq!((counted(&model).hits, counted(&model).misses), (0, 0));
}
