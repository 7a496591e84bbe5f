//! Places for intermediates: values that are not alive at the same time share memory.

/// Alignment of every place: a cache line, and the widest vector.
pub const ALIGNMENT: u64 = 64;

/// When a value is alive: from the node that makes it to the last that reads it, both included.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Bytes.
    pub bytes: u64,
    /// Index of the node that makes it.
    pub first: usize,
    /// Index of the last node that reads it.
    pub last: usize,
}

/// Offsets for `values` and the arena's size; `None` on overflow.
///
/// First fit, largest value first: within a few percent of the peak of live bytes on our graphs.
pub fn place(values: &[Lifetime]) -> Option<(Vec<u64>, u64)> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(values[i].bytes), values[i].first));
    let mut offsets = vec![0u64; values.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(values.len());
    let mut total = 0u64;
    for i in order {
        let v = values[i];
        let size = v.bytes.checked_next_multiple_of(ALIGNMENT)?;
        let mut at = 0u64;
        // `placed` is sorted by offset, so one pass finds the first gap.
        for &j in &placed {
            let other = values[j];
            if other.last < v.first || v.last < other.first {
                continue;
            }
            if at.checked_add(size)? <= offsets[j] {
                break;
            }
            at = at.max(offsets[j].checked_add(other.bytes.checked_next_multiple_of(ALIGNMENT)?)?);
        }
        offsets[i] = at;
        total = total.max(at.checked_add(size)?);
        let position = placed.partition_point(|&j| offsets[j] <= at);
        placed.insert(position, i);
    }
    Some((offsets, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: &Lifetime, b: &Lifetime) -> bool {
        a.first <= b.last && b.first <= a.last
    }

    #[test]
    fn live_values_never_share_memory() {
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..200 {
            let values: Vec<Lifetime> = (0..40)
                .map(|_| {
                    let first = next(50) as usize;
                    Lifetime { bytes: 1 + next(5000), first, last: first + next(8) as usize }
                })
                .collect();
            let (offsets, total) = place(&values).unwrap();
            for i in 0..values.len() {
                assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + values[i].bytes <= total);
                for j in 0..i {
                    if overlap(&values[i], &values[j]) {
                        assert!(
                            offsets[i] + values[i].bytes <= offsets[j] || offsets[j] + values[j].bytes <= offsets[i],
                            "{i} and {j} overlap"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_places() {
        let chain: Vec<Lifetime> = (0..10).map(|i| Lifetime { bytes: 64, first: i, last: i + 1 }).collect();
        assert_eq!(place(&chain).unwrap().1, 128);
    }
}
