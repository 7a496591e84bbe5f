//! What a compiled graph needs of its bindings, so that no step reaches past their ends.

use super::bind::Bound;
use super::error::{Result, argument};
use super::graph::GraphDesc;
use tern_abi::graph::{Tensor, dim, place};
use tern_quant::DType;

/// What one fixed slot must hold.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// No tensor is there.
    Nothing,
    /// A buffer with at least this many bytes.
    Buffer(u64),
    /// A state buffer. Its units are laid out by the plugin, which checks their number.
    State,
    /// A weight of this tensor's dtype and shape.
    Weight(Tensor),
}

/// A tensor in a step slot: it ends at `offset + bytes * (its dynamic dimensions)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    slot: usize,
    offset: u64,
    bytes: u64,
    dims: [u32; 4],
}

/// Needs of a compiled graph.
#[derive(Debug)]
pub(super) struct Needs {
    fixed: Vec<Need>,
    n_steps: usize,
    steps: Vec<Span>,
    dim_max: [u64; dim::COUNT],
}

impl Needs {
    /// Checks `graph`, offsets included, and sums up what it needs.
    pub(super) fn of(graph: &GraphDesc, alignment: u64) -> Result<Self> {
        const CALL: &str = "compile";
        graph.check_indices(CALL)?;
        let mut needs = Self {
            fixed: vec![Need::Nothing; graph.n_fixed as usize],
            n_steps: graph.n_steps as usize,
            steps: Vec::new(),
            dim_max: graph.dim_max,
        };
        for (i, tensor) in graph.tensors.iter().enumerate() {
            if let Err(reason) = needs.add(tensor, graph.arena_bytes, alignment) {
                return argument(CALL, format!("tensor {i}: {reason}"));
            }
        }
        needs.steps.sort_unstable();
        needs.steps.dedup();
        Ok(needs)
    }

    fn add(&mut self, t: &Tensor, arena: u64, alignment: u64) -> std::result::Result<(), String> {
        let slot = t.slot as usize;
        match t.place {
            place::WEIGHT => return self.fix(slot, Need::Weight(*t)),
            place::STATE => return self.fix(slot, Need::State),
            _ => {}
        }
        if !t.offset.is_multiple_of(alignment) {
            return Err(format!("offset {} is not a multiple of {alignment}", t.offset));
        }
        let span = Span { slot, offset: t.offset, bytes: fixed_bytes(t)?, dims: t.dims };
        let end = span.end(&self.dim_max).ok_or("its end overflows")?;
        match t.place {
            place::ARENA if end <= arena => Ok(()),
            place::ARENA => Err(format!("it ends at byte {end} of an arena of {arena}")),
            place::STEP => {
                self.steps.push(span);
                Ok(())
            }
            _ => self.fix(slot, Need::Buffer(end)),
        }
    }

    fn fix(&mut self, slot: usize, need: Need) -> std::result::Result<(), String> {
        let Some(place) = self.fixed.get_mut(slot) else { return Err(format!("there is no slot {slot}")) };
        *place = match (*place, need) {
            (Need::Nothing, need) => need,
            (Need::Buffer(a), Need::Buffer(b)) => Need::Buffer(a.max(b)),
            (Need::State, Need::State) => Need::State,
            (Need::Weight(a), Need::Weight(b)) if (a.dtype, a.rank, a.shape) == (b.dtype, b.rank, b.shape) => need,
            _ => return Err(format!("slot {slot} holds something else for another tensor")),
        };
        Ok(())
    }

