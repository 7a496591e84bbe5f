//! States in memory: elements by index, rounded to the state's dtype.

use crate::memory::Memory;
use crate::{Error, Result};
use tern_abi::dtype;
use tern_abi::state::{StateDesc, kind};

/// Bytes of a scale of codes.
pub(crate) const SCALE_BYTES: u64 = 4;

/// Bytes of an element of a state (codes are elements, their scales are not), or `None` for a dtype that states do not have.
pub(crate) fn element_bytes(dtype: u32) -> Option<usize> {
    match dtype {
        dtype::I8 | dtype::F16 | dtype::F32 | dtype::F64 => dtype::plain_size(dtype).map(|n| n as usize),
        _ => None,
    }
}

/// Bytes of a unit. The layout is the canonical one, so this is also what an export has.
///
/// F64 is an extension of this backend: a graph in f64 keeps its states exact.
pub(crate) fn unit_bytes(desc: &StateDesc) -> Result<u64> {
    let unknown = Error::State { kind: desc.kind, dtype: desc.dtype, dims: desc.dims };
    let element = match (desc.kind, desc.dtype) {
        (kind::KV_PAGE, _) | (kind::FAST_WEIGHT | kind::SHORT_CONV, dtype::F32 | dtype::F64) => {
            element_bytes(desc.dtype).ok_or_else(|| unknown.clone())? as u64
        }
        _ => return Err(unknown),
    };
    let [a, b, c, d, hidden, matrices] = desc.dims;
    let bytes = match desc.kind {
        kind::KV_PAGE => kv_row(b, desc.dtype).and_then(|row| {
            let rows = a.checked_mul(c)?.checked_mul(2)?;
            row.checked_mul(rows)
        }),
        kind::SHORT_CONV => {
            b.checked_sub(1).and_then(|before| before.checked_add(c)?.checked_mul(a)?.checked_mul(element))
        }
        _ => fast_weight_head(b, hidden, if d > 0 { d } else { b }, c, matrices)
            .and_then(|n| n.checked_mul(a)?.checked_mul(element)),
    };
    bytes.filter(|&n| n > 0).ok_or(unknown)
}

/// Bytes of the key or value of one head at one position: its numbers, or its codes and their scale.
pub(crate) fn kv_row(head_dim: u64, dtype: u32) -> Option<u64> {
    let scale = if dtype == dtype::I8 { SCALE_BYTES } else { 0 };
    head_dim.checked_mul(element_bytes(dtype)? as u64)?.checked_add(scale)
}

/// Elements of one head of a fast-weight unit: keys of `f`, values of `n`, and `hidden` between them where there are two layers.
/// `matrices` as in [`FAST_WEIGHT`](kind::FAST_WEIGHT); `None` where there are no such units.
pub(crate) fn fast_weight_head(f: u64, hidden: u64, n: u64, chunk: u64, matrices: u64) -> Option<u64> {
    match (matrices, hidden) {
        (0, 0) => fast_weight_layer(f, n, chunk),
        (0, m) => fast_weight_layer(f, m, chunk)?.checked_add(fast_weight_layer(m, n, chunk)?),
        (3 | 6, 1..) => {
            let three = f.checked_mul(2)?.checked_add(n)?.checked_mul(hidden)?;
            let places = f.checked_add(n)?.checked_add(4)?.checked_mul(chunk)?;
            three.checked_mul(matrices / 3)?.checked_add(places)
        }
        _ => None,
    }
}

/// One layer of it: `W`, `b`, then input, gradient and lr of each place.
fn fast_weight_layer(f: u64, n: u64, chunk: u64) -> Option<u64> {
    let places = f.checked_add(n)?.checked_add(1)?.checked_mul(chunk)?;
    f.checked_mul(n)?.checked_add(n)?.checked_add(places)
}

/// A bound state.
#[derive(Clone, Copy, Debug)]
pub struct StateMemory<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) dtype: u32,
}

impl StateMemory<'_> {
    /// Bytes of an element.
    pub(crate) fn element(&self) -> Result<u64> {
        element_bytes(self.dtype).map(|n| n as u64).ok_or(Error::Internal("state of a dtype that was refused"))
    }
    /// Bytes bound.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes
    }
    /// Elements bound.
    pub(crate) fn len(&self) -> Result<u64> {
        Ok(self.bytes / self.element()?)
    }
    /// `n` elements from element `first` on.
    pub(crate) fn get(&self, first: u64, n: usize) -> Result<Vec<f64>> {
        let element = self.element()?;
        let bytes = self.bytes(first.saturating_mul(element), n.saturating_mul(element as usize))?;
        Ok(match self.dtype {
            dtype::I8 => bytes.iter().map(|&b| f64::from(b.cast_signed())).collect(),
            dtype::F16 => bytes.as_chunks().0.iter().map(|b| half(*b)).collect(),
            dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        })
    }
    /// Rounds and writes.
    pub(crate) fn set(&self, first: u64, src: &[f64]) -> Result<()> {
        let bytes: Vec<u8> = match self.dtype {
            dtype::I8 => src.iter().map(|&x| (x as i8).cast_unsigned()).collect(),
            dtype::F16 => src.iter().flat_map(|&x| tern_quant::f32_to_f16(x as f32).to_le_bytes()).collect(),
            dtype::F32 => src.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
            _ => src.iter().flat_map(|&x| x.to_le_bytes()).collect(),
        };
        self.set_bytes(first.saturating_mul(self.element()?), &bytes)
    }
    /// `n` bytes from byte `first` on.
    pub(crate) fn bytes(&self, first: u64, n: usize) -> Result<Vec<u8>> {
        self.memory.get(self.at(first, n)?, n)
    }
    /// Writes bytes.
    pub(crate) fn set_bytes(&self, first: u64, src: &[u8]) -> Result<()> {
        self.memory.set(self.at(first, src.len())?, src)
    }
    fn at(&self, first: u64, n: usize) -> Result<u64> {
        if first.checked_add(n as u64).is_none_or(|end| end > self.bytes) {
            return Err(Error::Internal("element outside a state"));
        }
        Ok(self.offset + first)
    }
}

fn half(bytes: [u8; 2]) -> f64 {
    f64::from(tern_quant::f16_to_f32(u16::from_le_bytes(bytes)))
}
