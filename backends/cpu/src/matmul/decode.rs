//! Tiles of weights as plain floats, row by row: what gradients with respect to an input multiply with.
//!
//! A tile is at most [`TILE_ROWS`] rows of 256 columns, which is a group of every packed format, in slices of 64 columns
//! that follow each other, so that the slice in use stays in a first-level cache. A tile is decoded once for all tokens; the
//! prepared layout is the one that products read.

use super::dense::SLICE;
use super::floats::{self, Element};
use super::kernels::{Kernels, Products};
use super::{Product, Unpacked};
use crate::simd::{LANES, Simd};
use crate::tier::{Tier, tier_fn};
use crate::weight::blocks::with_blocks;
use crate::weight::{BLOCK, Blocks, Format, LONGEST, Matrix, QUAD, ROWS, Scales, group_bytes};
use crate::weight::{has_group_scales, ternary};

/// Rows of a full tile: a slice of them takes 24 KiB.
pub const TILE_ROWS: usize = 96;
/// Columns of a full tile.
pub const TILE_COLUMNS: usize = LONGEST;
/// Elements from one slice of a tile to the next.
pub const SLICE_STRIDE: usize = TILE_ROWS * SLICE;
/// Elements of a full tile.
pub const TILE: usize = TILE_COLUMNS * TILE_ROWS;

/// Blocks of a full tile's row.
const TILE_BLOCKS: usize = TILE_COLUMNS / BLOCK;
/// Halves of them, each with 16 columns and 16 rows.
const HALVES: usize = 2 * TILE_BLOCKS;
/// Bytes of their codes.
const CODES: usize = TILE_BLOCKS * 8 * QUAD;

/// Where a matrix is.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Prepared; of this expert.
    Prepared(&'a Matrix, usize),
    /// Rows of F32 that follow each other.
    Plain(*const f32),
}

/// Decodes weights of one format.
#[derive(Clone, Copy)]
pub struct Decoder {
    columns: usize,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Floats {
        bytes: usize,
        widen: unsafe fn(*const u8, usize, *mut f32),
    },
    Ternary {
        grouped: bool,
        spread: unsafe fn(&Panel),
    },
    Blocks {
        group: usize,
        halves: bool,
        mins: bool,
        offset: u32,
        unpack: unsafe fn(&Product, &Unpacked),
        spread: unsafe fn(&Panel),
    },
}

/// A worker's memory for a panel of a group.
#[repr(C, align(64))]
pub struct Scratch {
    codes: [u8; CODES],
    scales: [f32; HALVES * ROWS],
    mins: [f32; HALVES * ROWS],
}

/// A panel of a group, on its way to rows of floats.
struct Panel {
    /// Packed codes of a ternary group; decoded ones of a block format, one byte each.
    codes: *const u8,
    /// `[block][16]`, or `[block][half][16]`.
    scales: *const f32,
    /// The same for what is added, or null. With halves, part 0 is for all of a block, part 1 for its first half besides.
    mins: *const f32,
    halves: bool,
    /// The code that means zero.
    offset: u32,
    blocks: usize,
    /// Rows that are wanted.
    rows: usize,
    /// The tile's place for the panel's first row.
    out: *mut f32,
}

impl Decoder {
    /// For matrices of this format.
    pub fn new(format: Format, columns: usize, tier: Tier) -> Self {
        let how = match (format, Kernels::of(format, tier).products) {
            (Format::Blocks(format), Products::Blocks { unpack, .. }) => {
                let (group, halves, mins, offset) = with_blocks!(format, |B| (
                    group_bytes::<B>(TILE_BLOCKS),
                    <<B as Blocks>::Scales as Scales>::HALVES,
                    <<B as Blocks>::Scales as Scales>::MINS,
                    B::OFFSET
                ));
                How::Blocks { group, halves, mins, offset, unpack, spread: spread_bytes(tier) }
            }
            (Format::Ternary(dtype), _) => How::Ternary { grouped: has_group_scales(dtype), spread: spread_twos(tier) },
            (Format::F16, _) => How::Floats { bytes: 2, widen: widen_f16(tier) },
            (Format::BF16, _) => How::Floats { bytes: 2, widen: widen_bf16(tier) },
            _ => How::Floats { bytes: 4, widen: widen_f32(tier) },
        };
        Self { columns, how }
    }

