//! The checks on sizes and extents that the formats share.

use crate::limits::MAX_DIM;
use crate::{DType, Problem, TensorInfo};

/// Bytes that a tensor takes. `shape` is row-major; every dimension is checked against
/// `smallest..=MAX_DIM` and the product before anything uses it.
pub(crate) fn tensor_bytes(name: &str, dtype: DType, shape: &[u64], smallest: u64) -> Result<u64, Problem> {
    for (axis, &found) in shape.iter().enumerate() {
        if found < smallest || found > MAX_DIM {
            return Err(Problem::Dimension { tensor: name.to_owned(), axis, found, limit: MAX_DIM });
        }
    }
    let overflow = || Problem::ShapeOverflow { tensor: name.to_owned(), dtype, shape: shape.to_vec() };
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(overflow)?;
    let block_len = dtype.block_len() as u64;
    // A scalar is a row of one element.
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(block_len) {
        return Err(Problem::PartialBlock { tensor: name.to_owned(), dtype, found: row, block_len });
    }
    dtype.tensor_bytes(elements).ok_or_else(overflow)
}

/// Checks that tensors, whose ends lie within the file, tile the data section: no overlap, and fewer
/// than `alignment` unused bytes before each. Returns where the last one ends.
pub(crate) fn check_extents(tensors: &[TensorInfo], data_start: u64, alignment: u64) -> Result<u64, Problem> {
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    // By end as well, so that an empty tensor sorts before the one that begins at the same place.
    order.sort_unstable_by_key(|&i| tensors.get(i as usize).map(|t| (t.offset, t.bytes)));
    let mut end = data_start;
    let mut previous = "header";
    for t in order.iter().filter_map(|&i| tensors.get(i as usize)) {
        let Some(gap) = t.offset.checked_sub(end) else {
            let (tensor, other) = (t.name.to_string(), previous.to_owned());
            return Err(Problem::Overlap { tensor, other, offset: t.offset });
        };
        if gap >= alignment {
            return Err(Problem::Gap { tensor: t.name.to_string(), offset: t.offset, found: gap });
        }
        end = t.offset.saturating_add(t.bytes);
        previous = &t.name;
    }
    Ok(end)
}
