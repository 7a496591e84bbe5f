//! What attention cases are made from.

use crate::noise::Noise;
use tern_abi::dtype;
use tern_abi::ops::{AttentionParams, rope_layout};

/// What an attention case is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Setup {
    /// What is special about it.
    pub name: String,
    /// Parameters; `page_size` 0 means no state.
    pub params: AttentionParams,
    /// Positions that each sequence has behind it, and rows it adds.
    pub sequences: Vec<(usize, usize)>,
    /// Rotate first.
    pub rope: bool,
    /// Sinks.
    pub sinks: bool,
    /// Later sequences share the full pages of the first one's past.
    pub shared: bool,
    /// Pages that the window has passed are gone from the page table.
    pub freed: bool,
}

const BASE: AttentionParams = AttentionParams {
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    page_size: 0,
    kv_dtype: dtype::F16,
    scale: 0.25,
    window: 0,
    softcap: 0.0,
    rope_layout: rope_layout::HALVES,
    n_rot: 16,
    bidirectional: 0,
};

const BOTH_WAYS: AttentionParams = AttentionParams { bidirectional: 1, ..BASE };

impl Setup {
    fn new(name: &str, params: AttentionParams, sequences: &[(usize, usize)]) -> Self {
        Self { name: name.to_owned(), params, sequences: sequences.to_vec(), ..Self::default() }
    }
    fn rope(self) -> Self {
        Self { rope: true, ..self }
    }
    fn sinks(self) -> Self {
        Self { sinks: true, ..self }
    }
    /// The pages of each sequence, scrambled, and how many there are: two more than needed.
    pub(super) fn pages(&self, noise: &mut Noise) -> (Vec<Vec<usize>>, usize) {
        let size = self.params.page_size as usize;
        let need: Vec<usize> = self.sequences.iter().map(|(past, new)| (past + new).div_ceil(size)).collect();
        let total = need.iter().sum::<usize>() + 2;
        let mut free = noise.shuffled(total);
        let mut pages: Vec<Vec<usize>> = need.into_iter().map(|n| free.split_off(free.len() - n)).collect();
        for n in 1..self.sequences.len() {
            let common = if self.shared { self.sequences[0].0.min(self.sequences[n].0) / size } else { 0 };
            let shared = pages[0][..common].to_vec();
            pages[n][..common].copy_from_slice(&shared);
        }
        (pages, total)
    }
}

/// Without state, with this many rows.
fn stateless(t: usize) -> Vec<Setup> {
    let new = |name: &str, params| Setup::new(&format!("{name} T={t}"), params, &[(0, t)]);
    let base = BASE;
    vec![
        new("grouped", base),
        new("single head", AttentionParams { heads: 1, kv_heads: 1, head_dim: 7, ..base }),
        new("all share one", AttentionParams { heads: 5, kv_heads: 1, head_dim: 8, ..base }),
        new("window 3", AttentionParams { window: 3, ..base }),
        new("softcap", AttentionParams { softcap: 2.0, ..base }),
        new("sinks", base).sinks(),
        new("all options", AttentionParams { window: 5, softcap: 5.0, ..base }).sinks(),
        Setup::new(&format!("three sequences T={t}"), base, &[(0, 1), (0, t), (0, 2)]),
        Setup::new(&format!("both ways T={t}"), BOTH_WAYS, &[(0, t), (0, 1), (0, 5)]),
        Setup::new(
            &format!("both ways, window 3 T={t}"),
            AttentionParams { window: 3, ..BOTH_WAYS },
            &[(0, 4), (0, t)],
        ),
        new("both ways, all options", AttentionParams { window: 5, softcap: 5.0, ..BOTH_WAYS }).sinks(),
    ]
}

fn label(kv_dtype: u32) -> &'static str {
    match kv_dtype {
        dtype::I8 => "I8",
        dtype::F16 => "F16",
        _ => "F32",
    }
}

