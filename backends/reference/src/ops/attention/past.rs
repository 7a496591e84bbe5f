//! Where attention finds keys and values: the rows of the step, or pages.

use crate::state::StateMemory;
use crate::{Error, Real, Result};
use tern_abi::ops::AttentionParams;

/// Where keys and values of a position are read from.
pub(super) trait Past<R> {
    /// Key (0) or value (1) of a head at a position that the sequence of row `row` has reached.
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>>;
}

/// The rows of the step itself.
pub(super) struct Fresh<'a, R> {
    pub rows: [&'a [Vec<R>]; 2],
    /// First row and first position of each sequence.
    pub starts: Vec<(usize, usize)>,
    pub head_dim: usize,
}

impl<R: Real> Past<R> for Fresh<'_, R> {
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>> {
        let (row, first) = self.starts[sequence];
        let row = &self.rows[which][row + position - first];
        Ok(row[head * self.head_dim..(head + 1) * self.head_dim].to_vec())
    }
}

/// KV pages, through the page table `[S, per_sequence]`.
pub(super) struct Pages<'a> {
    pub state: StateMemory<'a>,
    pub table: &'a [i32],
    pub per_sequence: usize,
    pub p: AttentionParams,
}

impl Pages<'_> {
    /// First element of key (0) or value (1) of a head at a place (page index times page size plus offset).
    pub(super) fn element(&self, which: usize, head: usize, place: usize) -> u64 {
        let (size, dim, heads) = (self.p.page_size as usize, self.p.head_dim as usize, self.p.kv_heads as usize);
        let (page, offset) = (place / size, place % size);
        ((((page * 2 + which) * heads + head) * size + offset) * dim) as u64
    }
    fn pages(&self) -> Result<usize> {
        let page = 2 * u64::from(self.p.kv_heads) * u64::from(self.p.head_dim) * u64::from(self.p.page_size);
        Ok((self.state.len()? / page) as usize)
    }
    /// The place of a position.
    pub(super) fn place(&self, sequence: usize, position: usize) -> Result<usize> {
        let (size, pages) = (self.p.page_size as usize, self.pages()?);
        let at = sequence * self.per_sequence + position / size;
        let error = |found: i64, high: usize| Error::Index {
            op: "ATTENTION",
            tensor: "page_table",
            at,
            found,
            low: 0,
            high: high as i64 - 1,
        };
        if position / size >= self.per_sequence {
            return Err(error((position / size) as i64, self.per_sequence));
        }
        let page = self.table[at];
        let ok = usize::try_from(page).ok().filter(|&page| page < pages);
        Ok(ok.ok_or_else(|| error(i64::from(page), pages))? * size + position % size)
    }
}

impl<R: Real> Past<R> for Pages<'_> {
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>> {
        let place = self.place(sequence, position)?;
        let data = self.state.get(self.element(which, head, place), self.p.head_dim as usize)?;
        Ok(data.into_iter().map(R::of).collect())
    }
}