    pub(super) fn check_dims(&self, dims: &[u64; dim::COUNT]) -> Result<()> {
        match dims.iter().zip(&self.dim_max).enumerate().skip(1).find(|(_, (size, max))| size > max) {
            Some((d, (size, max))) => {
                argument("run", format!("dynamic dimension {d} has size {size}, its maximum is {max}"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_fixed(&self, bindings: &[Bound]) -> Result<()> {
        if bindings.len() < self.fixed.len() {
            return argument("run", format!("{} fixed slots are bound of {}", bindings.len(), self.fixed.len()));
        }
        for (i, (need, bound)) in self.fixed.iter().zip(bindings).enumerate() {
            match (need, bound) {
                (Need::Nothing, _) | (Need::Buffer(0), Bound::Empty) => {}
                (Need::Buffer(bytes), Bound::Buffer(_, _, len)) if len >= bytes => {}
                (Need::State, Bound::Buffer(_, _, len)) if *len > 0 => {}
                (Need::Weight(tensor), Bound::Weight(weight)) if weight.fits(tensor) => {}
                _ => return argument("run", format!("fixed slot {i} needs {}, not {bound:?}", need.words())),
            }
        }
        Ok(())
    }

    pub(super) fn check_steps(&self, bindings: &[Bound], dims: &[u64; dim::COUNT]) -> Result<()> {
        if bindings.len() != self.n_steps {
            return argument("run", format!("{} step slots are bound of {}", bindings.len(), self.n_steps));
        }
        for span in &self.steps {
            // Cannot overflow where the maxima did not.
            let end = span.end(dims).unwrap_or(u64::MAX);
            match bindings.get(span.slot) {
                Some(Bound::Buffer(_, _, len)) if *len >= end => {}
                Some(Bound::Empty) if end == 0 => {}
                bound => {
                    let found = bound.unwrap_or(&Bound::Empty);
                    return argument("run", format!("step slot {} needs {end} bytes, not {found:?}", span.slot));
                }
            }
        }
        Ok(())
    }
}

impl Need {
    fn words(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Buffer(bytes) => format!("a buffer of {bytes} bytes"),
            Self::State => "a state".to_owned(),
            Self::Weight(t) => {
                let dtype = DType::from_code(t.dtype).map_or_else(|| t.dtype.to_string(), |d| d.to_string());
                format!("a {dtype} weight of {:?}", t.shape.get(..t.rank as usize).unwrap_or(&t.shape))
            }
        }
    }
}

impl Span {
    fn end(&self, dims: &[u64; dim::COUNT]) -> Option<u64> {
        let mut bytes = self.bytes;
        for &d in self.dims.iter().filter(|&&d| d != dim::FIXED) {
            bytes = bytes.checked_mul(*dims.get(d as usize)?)?;
        }
        // A tensor without elements is nowhere.
        if bytes == 0 { Some(0) } else { self.offset.checked_add(bytes) }
    }
}

/// Bytes of a tensor whose dynamic dimensions are 1.
fn fixed_bytes(t: &Tensor) -> std::result::Result<u64, String> {
    let dtype = DType::from_code(t.dtype).ok_or_else(|| format!("there is no dtype {}", t.dtype))?;
    let sizes = t.dims.iter().zip(&t.shape).map(|(&d, &size)| if d == dim::FIXED { size } else { 1 });
    let mut sizes: Vec<u64> = sizes.take(t.rank as usize).collect();
    let row = sizes.pop().unwrap_or(1);
    let row = usize::try_from(row).ok().and_then(|row| dtype.row_bytes(row));
    let row = row.ok_or_else(|| format!("a row is no whole number of {dtype} blocks"))? as u64;
    sizes.iter().try_fold(row, |n, &size| n.checked_mul(size)).ok_or_else(|| "its size overflows".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_abi::dtype::{F32, I32};

    fn tensor(dtype: u32, place: u32, slot: u32, shape: [u64; 2], dims: [u32; 2], offset: u64) -> Tensor {
        let (shape, dims) = ([shape[0], shape[1], 1, 1], [dims[0], dims[1], 0, 0]);
        Tensor { dtype, place, slot, rank: 2, shape, dims, offset }
    }

    fn graph(tensors: Vec<Tensor>) -> GraphDesc {
        GraphDesc { tensors, dim_max: [0, 8, 2, 8], n_fixed: 2, n_steps: 1, arena_bytes: 256, ..GraphDesc::default() }
    }

    fn refused(tensors: Vec<Tensor>) -> String {
        Needs::of(&graph(tensors), 16).unwrap_err().to_string()
    }

    #[test]
    fn arena_ends_are_checked_at_the_maximum() {
        let fits = tensor(F32, place::ARENA, 0, [8, 4], [dim::TOKENS, 0], 128);
        assert!(Needs::of(&graph(vec![fits]), 16).is_ok());
        let late = Tensor { offset: 144, ..fits };
        assert_eq!(refused(vec![late]), "compile: tensor 0: it ends at byte 272 of an arena of 256");
        let crooked = Tensor { offset: 8, ..fits };
        assert_eq!(refused(vec![crooked]), "compile: tensor 0: offset 8 is not a multiple of 16");
        let far = Tensor { offset: !15, ..fits };
        assert_eq!(refused(vec![far]), "compile: tensor 0: its end overflows");
    }

    #[test]
    fn blocks_and_unknown_dtypes_are_refused() {
        let q4 = tensor(2, place::ARENA, 0, [1, 40], [0, 0], 0);
        assert_eq!(refused(vec![q4]), "compile: tensor 0: a row is no whole number of Q4_0 blocks");
        assert_eq!(refused(vec![Tensor { dtype: 999, ..q4 }]), "compile: tensor 0: there is no dtype 999");
    }

    #[test]
    fn one_slot_holds_one_thing() {
        let weight = tensor(F32, place::WEIGHT, 1, [4, 4], [0, 0], 0);
        let buffer = Tensor { place: place::FIXED, ..weight };
        let message = "compile: tensor 1: slot 1 holds something else for another tensor";
        assert_eq!(refused(vec![weight, buffer]), message);
        assert_eq!(refused(vec![weight, Tensor { shape: [4, 8, 1, 1], ..weight }]), message);
        assert!(Needs::of(&graph(vec![weight, weight]), 16).is_ok());
    }

    #[test]
    fn steps_are_checked_at_their_own_sizes() {
        let ids = tensor(I32, place::STEP, 0, [8, 1], [dim::TOKENS, 0], 0);
        let needs = Needs::of(&graph(vec![ids, ids]), 16).unwrap();
        assert_eq!(needs.steps.len(), 1);
        assert!(needs.check_steps(&[Bound::Empty], &[0, 0, 1, 1]).is_ok());
        let error = needs.check_steps(&[Bound::Empty], &[0, 3, 1, 1]).unwrap_err().to_string();
        assert_eq!(error, "run: step slot 0 needs 12 bytes, not Empty");
        assert!(needs.check_steps(&[], &[0; 4]).is_err());
        let error = needs.check_dims(&[0, 9, 1, 1]).unwrap_err().to_string();
        assert_eq!(error, "run: dynamic dimension 1 has size 9, its maximum is 8");
    }
}
