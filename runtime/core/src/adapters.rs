//! Adapters of a model: which there are, and which banks on the devices hold what sessions use.
//!
//! A session names adapters with weights. For each such choice in use there is one *slot* of the banks, with the factors of all its adapters
//! side by side (ranks add up, weights are in B), so that a matrix takes one more product whatever was chosen. A slot's contents have a
//! number of their own that is never used again: cached prefixes are kept by it. While no session has adapters there are no banks.

use crate::banks::Banks;
use crate::error::Error;
use crate::learn::{Adapter, Factors, Layout};
use crate::model::Model;
use crate::models::AdapterBanks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// An adapter of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(u32);

/// Which part of the banks a sequence uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdapterUse {
    /// Place in the banks.
    pub slot: u32,
    /// Of its contents: others never have it.
    pub contents: u32,
}

impl From<u32> for AdapterUse {
    /// A place whose contents never change.
    fn from(slot: u32) -> Self {
        Self { slot, contents: slot }
    }
}

/// See the module.
#[derive(Default)]
pub struct Adapters {
    state: Mutex<State>,
    /// What graphs are built for. Nothing else is locked while this is.
    banks: RwLock<Option<Arc<Banks>>>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<AdapterId, Arc<Adapter>>,
    /// What new sessions begin with.
    chosen: Vec<(AdapterId, f32)>,
    slots: Vec<Slot>,
    next_id: u32,
    next_contents: u32,
}

/// Empty where nobody uses it.
#[derive(Default)]
struct Slot {
    choice: Vec<(AdapterId, u32)>,
    contents: u32,
    users: usize,
    factors: Vec<Factors>,
}

impl Adapters {
    /// The banks, if any session has adapters.
    pub fn banks(&self) -> Option<Arc<Banks>> {
        self.banks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-changed: no code of a caller's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_banks(&self, banks: Option<Arc<Banks>>) {
        *self.banks.write().unwrap_or_else(PoisonError::into_inner) = banks;
    }
}

impl Model {
    /// Adds an adapter, which sessions can then use; it takes memory on the device once one does.
    ///
    /// # Errors
    /// [`Error::Adapter`] where it does not fit the model.
    pub fn add_adapter(&self, adapter: Adapter) -> Result<AdapterId, Error> {
        Layout::of(self).check(&adapter)?;
        let mut state = self.adapters().state();
        let id = AdapterId(state.next_id);
        state.next_id += 1;
        state.known.insert(id, Arc::new(adapter));
        Ok(id)
    }

    /// Forgets an adapter. Sessions that use it keep it until they choose anew; new ones do not begin with it any more.
    pub fn remove_adapter(&self, id: AdapterId) {
        let mut state = self.adapters().state();
        state.known.remove(&id);
        state.chosen.retain(|(chosen, _)| *chosen != id);
    }

    /// What new sessions, and [`Model::score`], begin with: adapters with weights, 1 being as they were made. Nothing at first.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Setting`] for a weight that is not finite.
    pub fn choose_adapters(&self, choice: &[(AdapterId, f32)]) -> Result<(), Error> {
        let mut state = self.adapters().state();
        state.normal(choice)?;
        state.chosen = choice.to_vec();
        Ok(())
    }

    pub(crate) fn chosen_adapters(&self) -> Vec<(AdapterId, f32)> {
        self.adapters().state().chosen.clone()
    }

    /// Puts a choice into the banks, unless it is there; `None` for one that does nothing. Each such call is paired with one of
    /// [`Model::release_adapters`].
    pub(crate) fn acquire_adapters(&self, choice: &[(AdapterId, f32)]) -> Result<Option<AdapterUse>, Error> {
        let adapters = self.adapters();
        let mut state = adapters.state();
        let choice = state.normal(choice)?;
        if choice.is_empty() {
            return Ok(None);
        }
        if let Some(slot) = state.slots.iter().position(|s| s.users > 0 && s.choice == choice) {
            state.slots[slot].users += 1;
            return Ok(Some(AdapterUse { slot: slot as u32, contents: state.slots[slot].contents }));
        }
        let factors = joined(&Layout::of(self), &state, &choice);
        let slot = state.slots.iter().position(|s| s.users == 0).unwrap_or(state.slots.len());
        if slot == state.slots.len() {
            state.slots.push(Slot::default());
        }
        let contents = state.next_contents;
        state.slots[slot] = Slot { choice, contents, users: 1, factors };
        if let Err(error) = self.place(&state, slot) {
            state.slots[slot] = Slot::default();
            return Err(error);
        }
        state.next_contents = contents.wrapping_add(1);
        Ok(Some(AdapterUse { slot: slot as u32, contents }))
    }

