//! Processes that are killed while they change a store: whatever they were doing, one of two generations counts afterwards, and the
//! store opens.
//!
//! The test runs itself as a child. The child says before each step of the file system which one it is, and is killed with SIGKILL
//! there: either it waits for it, so that it ends exactly before the step, or it goes on, so that it ends somewhere in it or
//! after it. Power failures, where what was not synced is lost as well, are tested in the crate itself, in memory.
//!
//! `cargo test --release -p tern-tests --test crash -- --ignored` is the campaign: 200 times each step.
#![cfg(unix)]

use std::any::Any;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tern::learn::store::{Change, DEFAULT_KEEP, Disk, Edit, Learned, Manifest, SystemDisk};
use tern::learn::{Document, Origin, Store};

const NAME: &str = "notes";

/// The system's file system, which says what it is about to do.
struct Told {
    step: AtomicUsize,
    /// It waits to be killed at this step.
    wait_at: usize,
}

impl Told {
    fn tell(&self) {
        let step = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        let mut out = io::stdout().lock();
        writeln!(out, "\nstep {step}").unwrap();
        out.flush().unwrap();
        if step == self.wait_at {
            // It may wake by itself, so it goes back to sleep.
            loop {
                std::thread::park();
            }
        }
    }
}

impl Disk for Told {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.tell();
        SystemDisk.create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.tell();
        SystemDisk.write(path, bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.tell();
        SystemDisk.append(path, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.tell();
        SystemDisk.sync(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.tell();
        SystemDisk.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell();
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tell();
        SystemDisk.remove(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        SystemDisk.lock(path)
    }
}

fn document(i: u64) -> Document {
    Document::text(format!("note {i}"), Origin::User, format!("What note {i} says."))
}

fn digest(document: &Document) -> String {
    document.digest().iter().map(|b| format!("{b:02x}")).collect()
}

fn manifest(documents: &[Document]) -> Manifest {
    let learned = |d: &Document| Learned {
        digest: digest(d),
        source: d.source.clone(),
        origin: d.origin,
        bytes: 1,
        held_out: false,
        kept: true,
    };
    Manifest { code: "test".into(), documents: documents.iter().map(learned).collect(), ..Manifest::default() }
}

/// A delta's bytes: enough for a write to be cut in the middle of.
fn bytes(generation: u8) -> Vec<u8> {
    (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ generation).collect()
}

const ACTIONS: [&str; 4] = ["commit", "undo", "forget", "rebuild"];

/// Two generations, of which the second has a document more.
fn prepare(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
    let edit = Edit::open(&Store::open(path), DEFAULT_KEEP).unwrap();
    let documents = [document(1), document(2)];
    edit.commit(NAME, Change::Next, manifest(&documents[..1]), &bytes(1), &documents[..1]).unwrap();
    edit.commit(NAME, Change::Next, manifest(&documents), &bytes(2), &documents).unwrap();
    edit.add_pending(NAME, &[document(3)]).unwrap();
}

fn act(action: &str, edit: &Edit) {
    let commit = |change, documents: &[Document]| {
        edit.commit(NAME, change, manifest(documents), &bytes(3), documents).unwrap();
    };
    match action {
        "commit" => commit(Change::Next, &[document(1), document(2), document(3)]),
        "undo" => drop(edit.undo(NAME).unwrap()),
        "forget" => commit(Change::Forget, &[document(2)]),
        _ => commit(Change::Rebuild, &[document(1), document(2)]),
    }
}

/// What counts after an action.
fn after(action: &str) -> u64 {
    if action == "undo" { 1 } else { 3 }
}

/// The generation that counts. Its bytes are what they were, and its documents are there.
fn counting(store: &Store) -> u64 {
    let delta = store.delta(NAME).unwrap().unwrap();
    assert!(delta.bytes == bytes(delta.manifest.generation as u8));
    for learned in &delta.manifest.documents {
        assert!(store.document(NAME, &learned.digest).unwrap().is_some());
    }
    store.pending(NAME).unwrap();
    delta.manifest.generation
}

/// What the killed process does; run by itself it does nothing.
#[test]
fn child() {
    let Ok(path) = std::env::var("TERN_CRASH_STORE") else { return };
    let of = |name| std::env::var(name).unwrap();
    let disk = Told { step: AtomicUsize::new(0), wait_at: of("TERN_CRASH_WAIT").parse().unwrap() };
    let edit = Edit::open(&Store::on(path, Arc::new(disk)), DEFAULT_KEEP).unwrap();
    act(&of("TERN_CRASH_ACTION"), &edit);
}

/// Runs the child and kills it at a step; whether it got there.
fn killed(path: &Path, action: &str, step: usize, waits: bool) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("TERN_CRASH_STORE", path)
        .env("TERN_CRASH_ACTION", action)
        .env("TERN_CRASH_WAIT", if waits { step.to_string() } else { "0".into() })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
    let wanted = format!("step {step}");
    let there = lines.map_while(Result::ok).any(|line| line == wanted);
    if there {
        // On Unix this is SIGKILL.
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(there || status.success(), "{action}: the child failed by itself");
    there
}

fn campaign(times: usize) {
    let path: PathBuf = std::env::temp_dir().join(format!("tern-crash-{}", std::process::id()));
    let mut kills = 0;
    for action in ACTIONS {
        let (mut steps, mut seen) = (0, [0, 0]);
        'steps: for step in 1.. {
            for time in 0..times {
                prepare(&path);
                if !killed(&path, action, step, time % 2 == 0) {
                    break 'steps;
                }
                kills += 1;
                let store = Store::open(&path);
                let counts = counting(&store);
                assert!(counts == 2 || counts == after(action), "{action}, step {step}: generation {counts}");
                seen[usize::from(counts != 2)] += 1;
                // The next process opens it for a change at once: the lock went with the process. It removes what was left over.
                let edit = Edit::open(&store, DEFAULT_KEEP).unwrap();
                assert_eq!(counting(&store), counts, "{action}, step {step}");
                if action == "forget" && counts != 2 {
                    assert_eq!(edit.generations(NAME).unwrap(), [3]);
                    assert!(edit.document(NAME, &digest(&document(1))).unwrap().is_none());
                }
                let names: Vec<_> = std::fs::read_dir(path.join("deltas").join(NAME)).unwrap().collect();
                assert!(names.iter().all(|n| !n.as_ref().unwrap().file_name().to_string_lossy().contains("new")));
                edit.commit(NAME, Change::Next, manifest(&[document(9)]), &bytes(9), &[document(9)]).unwrap();
            }
            steps = step;
        }
        println!("{action}: {steps} steps, {times} times each: {} old, {} new", seen[0], seen[1]);
        assert!(seen[0] > 0 && seen[1] > 0, "{action}: {seen:?}");
    }
    println!("{kills} processes killed");
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn killed_at_every_step() {
    campaign(2);
}

#[test]
#[ignore = "takes minutes; run it by name"]
fn killed_two_hundred_times_at_every_step() {
    campaign(200);
}
