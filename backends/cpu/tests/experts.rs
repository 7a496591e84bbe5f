//! EXPERT_LINEAR with experts that stay in the file: bits, counts and bytes, whatever the cache holds.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
mod graph;

use common::{bits, noise, tiers};
use graph::{Graph, stored};
use std::mem::offset_of;
use tern_abi::ops::{EXPERT_LINEAR, GRAD};
use tern_abi::status;
use tern_abi::weight::WeightInfo;
use tern_quant::DType;

const EXPERTS: usize = 6;
const ROWS: usize = 37;
const TOKENS: usize = 5;
const RANKS: usize = 2;

/// The op and its gradient on one weight.
struct Setup {
    g: Graph,
    w: u32,
    ids: u32,
    y: u32,
    dx: u32,
}

impl Setup {
    /// `cache`: bytes of it for paged experts, `None` for those that are in memory.
    fn new(dtype: DType, bytes: &[u8], cache: Option<u64>, tier: &str, threads: u32) -> Self {
        let (mut g, columns) = (Graph::new(tier, threads), columns(dtype));
        let shape = [EXPERTS, ROWS, columns];
        let w = match cache {
            Some(cache) => {
                let (w, keeps) = g.paged_weight(dtype, &shape, bytes, cache).unwrap();
                assert!(keeps);
                w
            }
            None => g.weight_of(dtype, &shape, bytes),
        };
        let x = g.f32(&[TOKENS, columns], &noise(TOKENS * columns, 2));
        let ids = g.i32(&[TOKENS, RANKS], &[0; TOKENS * RANKS]);
        let (y, dx) = (g.out(&[TOKENS, RANKS, ROWS]), g.out(&[TOKENS, columns]));
        let dy = g.f32(&[TOKENS, RANKS, ROWS], &noise(TOKENS * RANKS * ROWS, 3));
        g.op(EXPERT_LINEAR, &[Some(x), Some(w), None, Some(ids)], &[y], ());
        g.op(EXPERT_LINEAR | GRAD, &[Some(x), Some(w), None, Some(ids), Some(dy)], &[dx], ());
        Self { g, w, ids, y, dx }
    }

    /// Bits of output and gradient after each of some steps.
    fn run(&self, steps: &[[i32; TOKENS * RANKS]]) -> Vec<[Vec<u32>; 2]> {
        let mut all = Vec::new();
        let work = |step: &mut dyn FnMut() -> Result<(), common::Failure>| {
            for ids in steps {
                self.g.set_i32(self.ids, ids);
                step()?;
                all.push([self.y, self.dx].map(|t| bits(&self.g.read(t))));
            }
            Ok(())
        };
        self.g.compiled(work).unwrap();
        all
    }

    /// Hits, misses and bytes read.
    fn counts(&self) -> [u64; 3] {
        let info = self.g.info(self.w);
        [info.hits, info.misses, info.read_bytes]
    }
}

fn columns(dtype: DType) -> usize {
    if dtype.block_len() == 1 { 40 } else { 2 * dtype.block_len() }
}

/// Types that matrices have, with an expert's bytes for each.
fn weights() -> Vec<(DType, Vec<u8>)> {
    let of = |&dtype: &DType| {
        let n = EXPERTS * ROWS * columns(dtype);
        let values: Vec<f32> = noise(n, 1).iter().map(|x| x * 0.3).collect();
        let mut bytes = vec![0; dtype.tensor_bytes(n as u64)? as usize];
        tern_cpu::weight::Format::of(dtype)?;
        tern_quant::quantize(dtype, &values, &mut bytes).ok()?;
        Some((dtype, bytes))
    };
    let all: Vec<_> = DType::ALL.iter().filter_map(of).collect();
    assert!(all.len() > 20 && all.iter().any(|w| w.0 == DType::MXFP4) && all.iter().any(|w| w.0 == DType::IQ2_XS));
    all
}

/// Choices of a few steps, one of an expert that does not exist.
fn steps() -> Vec<[i32; TOKENS * RANKS]> {
    vec![
        [0, 1, 1, 0, 0, 1, 2, 0, 1, 2],
        [5, 4, 3, 2, 1, 0, 5, 4, 3, 2],
        [3; TOKENS * RANKS],
        [1, 5, -1, 5, 1, 9, 1, 5, 2, 4],
        [0, 1, 2, 3, 4, 5, 0, 1, 2, 3],
    ]
}

#[test]
fn no_bit_depends_on_what_is_in_memory() {
    for tier in tiers() {
        for (dtype, bytes) in weights() {
            let expected = Setup::new(dtype, &bytes, None, tier, 1).run(&steps());
            let keeps_rows = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
            for (slots, threads) in [(0, 1), (1, 3), (2, 1), (4, 2), (6, 1), (99, 3)] {
                let expert = Setup::new(dtype, &bytes, Some(0), tier, 1);
                let one = expert.g.info(expert.w).stream_bytes;
                let setup = Setup::new(dtype, &bytes, Some(slots * one), tier, threads);
                assert!(setup.run(&steps()) == expected, "{dtype} on {tier}, {slots} slots, {threads} threads");
                let resident = setup.g.info(setup.w).resident_bytes;
                if keeps_rows {
                    // They are used in the file, so nothing is packed, and nothing counted.
                    assert_eq!((resident, setup.counts()), (0, [0; 3]), "{dtype}");
                } else {
                    assert_eq!(resident, slots.clamp(1, EXPERTS as u64) * one, "{dtype}");
                    let [hits, misses, read] = setup.counts();
                    // Both ops of each step use all experts that it names.
                    assert_eq!(hits + misses, 2 * (3 + 6 + 1 + 4 + 6), "{dtype}");
                    let of_file = (ROWS * dtype.row_bytes(columns(dtype)).unwrap()) as u64;
                    assert_eq!(read, misses * of_file, "{dtype}");
                }
            }
        }
    }
}