/// With pages of this dtype: every option alone, over several sequences at different lengths.
fn paged(kv_dtype: u32) -> Vec<Setup> {
    let label = label(kv_dtype);
    let base = AttentionParams { page_size: 16, kv_dtype, ..BASE };
    let many = [(0, 3), (17, 1), (40, 5), (8, 8)];
    let new = |name: &str, params, sequences: &[_]| Setup::new(&format!("pages {label} {name}"), params, sequences);
    let odd = AttentionParams { page_size: 5, heads: 3, kv_heads: 3, head_dim: 24, ..base };
    let wide = AttentionParams { page_size: 32, heads: 8, kv_heads: 1, head_dim: 64, n_rot: 64, ..base };
    let partial = AttentionParams { rope_layout: rope_layout::ADJACENT, n_rot: 6, ..base };
    let window = AttentionParams { window: 9, ..base };
    vec![
        new("first token", base, &[(0, 1)]),
        new("prefill", base, &[(0, 33)]).rope(),
        new("decode", base, &[(70, 1)]).rope(),
        new("decode of many", base, &[(70, 1), (0, 1), (15, 1), (16, 1), (300, 1)]),
        new("mixed batch", base, &many).rope(),
        new("adjacent rope, partial", partial, &many).rope(),
        new("window", window, &many).rope(),
        new("softcap", AttentionParams { softcap: 3.0, ..base }, &many),
        new("sinks", base, &many).sinks(),
        new("sharp scores", AttentionParams { scale: 20.0, ..base }, &many),
        new("page of 8", AttentionParams { page_size: 8, ..base }, &many),
        new("odd page", odd, &many),
        new("wide", wide, &[(100, 7), (3, 2)]).rope().sinks(),
        new("sequences without rows", base, &[(0, 0), (20, 2), (5, 0), (0, 3)]),
        Setup { shared: true, ..new("shared by sequences", base, &[(40, 3), (70, 1), (33, 2)]) },
        Setup { freed: true, ..new("passed by the window and freed", window, &[(40, 3), (70, 1), (33, 2)]) },
    ]
}

/// Codes in heads of sizes that fill vectors, do not, or do so by halves.
fn coded() -> Vec<Setup> {
    let of = |head_dim: u32| {
        let shape = AttentionParams { heads: 6, kv_heads: 2, head_dim, n_rot: head_dim, page_size: 32, ..BASE };
        let base = AttentionParams { kv_dtype: dtype::I8, scale: (head_dim as f32).sqrt().recip(), ..shape };
        let new = |name: &str, params| {
            Setup::new(&format!("pages I8 heads of {head_dim}{name}"), params, &[(100, 7), (3, 1), (0, 40), (64, 1)])
        };
        let options = AttentionParams { window: 50, softcap: 4.0, ..base };
        [new("", base), new(" rope", base).rope(), new(" all options", options).rope().sinks()]
    };
    [20, 64, 80, 128].into_iter().flat_map(of).collect()
}

/// Large enough to be shared among threads.
fn large(kv_dtype: u32) -> Setup {
    let shape = AttentionParams { heads: 12, kv_heads: 4, head_dim: 64, n_rot: 64, ..BASE };
    let params = AttentionParams { page_size: 32, scale: 0.125, kv_dtype, ..shape };
    Setup::new(&format!("large {}", label(kv_dtype)), params, &[(500, 33), (700, 1), (0, 40)]).rope()
}

pub(super) fn forward() -> Vec<Setup> {
    let mut out: Vec<Setup> = crate::cases::TOKENS.into_iter().flat_map(stateless).collect();
    out.push(Setup::new("rope without pages", BASE, &[(0, 7), (0, 2)]).rope());
    out.push(Setup::new("both ways, rope", BOTH_WAYS, &[(0, 7), (0, 33), (0, 2)]).rope());
    // More rows than a page, than a tile, and than a group of pages have; sequences without rows.
    let few = AttentionParams { heads: 2, kv_heads: 1, head_dim: 8, ..BOTH_WAYS };
    let long = [(0, 700), (0, 0), (0, 129), (0, 64), (0, 0)];
    for window in [0, 1, 40, 64, 300] {
        out.push(Setup::new(&format!("both ways, long, window {window}"), AttentionParams { window, ..few }, &long));
    }
    out.extend(paged(dtype::F16));
    out.extend(paged(dtype::F32));
    out.extend(paged(dtype::I8));
    out.extend(coded());
    out.extend([dtype::F16, dtype::I8].map(large));
    out
}

pub(super) fn gradients() -> Vec<Setup> {
    let mut out: Vec<Setup> = [1, 7, 33].into_iter().flat_map(stateless).collect();
    // More rows than kernels take at once; windows of less, about as much and more than that.
    let few = AttentionParams { heads: 2, kv_heads: 1, head_dim: 8, ..BASE };
    let long = [(0, 150), (0, 70), (0, 64)];
    for (bidirectional, name) in [(0, "long"), (1, "both ways, long")] {
        for window in [0, 3, 64, 70] {
            let params = AttentionParams { window, softcap: 4.0, bidirectional, ..few };
            out.push(Setup::new(&format!("{name}, window {window}"), params, &long).sinks());
        }
    }
    out.push(Setup::new("long, plain", AttentionParams { head_dim: 16, ..few }, &[(0, 129)]));
    out
}