    /// Tiles side by side.
    pub fn tiles(&self) -> usize {
        self.columns.div_ceil(TILE_COLUMNS)
    }

    /// Columns of tile `tile`.
    pub fn width(&self, tile: usize) -> usize {
        (self.columns - tile * TILE_COLUMNS).min(TILE_COLUMNS)
    }

    /// Writes rows `first .. first + count` of tile `tile`: row `r` of a slice is at `64 r`. What lies behind the last column in
    /// its vector of 16 is zero.
    ///
    /// # Safety
    /// The rows are there, `first` is a multiple of 16, `count` at most [`TILE_ROWS`]; the matrix has this format and these columns;
    /// `scratch` and `out` are this worker's, the latter with [`TILE`] elements; the tier is available.
    pub unsafe fn tile(
        &self,
        source: Source<'_>,
        (first, count): (usize, usize),
        tile: usize,
        scratch: *mut Scratch,
        out: *mut f32,
    ) {
        let width = self.width(tile);
        let panels = (0..count).step_by(ROWS).map(|r| (first + r, (count - r).min(ROWS), out.wrapping_add(r * SLICE)));
        // SAFETY: panels and rows of the matrix, places of the tile; what is read of the scratch was written before.
        unsafe {
            let to = Unpacked {
                codes: (&raw mut (*scratch).codes).cast(),
                scales: (&raw mut (*scratch).scales).cast(),
                mins: (&raw mut (*scratch).mins).cast(),
            };
            match (self.how, source) {
                (How::Floats { bytes, widen }, source) => {
                    for r in 0..count {
                        let row = match source {
                            Source::Prepared(matrix, expert) => matrix.panel(expert, first + r),
                            Source::Plain(rows) => rows.add((first + r) * self.columns).cast(),
                        };
                        widen(row.add(tile * TILE_COLUMNS * bytes), width, out.add(r * SLICE));
                    }
                }
                (How::Ternary { grouped, spread }, Source::Prepared(matrix, expert)) => {
                    for (row, rows, out) in panels {
                        let panel = matrix.panel(expert, row / ROWS);
                        let codes = panel.add(tile * ternary::group_bytes(grouped));
                        for i in 0..ROWS {
                            let scale = if grouped {
                                let at = codes.add(ternary::GROUP_BYTES).cast::<u16>().add(i);
                                tern_quant::f16_to_f32(at.read_unaligned())
                            } else {
                                let groups = self.columns.div_ceil(TILE_COLUMNS) * ternary::group_bytes(false);
                                panel.add(groups).cast::<f32>().add(i).read_unaligned()
                            };
                            for block in 0..TILE_BLOCKS {
                                to.scales.add(block * ROWS + i).write(scale);
                            }
                        }
                        spread(&Panel {
                            codes,
                            scales: to.scales,
                            mins: std::ptr::null(),
                            halves: false,
                            offset: 1,
                            blocks: width.div_ceil(BLOCK),
                            rows,
                            out,
                        });
                    }
                }
                (How::Blocks { group, halves, mins, offset, unpack, spread }, Source::Prepared(matrix, expert)) => {
                    for (row, rows, out) in panels {
                        unpack(
                            &Product {
                                w: matrix.panel(expert, row / ROWS).add(tile * group),
                                panel_bytes: 0,
                                panels: 1,
                                columns: width,
                                x: std::ptr::null(),
                                tokens: 0,
                                y: std::ptr::null_mut(),
                            },
                            &to,
                        );
                        let mins = if mins { to.mins.cast_const() } else { std::ptr::null() };
                        let (codes, scales, blocks) = (to.codes.cast_const(), to.scales.cast_const(), width / BLOCK);
                        spread(&Panel { codes, scales, mins, halves, offset, blocks, rows, out });
                    }
                }
                // Only floats are ever plain.
                (How::Ternary { .. } | How::Blocks { .. }, Source::Plain(_)) => {}
            }
        }
    }
}