    /// One user fewer. The banks go with the last, when [`Model::drop_banks`] is next called.
    pub(crate) fn release_adapters(&self, used: Option<AdapterUse>) {
        let mut state = self.adapters().state();
        if let Some(slot) = used.and_then(|u| state.slots.get_mut(u.slot as usize).filter(|s| s.contents == u.contents))
        {
            slot.users = slot.users.saturating_sub(1);
            if slot.users == 0 {
                *slot = Slot::default();
            }
        }
    }

    /// One user more.
    pub(crate) fn share_adapters(&self, used: Option<AdapterUse>) {
        let mut state = self.adapters().state();
        if let Some(slot) = used.and_then(|u| state.slots.get_mut(u.slot as usize)) {
            slot.users += 1;
        }
    }

    /// Lets go of banks that nobody uses.
    ///
    /// # Errors
    /// Plan and backend errors; sessions go on in any case.
    pub(crate) fn drop_banks(&self) -> Result<(), Error> {
        let adapters = self.adapters();
        let mut state = adapters.state();
        if adapters.banks().is_none() || state.slots.iter().any(|s| s.users > 0) {
            return Ok(());
        }
        state.slots.clear();
        adapters.set_banks(None);
        self.rebuild_engines()
    }

    /// Writes a slot's factors into the banks, larger ones where they are too small.
    fn place(&self, state: &State, slot: usize) -> Result<(), Error> {
        let (adapters, layout) = (self.adapters(), Layout::of(self));
        let used = || state.slots.iter().filter(|s| s.users > 0).flat_map(|s| &s.factors);
        let need = AdapterBanks {
            count: state.slots.len() as u64,
            rank: used().map(|f| f.rank as u64).max().unwrap_or(1),
            targets: used().map(|f| f.tensor.clone()).collect::<BTreeSet<_>>(),
        };
        let fits = |b: &Banks| {
            let have = b.shape();
            have.count >= need.count && have.rank >= need.rank && have.targets.is_superset(&need.targets)
        };
        let old = adapters.banks();
        if let Some(banks) = old.as_ref().filter(|b| fits(b)) {
            return banks.write(slot as u64, &state.slots[slot].factors);
        }
        let banks = Banks::new(self.devices(), &layout, need)?;
        for (i, s) in state.slots.iter().enumerate().filter(|(_, s)| s.users > 0) {
            banks.write(i as u64, &s.factors)?;
        }
        adapters.set_banks(Some(Arc::new(banks)));
        self.rebuild_engines().inspect_err(|_| adapters.set_banks(old))
    }
}

impl State {
    /// The same choice in one form: by id, without those that do nothing.
    fn normal(&self, choice: &[(AdapterId, f32)]) -> Result<Vec<(AdapterId, u32)>, Error> {
        let mut sums: BTreeMap<AdapterId, f32> = BTreeMap::new();
        for &(id, weight) in choice {
            if !self.known.contains_key(&id) {
                return Err(Error::NoAdapter { id: id.0 });
            }
            if !weight.is_finite() {
                return Err(Error::Setting {
                    setting: "weight",
                    found: weight.to_string(),
                    expected: "a finite number",
                });
            }
            *sums.entry(id).or_default() += weight;
        }
        Ok(sums.into_iter().filter(|(_, w)| *w != 0.0).map(|(id, w)| (id, w.to_bits())).collect())
    }
}

/// The factors of several adapters as one: A's below each other, B's beside each other with weights and scales in them.
fn joined(layout: &Layout<'_>, state: &State, choice: &[(AdapterId, u32)]) -> Vec<Factors> {
    let mut all: BTreeMap<String, Factors> = BTreeMap::new();
    for (id, weight) in choice {
        let Some(adapter) = state.known.get(id) else { continue };
        for f in &adapter.factors {
            let weight = f32::from_bits(*weight) * f.scale;
            let Factors { a, mut b, .. } = layout.to_graph(f);
            b.iter_mut().for_each(|v| *v *= weight);
            match all.get_mut(&f.tensor) {
                None => {
                    all.insert(f.tensor.clone(), Factors { a, b, scale: 1.0, ..f.clone() });
                }
                Some(sum) => {
                    let rows = sum.b.chunks_exact(sum.rank).zip(b.chunks_exact(f.rank));
                    sum.b = rows.flat_map(|(x, y)| x.iter().chain(y)).copied().collect();
                    sum.a.extend(a);
                    sum.rank += f.rank;
                }
            }
        }
    }
    all.into_values().collect()
}
