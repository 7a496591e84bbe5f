//! Crashes and failures at every step, on a file system in memory that forgets what was not synced.

use super::*;
use crate::learn::corpus::{Document, Origin};
use crate::learn::{LearnError, hex};
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The step fails, and all later ones, too: the process is gone. What was not synced is lost, or not.
    Crash,
    /// The step fails once; writes have written half.
    Fail,
}

/// Files by name, folders as names with no bytes.
type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Default)]
struct Inside {
    /// As processes see it.
    now: Tree,
    /// As it is on the platter.
    durable: Tree,
    /// What of a file's bytes is there, whatever its name is.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    steps: usize,
    fault: Option<(usize, Fault)>,
    crashed: bool,
    locked: bool,
}

#[derive(Clone, Default)]
struct MemoryDisk(Arc<Mutex<Inside>>);

struct Unlock(MemoryDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().locked = false;
    }
}

impl MemoryDisk {
    /// All of it is on the platter.
    fn settled(tree: Tree) -> Self {
        let synced = tree.iter().filter_map(|(name, bytes)| Some((name.clone(), bytes.clone()?))).collect();
        Self(Arc::new(Mutex::new(Inside { now: tree.clone(), durable: tree, synced, ..Inside::default() })))
    }

    /// A step that changes something; `half` is what is left of it where it fails.
    fn step<T>(
        &self,
        half: impl FnOnce(&mut Inside),
        whole: impl FnOnce(&mut Inside) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inside = self.0.lock().unwrap();
        inside.steps += 1;
        if inside.crashed {
            return Err(io::Error::other("crashed"));
        }
        match inside.fault {
            Some((at, fault)) if at == inside.steps => {
                half(&mut inside);
                inside.crashed = fault == Fault::Crash;
                Err(io::Error::other("injected"))
            }
            _ => whole(&mut inside),
        }
    }

    fn set_fault(&self, fault: Option<(usize, Fault)>) {
        let mut inside = self.0.lock().unwrap();
        (inside.fault, inside.steps) = (fault, 0);
    }

    fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    /// What the next boot finds: of each name that differs from the platter either side, by `seed`.
    fn after_power_failure(&self, seed: u64) -> Self {
        let inside = self.0.lock().unwrap();
        let mut tree = Tree::new();
        let names: std::collections::BTreeSet<&PathBuf> = inside.now.keys().chain(inside.durable.keys()).collect();
        for (i, name) in names.into_iter().enumerate() {
            let (now, durable) = (inside.now.get(name), inside.durable.get(name));
            let mut x = seed.wrapping_add(i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x ^= x >> 31;
            // Also: the name is there, and of the bytes only what was synced, if anything.
            let part = now.map(|n| n.as_ref().map(|_| inside.synced.get(name).cloned().unwrap_or_default()));
            let found = match x % 3 {
                _ if now == durable => durable.cloned(),
                0 => durable.cloned(),
                1 => now.cloned(),
                _ => part,
            };
            if let Some(found) = found {
                tree.insert(name.clone(), found);
            }
        }
        // A file whose folder was lost is lost.
        let all: Vec<PathBuf> = tree.keys().cloned().collect();
        for name in all {
            if !name.parent().is_none_or(|p| p.as_os_str().is_empty() || tree.contains_key(p)) {
                tree.remove(&name);
            }
        }
        Self::settled(tree)
    }

    /// What another process finds where this one was killed.
    fn after_kill(&self) -> Self {
        let inside = self.0.lock().unwrap();
        let tree = inside.now.clone();
        Self::settled(tree)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(
            |_| {},
            |i| {
                for p in path.ancestors().filter(|p| !p.as_os_str().is_empty()) {
                    i.now.entry(p.to_owned()).or_insert(None);
                    // Folders above are made durable to keep the model small; what matters is what is in them.
                    if p != path {
                        i.durable.entry(p.to_owned()).or_insert(None);
                    }
                }
                Ok(())
            },
        )
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let put = |i: &mut Inside, bytes: &[u8]| {
            i.now.insert(path.to_owned(), Some(bytes.to_vec()));
        };
        self.step(
            |i| put(i, &bytes[..bytes.len() / 2]),
            |i| {
                put(i, bytes);
                Ok(())
            },
        )
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let put = |i: &mut Inside, bytes: &[u8]| {
            if let Some(file) = i.now.entry(path.to_owned()).or_insert(Some(Vec::new())) {
                file.extend(bytes);
            }
        };
        self.step(
            |i| put(i, &bytes[..bytes.len() / 2]),
            |i| {
                put(i, bytes);
                Ok(())
            },
        )
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // Its bytes, not its name: where the name is not durable yet, it stays so.
        self.step(
            |_| {},
            |i| {
                let bytes = i.now.get(path).cloned().flatten().ok_or_else(missing)?;
                if let Some(durable) = i.durable.get_mut(path) {
                    *durable = Some(bytes.clone());
                }
                i.synced.insert(path.to_owned(), bytes);
                Ok(())
            },
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(
            |_| {},
            |i| {
                let inside = |name: &PathBuf| name.starts_with(path) && name != path;
                let gone: Vec<PathBuf> =
                    i.durable.keys().filter(|n| inside(n) && !i.now.contains_key(*n)).cloned().collect();
                gone.iter().for_each(|n| drop(i.durable.remove(n)));
                // The names, not the bytes: of those there is what was synced.
                let bytes = |n: &PathBuf| i.synced.get(n).cloned().unwrap_or_default();
                let there = i.now.iter().filter(|(n, _)| inside(n));
                let new: Tree = there.map(|(n, b)| (n.clone(), b.as_ref().map(|_| bytes(n)))).collect();
                i.durable.extend(new);
                Ok(())
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(
            |_| {},
            |i| {
                let moved: Vec<PathBuf> = i.now.keys().filter(|n| n.starts_with(from)).cloned().collect();
                if moved.is_empty() {
                    return Err(missing());
                }
                for old in moved {
                    let bytes = i.now.remove(&old).unwrap();
                    let rest = old.strip_prefix(from).unwrap();
                    let name = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
                    match i.synced.remove(&old) {
                        Some(bytes) => drop(i.synced.insert(name.clone(), bytes)),
                        None => drop(i.synced.remove(&name)),
                    }
                    i.now.insert(name, bytes);
                }
                Ok(())
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let remove = |i: &mut Inside, most: usize| {
            let gone: Vec<PathBuf> = i.now.keys().rev().filter(|n| n.starts_with(path)).take(most).cloned().collect();
            gone.iter().for_each(|n| drop((i.now.remove(n), i.synced.remove(n))));
        };
        self.step(
            |i| remove(i, 1),
            |i| {
                remove(i, usize::MAX);
                Ok(())
            },
        )
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().now.get(path).and_then(Clone::clone).ok_or_else(missing)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inside = self.0.lock().unwrap();
        let names = inside.now.keys().filter(|n| n.parent() == Some(path));
        Ok(names.map(|n| n.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut inside = self.0.lock().unwrap();
        if std::mem::replace(&mut inside.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(self.clone())))
    }
}

fn document(i: u64) -> Document {
    Document::text(format!("note {i}"), Origin::User, format!("What note {i} says."))
}

fn manifest(documents: &[Document]) -> Manifest {
    let learned = |d: &Document| Learned {
        digest: hex(&d.digest()),
        source: d.source.clone(),
        origin: d.origin,
        bytes: 1,
        held_out: false,
        kept: true,
    };
    Manifest { code: "test".into(), documents: documents.iter().map(learned).collect(), ..Manifest::default() }
}

const NAME: &str = "notes";

fn open(disk: &MemoryDisk) -> (Store, Edit) {
    let store = Store::on("store", Arc::new(disk.clone()));
    let edit = Edit::open(&store, DEFAULT_KEEP).unwrap();
    (store, edit)
}

/// Two generations, the second with a document more, and one that waits.
fn prepared() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (_, edit) = open(&disk);
    let documents = [document(1), document(2)];
    edit.commit(NAME, Change::Next, manifest(&documents[..1]), b"first", &documents[..1]).unwrap();
    edit.commit(NAME, Change::Next, manifest(&documents), b"second", &documents).unwrap();
    edit.add_pending(NAME, &[document(3)]).unwrap();
    drop(edit);
    // All of it is on the platter.
    disk.after_kill()
}

type Action = fn(&Edit) -> Result<(), LearnError>;

/// What is done, and what counts afterwards: generation, bytes, documents that wait.
const ACTIONS: [(&str, Action, u64, &[u8], usize); 6] = [
    (
        "commit",
        |e| {
            let all = [document(1), document(2), document(3)];
            e.commit(NAME, Change::Next, manifest(&all), b"third", &all).map(drop)
        },
        3,
        b"third",
        0,
    ),
    ("undo", |e| e.undo(NAME).map(drop), 1, b"first", 1),
    (
        "forget",
        |e| {
            let rest = [document(2)];
            e.commit(NAME, Change::Forget, manifest(&rest), b"without", &rest).map(drop)
        },
        3,
        b"without",
        1,
    ),
    ("forget all", |e| e.clear(NAME, &[document(2)]), 0, b"", 1),
    (
        "rebuild",
        |e| {
            let all = [document(1), document(2)];
            e.commit(NAME, Change::Rebuild, manifest(&all), b"rebuilt", &all).map(drop)
        },
        3,
        b"rebuilt",
        1,
    ),
    ("evidence", |e| e.add_pending(NAME, &[document(4), document(5)]), 2, b"second", 3),
];

/// What counts: generation, bytes, documents that wait. Everything that is needed for it must be there.
fn found(store: &Store) -> (u64, Vec<u8>, usize) {
    let delta = store.delta(NAME).unwrap();
    let generation = delta.as_ref().map_or(0, |d| d.manifest.generation);
    for learned in delta.iter().flat_map(|d| &d.manifest.documents) {
        assert!(store.document(NAME, &learned.digest).unwrap().is_some(), "{learned:?}");
    }
    (generation, delta.map(|d| d.bytes).unwrap_or_default(), store.pending(NAME).unwrap().len())
}

#[test]
fn a_crash_at_any_step_leaves_one_of_two_states() {
    let before = (2, b"second".to_vec(), 1);
    for (name, action, generation, bytes, pending) in ACTIONS {
        let after = (generation, bytes.to_vec(), pending);
        let mut seen = [0, 0];
        for step in 1.. {
            let disk = prepared();
            let (_, edit) = open(&disk);
            disk.set_fault(Some((step, Fault::Crash)));
            let done = action(&edit);
            if disk.steps() < step {
                done.unwrap();
                assert!(step > 4, "{name} has {step} steps");
                break;
            }
            drop(edit);
            let boots = (0..64).map(|seed| disk.after_power_failure(seed)).chain([disk.after_kill()]);
            for boot in boots {
                let reader = Store::on("store", Arc::new(boot.clone()));
                let counts = found(&reader);
                assert!(counts == before || counts == after, "{name}, step {step}: {counts:?}");
                seen[usize::from(counts == after)] += 1;
                // The next change cleans up, and what counts stays.
                let (store, edit) = open(&boot);
                assert_eq!(found(&store), counts, "{name}, step {step}");
                let names = boot.list(Path::new("store/deltas/notes")).unwrap();
                assert!(!names.iter().any(|n| n.contains("new")), "{name}, step {step}: {names:?}");
                if counts == after && name.starts_with("forget") {
                    assert!(store.generations(NAME).unwrap().into_iter().all(|g| g == generation));
                    assert!(store.document(NAME, &hex(&document(1).digest())).unwrap().is_none());
                }
                // And it can go on from there.
                let all = [document(1), document(9)];
                let next = edit.commit(NAME, Change::Next, manifest(&all), b"later", &all).unwrap();
                assert!(next > counts.0 && found(&store).1 == b"later");
            }
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{name}: {seen:?}");
    }
}

#[test]
fn a_step_that_fails_leaves_one_of_two_states() {
    let before = (2, b"second".to_vec(), 1);
    for (name, action, generation, bytes, pending) in ACTIONS {
        let after = (generation, bytes.to_vec(), pending);
        for step in 1.. {
            let disk = prepared();
            let (store, edit) = open(&disk);
            disk.set_fault(Some((step, Fault::Fail)));
            let done = action(&edit);
            if disk.steps() < step {
                break;
            }
            let counts = found(&store);
            // What was reported as done is done. What was reported as failed may have happened: only its folder was not synced.
            assert!(counts == after || (done.is_err() && counts == before), "{name}, step {step}: {done:?} {counts:?}");
            disk.set_fault(None);
            drop(edit);
            let (store, _edit) = open(&disk);
            assert_eq!(found(&store), counts, "{name}, step {step}");
        }
    }
}

#[test]
fn undo_goes_back_to_the_base_and_no_further() {
    let (store, edit) = open(&prepared());
    assert_eq!((edit.undo(NAME).unwrap(), edit.undo(NAME).unwrap()), (1, 0));
    assert_eq!(store.delta(NAME).unwrap(), None);
    assert!(matches!(edit.undo(NAME), Err(LearnError::NothingToUndo { .. })));
    // Numbers are not given again, and what was undone is gone.
    let all = [document(7)];
    assert_eq!(edit.commit(NAME, Change::Next, manifest(&all), b"new", &all).unwrap(), 3);
    assert!(store.document(NAME, &hex(&document(2).digest())).unwrap().is_none());
}

#[test]
fn only_some_generations_are_kept() {
    let disk = MemoryDisk::default();
    let (store, edit) = open(&disk);
    for i in 1..=9 {
        let all = [document(i)];
        edit.commit(NAME, Change::Next, manifest(&all), &[i as u8], &all).unwrap();
    }
    assert_eq!(store.generations(NAME).unwrap(), [5, 6, 7, 8, 9]);
    assert!(store.document(NAME, &hex(&document(1).digest())).unwrap().is_none());
    for expected in [8, 7, 6, 5] {
        assert_eq!(edit.undo(NAME).unwrap(), expected);
    }
    assert!(matches!(edit.undo(NAME), Err(LearnError::NoGeneration { generation: 4, .. })));
}

#[test]
fn one_changes_it_at_a_time_and_anybody_reads() {
    let disk = prepared();
    let (store, edit) = open(&disk);
    assert!(matches!(Edit::open(&store, 5), Err(LearnError::Locked { .. })));
    assert_eq!(found(&store).0, 2);
    drop(edit);
    Edit::open(&store, 5).unwrap();
}

#[test]
fn damage_is_told_and_can_be_undone() {
    for file in ["delta.gguf", "manifest.json"] {
        let disk = prepared();
        let path = Path::new("store/deltas/notes/2").join(file);
        disk.write(&path, b"{}").unwrap();
        let (store, edit) = open(&disk);
        let error = store.delta(NAME).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(edit.undo(NAME).unwrap(), 1);
        assert_eq!(store.delta(NAME).unwrap().unwrap().bytes, b"first");
    }
    // A state that cannot be read is one delta's matter: the store opens, and the others work.
    let disk = prepared();
    disk.write(Path::new("store/deltas/notes/state.json"), b"?").unwrap();
    let (store, edit) = open(&disk);
    assert!(store.list().unwrap()[0].state.is_err());
    edit.commit("other", Change::Next, manifest(&[]), b"x", &[]).unwrap();
    assert_eq!(store.delta("other").unwrap().unwrap().bytes, b"x");
}

#[test]
fn names_do_not_leave_the_folder() {
    let (store, _edit) = open(&prepared());
    for name in ["", ".", "..", "../x", "a/b", "a\\b", "ü", &"x".repeat(65)] {
        assert!(matches!(store.state(name), Err(LearnError::Name { .. })), "{name}");
    }
    assert!(matches!(store.delta("none"), Err(LearnError::NoDelta { .. })));
}

#[test]
fn the_log_survives_a_line_cut_short() {
    let disk = prepared();
    let (store, edit) = open(&disk);
    edit.record(NAME, "commit", serde_json::json!({"gain": 0.1})).unwrap();
    disk.set_fault(Some((2, Fault::Fail)));
    edit.record(NAME, "lost", serde_json::Value::Null).unwrap_err();
    disk.set_fault(None);
    edit.record(NAME, "undo", serde_json::Value::Null).unwrap();
    let events: Vec<String> = store.log(NAME).unwrap().into_iter().map(|l| l.event).collect();
    assert_eq!(events, ["commit", "undo"]);
}
