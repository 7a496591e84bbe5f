//! Removing what no longer counts. It can stop anywhere and be done again.

use super::read::{SOURCES, Store};
use super::state::NEW_STATE;
use crate::learn::LearnError;
use std::collections::HashSet;

/// Removes unfinished files, generations after the one that counts, those below the floor and those beyond the `keep` latest, and
/// documents that neither wait nor are in a generation.
pub fn clean(store: &Store, name: &str, keep: usize) -> Result<(), LearnError> {
    let (disk, folder) = (&*store.disk, store.folder(name)?);
    let state = store.state(name)?;
    let failed = |path: &std::path::Path, e| LearnError::io(path, e);
    let names = disk.list(&folder).map_err(|e| failed(&folder, e))?;
    let unfinished = names.iter().filter(|n| n.starts_with("new-") || *n == NEW_STATE);
    for path in unfinished.map(|n| folder.join(n)) {
        disk.remove(&path).map_err(|e| failed(&path, e))?;
    }
    let generations = store.generations(name)?;
    let counts = |g: &u64| *g <= state.generation && *g >= state.floor;
    let current: Vec<u64> = generations.iter().copied().filter(counts).collect();
    let kept: HashSet<u64> = current.iter().rev().take(keep).copied().collect();
    for path in generations.iter().filter(|g| !kept.contains(g)).map(|g| folder.join(g.to_string())) {
        disk.remove(&path).map_err(|e| failed(&path, e))?;
    }
    let mut used: HashSet<String> = state.pending.iter().cloned().collect();
    for &generation in &kept {
        // What is in a damaged generation is not known, so nothing goes.
        let Ok((manifest, _)) = store.manifest(&folder, generation) else { return Ok(()) };
        used.extend(manifest.documents.into_iter().map(|d| d.digest));
    }
    let sources = folder.join(SOURCES);
    let names = disk.list(&sources).map_err(|e| failed(&sources, e))?;
    for path in names.iter().filter(|n| !used.contains(*n)).map(|n| sources.join(n)) {
        disk.remove(&path).map_err(|e| failed(&path, e))?;
    }
    Ok(())
}
