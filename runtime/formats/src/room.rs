//! Lists that grow by little.

use crate::Problem;

/// Makes room for `more` elements. Lists of what a header holds grow by a sixteenth at a time, where a vector would double:
/// what a file's smallest records become must stay within twice their bytes.
pub(crate) fn reserve<T>(list: &mut Vec<T>, more: usize, what: &'static str) -> Result<(), Problem> {
    if list.capacity() - list.len() >= more {
        return Ok(());
    }
    let more = more.max(list.len() / 16 + 16);
    let bytes = list.len().saturating_add(more).saturating_mul(size_of::<T>()) as u64;
    list.try_reserve_exact(more).map_err(|_| Problem::OutOfMemory { what, bytes })
}
