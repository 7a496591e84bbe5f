//! How states lie in memory, and their way to and from the canonical layout.

use tern_abi::dtype;
use tern_abi::plugin::{PluginError, Result};
use tern_abi::state::{StateDesc, kind};

/// Lanes of a vector: rows of states are padded to it.
pub const LANES: usize = 16;
/// A bound on every dimension of a state, so that products of them cannot overflow.
const MAX_DIM: u64 = 1 << 14;

/// A page of keys and values of one layer: per head the keys transposed, `[head_dim][page_size]`, then the
/// values, `[page_size][head_stride]`. Scores of 16 positions and outputs of 16 dimensions are then one
/// register each, and every sum runs inside a lane. Behind codes of 8 bits come the scales of keys and those
/// of values, f32 `[page_size]` each; they are aligned because the page size is a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Key/value heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Positions in a page.
    pub page_size: usize,
    /// Bytes of an element: 1 for I8, 2 for F16, 4 for F32.
    pub element: usize,
}

impl KvLayout {
    /// Checks the sizes.
    pub fn new(kv_heads: u64, head_dim: u64, page_size: u64, dtype: u32) -> Result<Self> {
        for (what, n) in [("kv_heads", kv_heads), ("head_dim", head_dim), ("page_size", page_size)] {
            if n == 0 || n > MAX_DIM {
                return Err(PluginError::unsupported(format!("KV pages: {what} {n}, expected 1 to {MAX_DIM}")));
            }
        }
        if !page_size.is_multiple_of(LANES as u64) {
            return Err(PluginError::unsupported(format!(
                "KV pages: page size {page_size} is not a multiple of {LANES}"
            )));
        }
        let element = match dtype {
            dtype::I8 => 1,
            dtype::F16 => 2,
            dtype::F32 => 4,
            other => {
                return Err(PluginError::unsupported(format!("KV pages: dtype {other}, expected I8, F16 or F32")));
            }
        };
        let layout =
            Self { kv_heads: kv_heads as usize, head_dim: head_dim as usize, page_size: page_size as usize, element };
        // `MAX_DIM` keeps this product below 2^49.
        match usize::try_from(kv_heads * (head_dim + LANES as u64) * page_size * 8) {
            Ok(n) if n <= isize::MAX as usize => Ok(layout),
            _ => Err(PluginError::unsupported("KV pages: larger than the address space")),
        }
    }
    /// Elements from one position's values to the next.
    pub fn head_stride(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }
    /// Elements of one head of a page.
    pub fn head_elements(&self) -> usize {
        (self.head_dim + self.head_stride()) * self.page_size
    }
    /// Elements from a head's keys to its values.
    pub fn values_at(&self) -> usize {
        self.head_dim * self.page_size
    }
    /// Bytes from a head's keys to its scales, where it has some.
    pub fn scales_at(&self) -> usize {
        self.head_elements() * self.element
    }
    /// Bytes of a position's scale.
    fn scale_bytes(&self) -> usize {
        if self.element == 1 { 4 } else { 0 }
    }
    /// Bytes of one head of a page.
    pub fn head_bytes(&self) -> usize {
        self.scales_at() + 2 * self.page_size * self.scale_bytes()
    }
    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.kv_heads * self.head_bytes()
    }
    /// Bytes of all keys, or all values, in canonical layout.
    fn canonical_half(&self) -> usize {
        self.kv_heads * self.page_size * (self.head_dim * self.element + self.scale_bytes())
    }
    /// Calls `f(at, canonical)` for the keys of each head: where they begin in the page, and where in canonical layout.
    fn each_keys(&self, mut f: impl FnMut(usize, usize)) {
        (0..self.kv_heads).for_each(|head| f(head * self.head_bytes(), head * self.values_at() * self.element));
    }
    /// Calls `f(at, canonical, n)` for everything else, in pieces of `n` bytes.
    fn each_piece(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (d, p, n) = (self.head_dim, self.page_size, self.element);
        for head in 0..self.kv_heads {
            let keys = head * self.head_bytes();
            let values = keys + self.values_at() * n;
            for place in 0..p {
                let row = (head * p + place) * d * n;
                f(values + place * self.head_stride() * n, self.canonical_half() + row, d * n);
            }
            let (scales, bytes) = (p * self.scale_bytes(), self.kv_heads * p * d * n);
            for half in 0..2 {
                let canonical = half * self.canonical_half() + bytes + head * scales;
                f(keys + self.scales_at() + half * scales, canonical, scales);
            }
        }
    }
    /// `to[c][r] = from[r][c]` for one head's keys: `rows` rows of elements, the rest of the slices is not touched.
    fn transpose(&self, from: &[u8], to: &mut [u8], rows: usize) {
        match self.element {
            1 => transpose::<1>(from, to, rows, self.values_at() / rows),
            2 => transpose::<2>(from, to, rows, self.values_at() / rows),
            _ => transpose::<4>(from, to, rows, self.values_at() / rows),
        }
    }
}

