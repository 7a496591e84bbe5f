//! Experts that stay in the host's mapped file: what kernels want of them is made when they are chosen, in a cache of fixed size.
//!
//! The experts that an op has chosen are taken in turns of as many as there are slots, those that are there already first, since
//! to make room for others would mean to pack them again. What gives way is what was not used for the longest time. One worker decides,
//! between barriers; all pack and multiply. Packing is that of other weights, so no bit depends on what was there.

use super::rows::Rows;
use crate::memory::{self, Memory};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tern_abi::plugin::{PluginError, Release, Result};
use tern_abi::weight::WeightInfo;

/// An expert that is in no slot.
const NOWHERE: u32 = u32::MAX;

/// See the module.
pub struct Paged {
    file: Rows,
    release: Release,
    memory: Memory,
    /// Bytes of an expert, packed and in the file.
    packed_bytes: usize,
    file_bytes: usize,
    /// The slot of each expert, read by kernels. Written between barriers only.
    slots: Box<[AtomicU32]>,
    turns: RwLock<Turns>,
    /// Was all packed that the current turn was to pack? If a step ends before, what is in its slots is worth nothing.
    settled: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What an op has chosen, in the order of its turns.
pub struct Turns {
    chosen: Vec<u32>,
    /// The current turn, and those of it that are to be packed.
    now: Range<usize>,
    missing: usize,
    /// For each slot, its expert and the turn that used it last.
    holds: Vec<u32>,
    used: Vec<u64>,
    turn: u64,
}

impl Paged {
    /// Slots for experts of so many bytes in a cache of `cache_bytes`.
    pub fn slots(experts: usize, packed_bytes: usize, cache_bytes: u64) -> usize {
        let fit = usize::try_from(cache_bytes / (packed_bytes.max(1) as u64)).unwrap_or(usize::MAX);
        fit.clamp(1, experts.max(1))
    }

    /// A cache with nothing in it.
    pub fn new(
        file: Rows,
        release: Release,
        experts: usize,
        (packed, of_file): (usize, usize),
        slots: usize,
    ) -> Result<Self> {
        let bytes = slots.checked_mul(packed).ok_or_else(|| PluginError::out_of_memory(format!("{slots} experts")))?;
        Ok(Self {
            file,
            release,
            memory: Memory::zeroed(bytes)?,
            packed_bytes: packed,
            file_bytes: of_file,
            slots: (0..experts).map(|_| AtomicU32::new(NOWHERE)).collect(),
            turns: RwLock::new(Turns {
                chosen: Vec::with_capacity(experts),
                now: 0..0,
                missing: 0,
                holds: vec![NOWHERE; slots],
                used: vec![0; slots],
                turn: 0,
            }),
            settled: AtomicBool::new(true),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// The file's rows.
    pub fn file(&self) -> &Rows {
        &self.file
    }
    /// Bytes of the cache.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Where the packed expert begins, which is one of the current turn.
    pub fn expert(&self, expert: usize) -> *mut u8 {
        let slot = self.slots[expert].load(Ordering::Relaxed);
        debug_assert!(slot != NOWHERE, "expert {expert} is not of this turn");
        // A defect must not lead out of the memory.
        let slot = if slot == NOWHERE { 0 } else { slot as usize };
        self.memory.ptr().wrapping_add(slot * self.packed_bytes)
    }

    /// Begins an op that has chosen these experts: the first turn is the current one. For one worker, before a barrier.
    pub fn begin(&self, chosen: &[u32]) {
        let mut turns = self.write();
        if !self.settled.load(Ordering::Relaxed) {
            for i in turns.missing..turns.now.end {
                let slot = self.slots[turns.chosen[i] as usize].swap(NOWHERE, Ordering::Relaxed);
                turns.empty(slot as usize);
            }
        }
        let there = |e: &u32| self.slots[*e as usize].load(Ordering::Relaxed) != NOWHERE;
        turns.chosen.clear();
        turns.chosen.extend(chosen.iter().filter(|e| there(e)));
        let hits = turns.chosen.len();
        turns.chosen.extend(chosen.iter().filter(|e| !there(e)));
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        turns.now = 0..0;
        self.take_turn(&mut turns, hits);
    }

    /// Goes on to the next turn. For one worker, between barriers.
    pub fn advance(&self) {
        self.take_turn(&mut self.write(), 0);
    }

    /// The next turn, of which the first `hits` experts are there.
    fn take_turn(&self, turns: &mut Turns, hits: usize) {
        let first = turns.now.end;
        turns.now = first..turns.chosen.len().min(first + turns.holds.len());
        turns.missing = first + hits;
        turns.turn += 1;
        for i in turns.now.clone() {
            let expert = turns.chosen[i] as usize;
            if i >= turns.missing {
                let slot = turns.oldest();
                let before = std::mem::replace(&mut turns.holds[slot], expert as u32);
                if let Some(before) = self.slots.get(before as usize) {
                    before.store(NOWHERE, Ordering::Relaxed);
                }
                self.slots[expert].store(slot as u32, Ordering::Relaxed);
                self.file.get(expert * self.file_bytes, self.file_bytes).into_iter().for_each(memory::will_need);
            }
            let slot = self.slots[expert].load(Ordering::Relaxed) as usize;
            turns.used[slot] = turns.turn;
        }
        self.settled.store(turns.missing().is_empty(), Ordering::Relaxed);
    }

    /// The current turn. Who holds it must not wait for a worker that goes on to the next one.
    pub fn turn(&self) -> RwLockReadGuard<'_, Turns> {
        self.turns.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that `turn` was to pack is packed. For one worker, after a barrier.
    pub fn settle(&self, turn: &Turns) {
        self.settled.store(true, Ordering::Relaxed);
        self.misses.fetch_add(turn.missing().len() as u64, Ordering::Relaxed);
        // All of it, as nothing is needed until the next miss: systems map megabytes around a page that is touched.
        // SAFETY: the weight is bound to the step that calls this.
        unsafe { self.release.call(0, self.file.len() as u64) };
    }

    /// Fills in what has been counted.
    pub fn count(&self, info: &mut WeightInfo) {
        (info.hits, info.misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        info.read_bytes = info.misses.saturating_mul(self.file_bytes as u64);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Turns> {
        self.turns.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// Its experts.
    pub fn now(&self) -> &[u32] {
        &self.chosen[self.now.clone()]
    }
    /// Those of them that are to be packed.
    pub fn missing(&self) -> &[u32] {
        &self.chosen[self.missing.min(self.now.end)..self.now.end]
    }
    /// Does no other follow?
    pub fn is_last(&self) -> bool {
        self.now.end == self.chosen.len()
    }

    fn empty(&mut self, slot: usize) {
        if let (Some(holds), Some(used)) = (self.holds.get_mut(slot), self.used.get_mut(slot)) {
            (*holds, *used) = (NOWHERE, 0);
        }
    }
    /// The slot that was not used for the longest time, which is none of this turn: that has no more experts than there are slots.
    fn oldest(&self) -> usize {
        (0..self.used.len()).min_by_key(|&slot| self.used[slot]).unwrap_or(0)
    }
}
