//! Sessions in files: they go on with the same bits, in another process and on another tier, and refuse what does not fit.

use std::path::{Path, PathBuf};
use std::time::Instant;
use tern::{Chat, Error, Event, GenerateOptions, KvType, Model, SessionOptions};
use tern_quant::DType;
use tern_tests::{goldens, open, smollm2, smollm2_as, tiers};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tern-saved-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn text(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 8) % 40_000).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

fn options(kv: KvType) -> SessionOptions {
    SessionOptions { context: Some(1024), kv, ..Default::default() }
}

#[test]
fn a_restored_session_goes_on_with_the_same_bits() {
    let folder = folder("bits");
    for kv in [KvType::F16, KvType::F32, KvType::I8] {
        for tier in tiers() {
            let (n, path) = (if tier == "scalar" { 70 } else { 300 }, folder.join("session"));
            let model = open(&smollm2(), tier, 2);
            let session = model.session(options(kv)).unwrap();
            session.forward(&text(1, n + 40)).unwrap();
            // What was taken back leaves no trace in the file.
            session.rollback(40).unwrap();
            session.save(&path).unwrap();
            let expected = bits(&session.forward(&[5, 6]).unwrap());
            drop((session, model));

            let model = open(&smollm2(), tier, 3);
            let restored = model.restore(&path, options(KvType::F16)).unwrap();
            assert_eq!(restored.tokens(), text(1, n));
            let events = restored.generate(&[], GenerateOptions { max_tokens: 0, ..Default::default() }).unwrap();
            drop(events);
            assert!(bits(&restored.forward(&[5, 6]).unwrap()) == expected, "{kv:?} {tier}");
            restored.save(folder.join("again")).unwrap();
            restored.rollback(2).unwrap();
            restored.save(folder.join("back")).unwrap();
            assert!(std::fs::read(folder.join("back")).unwrap() == std::fs::read(&path).unwrap(), "{kv:?} {tier}");
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_of_one_tier_is_one_of_any() {
    let folder = folder("tiers");
    let path = folder.join("session");
    let first = open(&smollm2(), "", 2);
    let session = first.session(options(KvType::F16)).unwrap();
    session.forward(&text(2, 200)).unwrap();
    session.save(&path).unwrap();
    for tier in tiers() {
        let restored = open(&smollm2(), tier, 2).restore(&path, SessionOptions::default()).unwrap();
        let copy = folder.join("copy");
        restored.save(&copy).unwrap();
        assert!(std::fs::read(&copy).unwrap() == std::fs::read(&path).unwrap(), "{tier}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

const RECURRENT: [&str; 8] = [
    "tiny-qwen3-next",
    "tiny-qwen3-next-wide",
    "tiny-qwen35",
    "tiny-ttt-gated",
    "tiny-ttt-conv",
    "tiny-ttt-mlp-conv",
    "tiny-lact",
    "tiny-lact-muon",
];

#[test]
fn recurrent_states_are_saved_at_any_place_of_a_mini_batch() {
    let folder = folder("recurrent");
    let (path, copy) = (folder.join("session"), folder.join("copy"));
    let options = SessionOptions { context: Some(128), isolated: true, ..Default::default() };
    for name in RECURRENT {
        for tier in tiers() {
            for n in [1, 31, 32, 41, 95] {
                let text: Vec<u32> = text(7, n + 9).into_iter().map(|t| t % 290).collect();
                let what = format!("{name} {tier} {n}");
                let model = open(&goldens().join(name), tier, 2);
                let session = model.session(options).unwrap();
                session.forward(&text).unwrap();
                // What was taken back, into the mini-batch before perhaps, leaves no trace.
                session.rollback(9).unwrap();
                session.save(&path).unwrap();
                let expected = bits(&session.forward(&[5, 6]).unwrap());
                drop((session, model));

                let model = open(&goldens().join(name), tier, 1);
                let restored = model.restore(&path, SessionOptions::default()).unwrap();
                assert_eq!(restored.tokens(), text[..n], "{what}");
                restored.save(&copy).unwrap();
                assert!(std::fs::read(&copy).unwrap() == std::fs::read(&path).unwrap(), "{what}: saved again");
                assert!(bits(&restored.forward(&[5, 6]).unwrap()) == expected, "{what}: restored");
                let unbroken = model.session(options).unwrap();
                unbroken.forward(&text[..n]).unwrap();
                assert!(bits(&unbroken.forward(&[5, 6]).unwrap()) == expected, "{what}: unbroken");
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn restored(model: &Model, path: &Path) -> Error {
    match model.restore(path, SessionOptions::default()) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error,
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = folder("refused");
    let path = folder.join("session");
    let model = open(&smollm2(), "", 2);
    let session = model.session(options(KvType::F16)).unwrap();
    session.forward(&text(3, 100)).unwrap();
    session.save(&path).unwrap();

    let error = restored(&open(&smollm2_as(DType::Q4_0), "", 2), &path);
    assert!(matches!(&error, Error::OtherModel { .. }), "{error}");
    assert!(matches!(restored(&model, &folder.join("none")), Error::Io { .. }));
    let small = SessionOptions { context: Some(64), ..Default::default() };
    let Err(error) = model.restore(&path, small) else { panic!("100 tokens in 64") };
    assert!(matches!(error, Error::ContextFull { wanted: 100, capacity: 64, .. }), "{error}");

    let good = std::fs::read(&path).unwrap();
    let damaged = folder.join("damaged");
    // Cut short, and a bit flipped anywhere: an error each time, and never another session's keys and values.
    for cut in [0, 7, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&damaged, &good[..cut]).unwrap();
        restored(&model, &damaged);
    }
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&damaged, &bad).unwrap();
        // Within the header a flipped bit may hit what does not matter: a name.
        if at > 8 << 10 {
            restored(&model, &damaged);
        } else {
            let _ = model.restore(&damaged, SessionOptions::default());
        }
    }
    // A target that cannot be written leaves nothing behind.
    assert!(matches!(session.save(folder.join("none/session")), Err(Error::Io { .. })));
    std::fs::create_dir(folder.join("taken")).unwrap();
    assert!(session.save(folder.join("taken")).is_err());
    assert!(std::fs::read_dir(&folder).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().ends_with(".part")));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn going_on_is_much_faster_than_computing_again() {
    let folder = folder("fast");
    let path = folder.join("session");
    let model = open(&smollm2(), "", 2);
    let long = SessionOptions { context: Some(4096), isolated: true, ..Default::default() };
    let session = model.session(long).unwrap();
    let start = Instant::now();
    session.forward(&text(4, 4000)).unwrap();
    let computed = start.elapsed();
    session.save(&path).unwrap();
    drop((session, model));
    let model = open(&smollm2(), "", 2);
    let start = Instant::now();
    let restored = model.restore(&path, long).unwrap();
    let mut events = restored.generate(&[7], GenerateOptions { max_tokens: 1, ..Default::default() }).unwrap();
    assert!(matches!(events.next(), Some(Ok(Event::Token(_) | Event::Done(_)))));
    let first = start.elapsed();
    println!("4,000 tokens: computed in {computed:?}, restored with a token in {first:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_conversation_is_restored_with_its_messages() {
    let folder = folder("chat");
    let path = folder.join("chat");
    let model = open(&smollm2(), "", 2);
    let greedy = || GenerateOptions { max_tokens: 12, ..Default::default() };
    let session = model.session(options(KvType::F16)).unwrap();
    let mut chat = Chat::new(&model, session, Some("You are brief.".into())).unwrap();
    chat.send("What is a tern?", greedy()).unwrap().for_each(|e| drop(e.unwrap()));
    chat.save(&path).unwrap();
    let answer =
        |chat: &mut Chat| -> Vec<Event> { chat.send("And a gull?", greedy()).unwrap().map(Result::unwrap).collect() };
    let expected = answer(&mut chat);
    let mut again = Chat::restore(&model, &path, options(KvType::F16)).unwrap();
    let got = answer(&mut again);
    assert_eq!(chat.messages(), again.messages());
    let text = |events: &[Event]| events.iter().map(|e| e.text().to_owned()).collect::<String>();
    assert_eq!(text(&got), text(&expected));
    let Some(Event::Done(end)) = got.last() else { panic!("no end") };
    assert!(end.timings.reused_tokens > 20, "{:?}", end.timings);
    // A plain session is no conversation.
    again.session().save(&path).unwrap();
    assert!(matches!(Chat::restore(&model, &path, options(KvType::F16)), Err(Error::SessionFile { .. })));
    std::fs::remove_dir_all(folder).unwrap();
}