/// Elements of `N` bytes.
fn transpose<const N: usize>(from: &[u8], to: &mut [u8], rows: usize, columns: usize) {
    let (from, to) = (from.as_chunks::<N>().0, to.as_chunks_mut::<N>().0);
    for (c, column) in to.chunks_exact_mut(rows).enumerate().take(columns) {
        for (x, row) in column.iter_mut().zip(from.chunks_exact(columns)) {
            *x = row[c];
        }
    }
}

/// Layout of any state.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// Keys and values.
    Kv(KvLayout),
    /// Fast weights, or rows of a convolution, which lie as the canonical layout says: so many `f32`.
    Plain(usize),
}

/// Floats of one layer of a head's fast weights: matrix, bias, and the rows of the open mini-batch.
pub fn fast_layer_len(inputs: usize, outputs: usize, chunk: usize) -> usize {
    inputs * outputs + outputs + chunk * (inputs + outputs + 1)
}

/// Floats of one head's fast weights: keys of `f`, values of `n`, and `hidden` between them where there are two layers.
pub fn fast_head_len(f: usize, hidden: usize, n: usize, chunk: usize) -> usize {
    match hidden {
        0 => fast_layer_len(f, n, chunk),
        m => fast_layer_len(f, m, chunk) + fast_layer_len(m, n, chunk),
    }
}

/// Floats of one head's fast weights where the inner model has a gate: three matrices between keys of `f`, `m` and values of `n`, with a
/// momentum as many again, and the rows of the open mini-batch.
pub fn gated_head_len(f: usize, m: usize, n: usize, chunk: usize, momentum: bool) -> usize {
    let three = m * (2 * f + n);
    three * (1 + usize::from(momentum)) + chunk * (f + n + 4)
}