#[test]
fn rows_are_read_from_the_file() {
    for (dtype, bytes) in weights() {
        let n = ROWS * columns(dtype);
        let setup = Setup::new(dtype, &bytes, Some(0), "scalar", 1);
        let (mut paged, mut packed) = (vec![0.0; n], vec![1.0; n]);
        setup.g.rows(setup.w, 3 * ROWS as u64, &mut paged);
        let other = Setup::new(dtype, &bytes, None, "scalar", 1);
        other.g.rows(other.w, 3 * ROWS as u64, &mut packed);
        assert!(bits(&paged) == bits(&packed), "{dtype}");
        assert_eq!(setup.counts(), [0; 3], "{dtype}: nothing was used");
    }
}

/// One op, of which each step names experts.
fn forward(cache: Option<u64>, choices: usize, threads: u32) -> (Graph, u32, u32, u32) {
    let (dtype, mut g) = (DType::Q4_0, Graph::new("", threads));
    let bytes = stored(dtype, &[EXPERTS, ROWS, 64], &noise(EXPERTS * ROWS * 64, 1));
    let w = match cache {
        Some(cache) => g.paged_weight(dtype, &[EXPERTS, ROWS, 64], &bytes, cache).unwrap().0,
        None => g.weight_of(dtype, &[EXPERTS, ROWS, 64], &bytes),
    };
    let x = g.f32(&[choices, 64], &noise(choices * 64, 2));
    let (ids, y) = (g.i32(&[choices, 1], &vec![0; choices]), g.out(&[choices, 1, ROWS]));
    g.op(EXPERT_LINEAR, &[Some(x), Some(w), None, Some(ids)], &[y], ());
    (g, w, ids, y)
}

/// Bytes of one of its experts, packed.
fn expert_bytes() -> u64 {
    let (g, w, ..) = forward(Some(0), 1, 1);
    g.info(w).stream_bytes
}

#[test]
fn hits_and_misses_are_what_the_choices_imply() {
    let one = expert_bytes();
    let (g, w, ids, _) = forward(Some(2 * one), 4, 2);
    let of_file = (ROWS * DType::Q4_0.row_bytes(64).unwrap()) as u64;
    let cases: [([i32; 4], [u64; 2]); 8] = [
        ([0, 1, 1, 0], [0, 2]),
        ([1, 0, 0, 0], [2, 0]),
        // Both were used in the last step; the first slot gives way, which has 0.
        ([2; 4], [0, 1]),
        ([1, 2, 2, 1], [2, 0]),
        ([0; 4], [0, 1]),
        // More than there is room for: what is there comes first, the others after it.
        ([3, 2, 1, 0], [2, 2]),
        ([3; 4], [1, 0]),
        // 2 was not used since the turn before.
        ([5, 3, 3, 3], [1, 1]),
    ];
    let (mut hits, mut misses) = (0, 0);
    g.released();
    g.compiled(|step| {
        for (chosen, [more_hits, more_misses]) in cases {
            g.set_i32(ids, &chosen);
            step()?;
            (hits, misses) = (hits + more_hits, misses + more_misses);
            let info = g.info(w);
            assert_eq!((info.hits, info.misses, info.read_bytes), (hits, misses, misses * of_file), "{chosen:?}");
            assert_eq!(info.resident_bytes, 2 * one);
            // Where something was read, the host may let all of it go.
            let whole = (0, EXPERTS as u64 * of_file);
            assert_eq!(g.released(), vec![whole; more_misses.min(1) as usize], "{chosen:?}");
        }
        Ok(())
    })
    .unwrap();
    // A host of version 1.0 gets what it knows, and nothing behind it.
    let mut old = WeightInfo { hits: 77, misses: 78, read_bytes: 79, ..g.info(w) };
    old.header.struct_size = offset_of!(WeightInfo, hits) as u32;
    old.resident_bytes = 0;
    g.ask(w, &mut old);
    assert_eq!((old.resident_bytes, old.hits, old.misses, old.read_bytes), (2 * one, 77, 78, 79));
}

#[test]
fn a_cancelled_step_leaves_nothing_half_packed() {
    for threads in [1, 3] {
        let (plain, _, ids, y) = forward(None, 4, 1);
        plain.set_i32(ids, &[0, 4, 2, 1]);
        let expected = bits(&plain.run(&[y]).unwrap()[0]);
        for slots in [0, 2, 6] {
            let (mut g, w, ids, y) = forward(Some(slots * expert_bytes()), 4, threads);
            g.set_i32(ids, &[0, 4, 2, 1]);
            g.cancel = 1;
            assert_eq!(g.run(&[y]).unwrap_err().0, status::CANCELLED);
            g.cancel = 0;
            assert_eq!(bits(&g.run(&[y]).unwrap()[0]), expected, "{slots} slots, {threads} threads");
            assert_eq!((g.info(w).hits, g.info(w).misses), (0, 4));
        }
    }
}

#[test]
fn what_cannot_be_paged_is_refused() {
    let mut g = Graph::new("", 1);
    let error = g.paged_weight(DType::F32, &[4, 4], &[0; 64], 0).unwrap_err();
    assert_eq!((error.0, error.1.contains("only matrices of experts")), (status::UNSUPPORTED, true), "{error:?}");
    let error = g.paged_weight(DType::Q4_0, &[2, 3, 32], &[0; 17], 0).unwrap_err();
    assert_eq!((error.0, error.1.contains("17 are given")), (status::ARGUMENT, true), "{error:?}");
}
