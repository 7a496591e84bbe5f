//! A sequence's computed state in canonical layout, for files.

use super::states::State;
use super::{Context, PAGE, pages_for};
use crate::error::Error;
use tern_abi::dtype;
use tern_abi::state::StateDesc;

/// How a state is stored: its name, and how many units of how many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The state's name in the graph.
    pub name: String,
    /// Pages, or 1 for a recurrent state.
    pub units: u64,
    /// Bytes of each in canonical layout.
    pub unit_bytes: u64,
}

impl Context {
    /// What [`Context::export_state`] gives for a sequence with `computed` tokens whose first `passed` pages are gone.
    pub fn stored_states(&self, computed: usize, passed: usize) -> Vec<StoredState> {
        let pages = pages_for(computed as u64).saturating_sub(passed as u64);
        let stored = |s: &State| StoredState {
            name: self.graph.externals[s.external].name.clone(),
            units: if s.is_paged() { pages } else { 1 },
            unit_bytes: s.canonical_bytes,
        };
        self.states.iter().map(stored).collect()
    }

    /// Units of state number `index` of a sequence's first `computed` positions, one after the other.
    ///
    /// # Errors
    /// Backend errors.
    pub fn export_state(
        &self,
        sequence: usize,
        index: usize,
        computed: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let (state, s) = (&self.states[index], &self.sequences[sequence]);
        let mut unit = vec![0; state.canonical_bytes as usize];
        if !state.is_paged() {
            state.buffer.state_export(&state.desc, sequence as u64, &mut unit)?;
            sink(&unit);
            return Ok(());
        }
        for (i, page) in s.resident_pages(computed) {
            state.buffer.state_export(&state.desc, u64::from(page), &mut unit)?;
            // What was taken back is nobody's business.
            clear_after(&state.desc, &mut unit, computed - i * PAGE);
            sink(&unit);
        }
        Ok(())
    }

    /// Makes an empty sequence one of `tokens`, `computed` of them with the states that [`Context::import_state`] is given
    /// next. It neither takes nor offers cached prefixes: nobody else should depend on a file.
    ///
    /// # Errors
    /// [`Error::ContextFull`].
    pub fn begin_import(
        &mut self,
        sequence: usize,
        tokens: &[u32],
        computed: usize,
        passed: usize,
    ) -> Result<(), Error> {
        self.reset(sequence)?;
        self.configure(sequence, None, true)?;
        self.push(sequence, tokens)?;
        self.sequence(sequence)?.mark_passed(passed);
        self.make_room(sequence, computed)?;
        self.recurrent.replaced(sequence);
        Ok(())
    }

    /// Gives unit `unit` of state number `index`, in the order of [`Context::export_state`].
    ///
    /// # Errors
    /// Backend errors.
    pub fn import_state(&mut self, sequence: usize, index: usize, unit: usize, bytes: &[u8]) -> Result<(), Error> {
        let (state, s) = (&self.states[index], &self.sequences[sequence]);
        let place = if state.is_paged() {
            let page = s.resident_pages(s.tokens.len()).nth(unit).map(|(_, page)| page);
            u64::from(page.ok_or_else(|| Error::Internal { what: format!("no page {unit}") })?)
        } else {
            sequence as u64
        };
        Ok(state.buffer.state_import(&state.desc, place, bytes)?)
    }

    /// All states are there.
    pub fn end_import(&mut self, sequence: usize, computed: usize) -> Result<(), Error> {
        self.sequence(sequence)?.computed = computed;
        Ok(())
    }

    /// How many pages at a sequence's front no layer looks back to.
    pub fn passed_pages(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, super::sequence::Sequence::passed)
    }
}

/// Zeroes the positions of a canonical KV page from `used` on.
fn clear_after(desc: &StateDesc, page: &mut [u8], used: usize) {
    let [heads, head_dim, positions, ..] = desc.dims.map(|d| d as usize);
    if used >= positions {
        return;
    }
    let rows: &[usize] = match desc.dtype {
        dtype::F32 => &[head_dim * 4; 2],
        dtype::F16 => &[head_dim * 2; 2],
        // Codes and scales.
        _ => &[head_dim, 4, head_dim, 4],
    };
    let mut start = 0;
    for row in rows {
        for head in 0..heads {
            let from = start + (head * positions + used) * row;
            let to = start + (head + 1) * positions * row;
            if let Some(tail) = page.get_mut(from..to) {
                tail.fill(0);
            }
        }
        start += heads * positions * row;
    }
}
