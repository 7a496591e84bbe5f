//! Where each sequence's unit of a recurrent state is.

use super::sequences::Sequences;
use crate::check::Checker;
use crate::op::Step;
use tern_abi::plugin::{PluginError, Result};

/// The state that is input `i` of an op, and output 1, and its slots, input `slots`; `None` where the op has no state.
pub fn compile(c: &Checker<'_>, sequences: &Sequences, i: usize, slots: usize) -> Result<Option<(usize, usize)>> {
    let Some(state) = c.state(i, 1)? else { return Ok(None) };
    let slots = c.i32_in(slots, "state_slots")?;
    let room = c.dims(slots).len() == 1 && c.max_of(c.first(slots)) >= sequences.max(c);
    c.ensure(room, "state_slots does not have an element for each sequence")?;
    Ok(Some((state, slots)))
}

/// Checks the contents: a unit of `len` floats for each sequence, and no unit for two.
pub fn check(
    step: &Step<'_>,
    sequences: &Sequences,
    state: Option<(usize, usize)>,
    len: usize,
    op: &str,
) -> Result<()> {
    let Some((state, slots)) = state else { return Ok(()) };
    let units = step.bytes(state) / (4 * len);
    // SAFETY: an I32 input, which nothing writes now.
    let slots = unsafe { step.i32s(slots) };
    let Some(slots) = slots.get(..sequences.count(step)) else {
        return Err(PluginError::argument(format!("{op}: state_slots is shorter than the step's sequences")));
    };
    for (i, &slot) in slots.iter().enumerate() {
        if slot < 0 || slot as usize >= units {
            return Err(PluginError::argument(format!("{op}: state slot {slot} of {units} is wanted")));
        }
        if slots[..i].contains(&slot) {
            return Err(PluginError::argument(format!("{op}: two sequences share state slot {slot}")));
        }
    }
    Ok(())
}
