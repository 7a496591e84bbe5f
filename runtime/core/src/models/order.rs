//! Heads in another order: a folder has those that share a key side by side, GGUF has those of different keys in turns.
//!
//! llama.cpp's converter moves them, so that its products can repeat keys as a whole. Neither the graph nor a loader does: a head is
//! computed by itself, and which key it has is a setting of the op.

use super::TensorSpec;

/// Where the heads of a tensor lie in GGUF and in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadOrder {
    /// Heads of keys.
    pub keys: u64,
    /// Heads that share a key.
    pub shared: u64,
    /// Rows of a head, or columns.
    pub dims: u64,
    /// Rows before the heads, which stay.
    pub first: u64,
    /// Are heads columns rather than rows?
    pub columns: bool,
}

impl HeadOrder {
    /// Where a folder has what is row (or column) `i` in GGUF.
    pub fn in_folder(&self, i: u64) -> u64 {
        self.moved(i, self.keys, self.shared)
    }

    /// Where GGUF has what is row (or column) `i` in a folder.
    pub fn in_gguf(&self, i: u64) -> u64 {
        self.moved(i, self.shared, self.keys)
    }

    /// `i` in a table of heads with so many columns, turned round.
    fn moved(&self, i: u64, columns: u64, rows: u64) -> u64 {
        let Some(at) = i.checked_sub(self.first) else { return i };
        let (head, at) = (at / self.dims.max(1), at % self.dims.max(1));
        let columns = columns.max(1);
        self.first + (head % columns * rows + head / columns) * self.dims + at
    }

    /// `values` in lines of `width`, with lines (of an order of columns: the numbers of each line) from `place(0)`, `place(1)`, ...
    pub fn apply<T: Copy>(&self, values: &[T], width: usize, place: impl Fn(u64) -> u64) -> Vec<T> {
        let place = |i: usize| usize::try_from(place(i as u64)).unwrap_or(usize::MAX);
        let lines: Vec<&[T]> = values.chunks_exact(width.max(1)).collect();
        if self.columns {
            return lines.iter().flat_map(|line| (0..width).filter_map(|i| line.get(place(i)))).copied().collect();
        }
        (0..lines.len()).flat_map(|i| lines.get(place(i)).copied().unwrap_or_default()).copied().collect()
    }
}

impl TensorSpec {
    /// GGUF has the tensor's heads in another order, if in any.
    pub fn ordered(&mut self, order: Option<HeadOrder>) -> &mut Self {
        self.order = order;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_different_keys_come_in_turns_and_go_back() {
        let order = HeadOrder { keys: 2, shared: 3, dims: 2, first: 1, columns: false };
        let folder: Vec<u64> = (0..13).collect();
        let gguf = order.apply(&folder, 1, |i| order.in_folder(i));
        // Heads 0, 1, 2 have the first key, 3, 4, 5 the second.
        assert_eq!(gguf, [0, 1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12]);
        assert_eq!(order.apply(&gguf, 1, |i| order.in_gguf(i)), folder);
        let columns = HeadOrder { first: 0, dims: 1, columns: true, ..order };
        assert_eq!(
            columns.apply(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 6, |i| columns.in_folder(i))[6..],
            [6, 9, 7, 10, 8, 11]
        );
    }
}