/// `word - offset`, byte by byte modulo 256; bytes of `word` are codes, `offset` is 128 or all of them are below 128.
#[inline(always)]
fn less(word: u32, offset: u32) -> u32 {
    const HIGH: u32 = 0x8080_8080;
    if offset == 128 { word ^ HIGH } else { ((word | HIGH) - offset * 0x0101_0101) ^ HIGH }
}

/// Rows of a panel as floats. `word(block, quad, row)` has four codes of a row.
#[inline(always)]
unsafe fn spread<S: Simd>(p: &Panel, word: impl Fn(usize, usize, usize) -> u32) {
    let mut codes = [[0u32; BLOCK / 4]; ROWS];
    for block in 0..p.blocks {
        // First all codes, then all floats: what was stored in words is read in vectors.
        for quad in 0..BLOCK / 4 {
            for (row, codes) in codes.iter_mut().enumerate() {
                codes[quad] = less(word(block, quad, row), p.offset);
            }
        }
        let out = p.out.wrapping_add(block / 2 * SLICE_STRIDE + block % 2 * BLOCK);
        for half in 0..2 {
            // SAFETY: scales and minima of the block; sixteen codes of a row; places of the tile.
            unsafe {
                let at = if p.halves { 2 * block + half } else { block } * ROWS;
                for (row, codes) in codes.iter().enumerate().take(p.rows) {
                    let level = S::load_i8(codes.as_ptr().cast::<i8>().add(16 * half));
                    let mut y = S::mul(S::splat(*p.scales.add(at + row)), level);
                    if !p.mins.is_null() {
                        let min = match (p.halves, half) {
                            (false, _) => *p.mins.add(at + row),
                            (true, 0) => *p.mins.add(at + row) + *p.mins.add(at + ROWS + row),
                            (true, _) => *p.mins.add(at - ROWS + row),
                        };
                        y = S::add(y, S::splat(min));
                    }
                    S::store(out.add(row * SLICE + 16 * half), y);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn bytes<S: Simd>(p: &Panel) {
    // SAFETY: quads of the panel's blocks.
    unsafe {
        spread::<S>(p, |block, quad, row| {
            p.codes.add((8 * block + quad) * QUAD + 4 * row).cast::<u32>().read_unaligned()
        })
    }
}

#[inline(always)]
unsafe fn twos<S: Simd>(p: &Panel) {
    // SAFETY: vectors of the panel's group, four quads in the bits of each.
    unsafe {
        spread::<S>(p, |block, quad, row| {
            let vector = p.codes.add((2 * block + quad / 4) * QUAD + 4 * row).cast::<u32>();
            vector.read_unaligned() >> (2 * (quad % 4)) & 0x0303_0303
        });
    }
}

/// `n` elements as floats, in slices.
#[inline(always)]
unsafe fn widen<S: Simd, E: Element>(from: *const u8, n: usize, out: *mut f32) {
    for i in (0..n).step_by(LANES) {
        // SAFETY: elements below `n`, places of the tile.
        unsafe {
            let from = from.add(i * E::BYTES);
            let x = if i + LANES <= n { E::load::<S>(from) } else { E::load_n::<S>(from, n - i) };
            S::store(out.add(i / SLICE * SLICE_STRIDE + i % SLICE), x);
        }
    }
}
#[inline(always)]
unsafe fn single<S: Simd>(from: *const u8, n: usize, out: *mut f32) {
    // SAFETY: passed on.
    unsafe { widen::<S, floats::F32>(from, n, out) }
}
#[inline(always)]
unsafe fn half<S: Simd>(from: *const u8, n: usize, out: *mut f32) {
    // SAFETY: passed on.
    unsafe { widen::<S, floats::F16>(from, n, out) }
}
#[inline(always)]
unsafe fn upper<S: Simd>(from: *const u8, n: usize, out: *mut f32) {
    // SAFETY: passed on.
    unsafe { widen::<S, floats::BF16>(from, n, out) }
}

tier_fn! {
    fn spread_bytes(p: &Panel) = bytes;
    fn spread_twos(p: &Panel) = twos;
    fn widen_f32(from: *const u8, n: usize, out: *mut f32) = single;
    fn widen_f16(from: *const u8, n: usize, out: *mut f32) = half;
    fn widen_bf16(from: *const u8, n: usize, out: *mut f32) = upper;
}
