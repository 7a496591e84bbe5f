//! Where attention finds keys and values: the rows of the step, or pages.

use crate::state::{SCALE_BYTES, StateMemory, kv_row};
use crate::{Error, Real, Result};
use tern_abi::dtype;
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
    /// Bytes of all keys, or all values, of a page.
    fn half(&self) -> Result<u64> {
        let row = kv_row(self.p.head_dim.into(), self.p.kv_dtype);
        let rows = u64::from(self.p.kv_heads) * u64::from(self.p.page_size);
        let half = row.and_then(|row| row.checked_mul(rows)).filter(|&n| n > 0 && n <= u64::MAX / 2);
        half.ok_or(Error::Internal("a page that overflows"))
    }
    fn pages(&self) -> Result<usize> {
        Ok((self.state.len_bytes() / (2 * self.half()?)) as usize)
    }
    /// First element of key (0) or value (1) of a head at a place (page index times page size plus offset), and the
    /// byte at which its scale is, if it has one.
    fn find(&self, which: usize, head: usize, place: usize) -> Result<(u64, u64)> {
        let (size, dim, heads) = (self.p.page_size as usize, self.p.head_dim as usize, self.p.kv_heads as usize);
        let row = (head * size + place % size) as u64;
        let half = self.half()? * (place / size * 2 + which) as u64;
        let element = self.state.element()?;
        let numbers = (heads * size * dim) as u64 * element;
        Ok((half / element + row * dim as u64, half + numbers + row * SCALE_BYTES))
    }
    /// Reads what is at a place.
    fn read(&self, which: usize, head: usize, place: usize) -> Result<Vec<f64>> {
        let (first, scale) = self.find(which, head, place)?;
        let numbers = self.state.get(first, self.p.head_dim as usize)?;
        if self.p.kv_dtype != dtype::I8 {
            return Ok(numbers);
        }
        let bytes = self.state.bytes(scale, SCALE_BYTES as usize)?;
        let scale = bytes.first_chunk().map_or(f64::NAN, |b| f64::from(f32::from_le_bytes(*b)));
        Ok(numbers.into_iter().map(|code| code * scale).collect())
    }
    /// Rounds and writes.
    pub(super) fn write(&self, which: usize, head: usize, place: usize, data: &[f64]) -> Result<()> {
        let (first, at) = self.find(which, head, place)?;
        if self.p.kv_dtype != dtype::I8 {
            return self.state.set(first, data);
        }
        let (codes, scale) = encode(data);
        self.state.set(first, &codes)?;
        self.state.set_bytes(at, &scale.to_le_bytes())
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
        Ok(self.read(which, head, place)?.into_iter().map(R::of).collect())
    }
}

/// Codes of 8 bits and their scale, by the rule of [`KV_PAGE`](tern_abi::state::kind::KV_PAGE).
fn encode(data: &[f64]) -> (Vec<f64>, f32) {
    let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
    let zeros = vec![0.0; data.len()];
    if data.iter().any(|x| !x.is_finite()) {
        return (zeros, f32::NAN);
    }
    let max = data.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    if max == 0.0 {
        return (zeros, 0.0);
    }
    let code = |x: &f32| f64::from((x / max * 127.0).round_ties_even());
    (data.iter().map(code).collect(), max / 127.0)
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn codes_by_hand() {
        // Halves go to the even code: 0.5 and 1.5 of a scale of 1.
        assert_eq!(encode(&[127.0, -127.0, 0.5, 1.5, -2.5, 0.0]), (vec![127.0, -127.0, 0.0, 2.0, -2.0, 0.0], 1.0));
        assert_eq!(encode(&[0.0, -0.0]), (vec![0.0, 0.0], 0.0));
    }

    #[test]
    fn extremes_stay_in_range() {
        let top = f64::from(f32::MAX);
        assert_eq!(encode(&[top, -top, top / 2.0]).0, [127.0, -127.0, 64.0]);
        // The smallest f32: its scale is 0 in f32, its code is not out of range.
        assert_eq!(encode(&[f64::from(f32::from_bits(1)), 0.0]), (vec![127.0, 0.0], 0.0));
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1e300] {
            let (codes, scale) = encode(&[1.0, bad]);
            assert!(codes == [0.0, 0.0] && scale.is_nan());
        }
    }
}
