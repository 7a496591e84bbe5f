//! Rows in order of their experts.

use std::ops::Range;

/// A stable counting sort of rows by expert. Ids outside come last, as expert `experts`.
pub struct Groups<'a> {
    order: &'a [u32],
    /// Where each expert's rows begin, and one more.
    starts: &'a [u32],
    active: &'a [u32],
}

impl<'a> Groups<'a> {
    /// Bytes of memory to sort in.
    pub fn bytes(rows: usize, experts: usize) -> Option<usize> {
        experts.checked_mul(2)?.checked_add(3)?.checked_add(rows)?.checked_mul(4)
    }

    /// Sorts.
    ///
    /// # Safety
    /// `memory` has [`bytes`](Self::bytes), is aligned to 4, and nobody else uses it for `'a`.
    pub unsafe fn sort(ids: &[i32], experts: usize, memory: *mut u8) -> Self {
        let memory = memory.cast::<u32>();
        // SAFETY: three parts of the memory, all written here.
        let (order, starts, active) = unsafe {
            memory.write_bytes(0, ids.len() + 2 * experts + 3);
            (
                std::slice::from_raw_parts_mut(memory, ids.len()),
                std::slice::from_raw_parts_mut(memory.add(ids.len()), experts + 2),
                std::slice::from_raw_parts_mut(memory.add(ids.len() + experts + 2), experts + 1),
            )
        };
        let expert = |id: i32| usize::try_from(id).map_or(experts, |id| id.min(experts));
        for &id in ids {
            starts[expert(id)] += 1;
        }
        let (mut end, mut n) = (0, 0);
        for (e, start) in starts.iter_mut().enumerate() {
            if e < experts && *start > 0 {
                active[n] = e as u32;
                n += 1;
            }
            // For now, where the next row of this expert goes.
            (*start, end) = (end, end + *start);
        }
        for (row, &id) in ids.iter().enumerate() {
            let to = &mut starts[expert(id)];
            order[*to as usize] = row as u32;
            *to += 1;
        }
        // Each now holds its end, which is the next one's start.
        starts.copy_within(0..=experts, 1);
        starts[0] = 0;
        Self { order, starts, active: &active[..n] }
    }

    /// Rows in order.
    pub fn order(&self) -> &[u32] {
        self.order
    }
    /// Experts that have rows.
    pub fn active(&self) -> &[u32] {
        self.active
    }
    /// Places of an expert's rows; of `experts`, those of no expert.
    pub fn of(&self, expert: usize) -> Range<usize> {
        self.starts[expert] as usize..self.starts[expert + 1] as usize
    }
    /// Places of the group that a place is in; `None` for rows of no expert.
    pub fn around(&self, place: usize) -> Option<Range<usize>> {
        self.active.iter().map(|&e| self.of(e as usize)).find(|group| group.contains(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_in_order() {
        let ids = [3, 0, -1, 3, 1, 9, 0, 3, 4];
        let mut memory = vec![0u32; Groups::bytes(ids.len(), 4).unwrap() / 4];
        // SAFETY: the memory is large enough and lives long enough.
        let groups = unsafe { Groups::sort(&ids, 4, memory.as_mut_ptr().cast()) };
        assert_eq!(groups.order(), [1, 6, 4, 0, 3, 7, 2, 5, 8]);
        assert_eq!(groups.active(), [0, 1, 3]);
        assert_eq!((groups.of(2), groups.of(3), groups.of(4)), (3..3, 3..6, 6..9));
        assert_eq!((groups.around(4), groups.around(8)), (Some(3..6), None));
    }
}