impl Layout {
    /// Of a state as the host describes it.
    pub fn of(desc: &StateDesc) -> Result<Self> {
        let [a, b, c, d, ..] = desc.dims;
        let d = if d > 0 { d } else { b };
        match desc.kind {
            kind::KV_PAGE => KvLayout::new(a, b, c, desc.dtype).map(Self::Kv),
            kind::FAST_WEIGHT if desc.dtype == dtype::F32 => {
                let [.., hidden, matrices] = desc.dims;
                let gated = hidden > 0 && matches!(matrices, 3 | 6);
                if hidden > MAX_DIM || (matrices > 0 && !gated) {
                    let what = format!("fast weights: {hidden} between layers, {matrices} matrices");
                    return Err(PluginError::unsupported(what));
                }
                let m = hidden as usize;
                let head = |b, d, c| match matrices {
                    0 => fast_head_len(b, m, d, c),
                    n => gated_head_len(b, m, d, c, n == 6),
                };
                let len = |[a, b, c, d]: [usize; 4]| a.checked_mul(head(b, d, c));
                Self::plain("fast weights", [a, b, c, d], len)
            }
            kind::SHORT_CONV if desc.dtype == dtype::F32 => {
                Self::plain("rows of a convolution", [a, b, c, 1], |[a, b, c, _]| a.checked_mul(b - 1 + c))
            }
            kind => Err(PluginError::unsupported(format!("state of kind {kind} and dtype {}", desc.dtype))),
        }
    }
    /// So many `f32` as `len` says, for dimensions that it may multiply.
    fn plain(what: &str, dims: [u64; 4], len: impl Fn([usize; 4]) -> Option<usize>) -> Result<Self> {
        if dims.iter().any(|&n| n == 0 || n > MAX_DIM) {
            return Err(PluginError::unsupported(format!("{what}: dimensions {dims:?}, expected 1 to {MAX_DIM}")));
        }
        let fits = len(dims.map(|n| n as usize)).filter(|n| n.checked_mul(4).is_some());
        fits.map(Self::Plain).ok_or_else(|| PluginError::unsupported(format!("{what}: larger than the address space")))
    }
    /// Bytes of a unit in memory.
    pub fn unit_bytes(&self) -> usize {
        match self {
            Self::Kv(kv) => kv.page_bytes(),
            Self::Plain(len) => len * 4,
        }
    }
    /// Bytes of a unit in canonical layout.
    pub fn canonical_bytes(&self) -> usize {
        match self {
            Self::Kv(kv) => 2 * kv.canonical_half(),
            Self::Plain(len) => len * 4,
        }
    }
    /// Unit to canonical; the lengths are those above.
    pub fn export(&self, unit: &[u8], canonical: &mut [u8]) {
        match self {
            Self::Kv(kv) => {
                kv.each_keys(|at, c| kv.transpose(&unit[at..], &mut canonical[c..], kv.head_dim));
                kv.each_piece(|at, c, n| canonical[c..c + n].copy_from_slice(&unit[at..at + n]));
            }
            Self::Plain(_) => canonical.copy_from_slice(unit),
        }
    }
    /// Canonical to unit; the lengths are those above.
    pub fn import(&self, canonical: &[u8], unit: &mut [u8]) {
        match self {
            Self::Kv(kv) => {
                kv.each_keys(|at, c| kv.transpose(&canonical[c..], &mut unit[at..], kv.page_size));
                kv.each_piece(|at, c, n| unit[at..at + n].copy_from_slice(&canonical[c..c + n]));
            }
            Self::Plain(_) => unit.copy_from_slice(canonical),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_abi::Header;

    #[test]
    fn round_trip() {
        for (head_dim, dtype) in [(64, dtype::F16), (20, dtype::F32), (64, dtype::I8), (21, dtype::I8)] {
            let desc = StateDesc {
                header: Header::of::<StateDesc>(),
                kind: kind::KV_PAGE,
                dtype,
                dims: [3, head_dim, 32, 0, 0, 0],
            };
            let layout = Layout::of(&desc).unwrap();
            let canonical: Vec<u8> = (0..layout.canonical_bytes()).map(|i| (i % 251) as u8).collect();
            let mut unit = vec![0; layout.unit_bytes()];
            let mut back = vec![0; canonical.len()];
            layout.import(&canonical, &mut unit);
            layout.export(&unit, &mut back);
            assert_eq!(canonical, back);
        }
    }

    #[test]
    fn scales_lie_behind_their_codes() {
        let kv = KvLayout::new(2, 20, 16, dtype::I8).unwrap();
        assert_eq!(kv.page_bytes(), 2 * (16 * (20 + 32) + 2 * 16 * 4));
        let layout = Layout::Kv(kv);
        assert_eq!(layout.canonical_bytes(), 2 * 2 * 16 * (20 + 4));
        let mut canonical = vec![0; layout.canonical_bytes()];
        let mut unit = vec![0; layout.unit_bytes()];
        // Head 1, place 3: its key's scale follows all key codes, its value's scale all value codes.
        let codes = 2 * 16 * 20;
        canonical[codes + (16 + 3) * 4] = 7;
        canonical[codes + 2 * 16 * 4 + codes + (16 + 3) * 4] = 9;
        layout.import(&canonical, &mut unit);
        let scales = kv.head_bytes() + kv.scales_at();
        assert_eq!((unit[scales + 3 * 4], unit[scales + (16 + 3) * 4]), (7, 9));
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        for (dims, dtype) in [([3, 64, 20], 1), ([0, 64, 64], 1), ([1 << 40, 64, 64], 1), ([3, 64, 64], 8)] {
            assert!(KvLayout::new(dims[0], dims[1], dims[2], dtype).is_err());
        }
    }
}
