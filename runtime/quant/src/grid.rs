//! What the IQ formats share: codebooks of points, and signs.
//!
//! ```text
//! grid/tables.rs   the points, measured
//! grid/signs.rs    signs
//! grid/search.rs   the nearest point of a codebook
//! grid/sub.rs      coding a sub-block at a given scale
//! grid/fit.rs      encoding a block: all scales
//! ```
//!
//! They code 8 or 4 neighbouring weights together, as an index into a list of points that occur often.

mod fit;
mod search;
mod signs;
mod sub;
mod tables;

pub(crate) use fit::{Format, fit};
pub(crate) use signs::{Signs, even_signs, signed};
pub(crate) use sub::{Code, Sums, search_eights, search_fours, search_shifted};

/// Points with `G` elements, by index. `N` is a power of two.
pub(crate) struct Codebook<const N: usize, const G: usize> {
    points: [[i8; G]; N],
    /// By index, the numbers that the levels of the first and of the second half form.
    halves: [(u8, u8); N],
    /// By the number of the second half, the first index that has it or a greater one; a last entry ends the last.
    starts: [u16; 82],
}

const LEVELS_2: [i8; 3] = [8, 25, 43];

pub(crate) static IQ1_S: Codebook<2048, 8> = Codebook::new(&tables::IQ1_S, &[-1, 0, 1]);
pub(crate) static IQ2_XXS: Codebook<256, 8> = Codebook::new(&tables::IQ2_XXS, &LEVELS_2);
pub(crate) static IQ2_XS: Codebook<512, 8> = Codebook::new(&tables::IQ2_XS, &LEVELS_2);
pub(crate) static IQ2_S: Codebook<1024, 8> = Codebook::new(&tables::IQ2_S, &LEVELS_2);
pub(crate) static IQ3_XXS: Codebook<256, 4> = Codebook::new(&tables::IQ3_XXS, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(crate) static IQ3_S: Codebook<512, 4> = Codebook::new(&tables::IQ3_S, &[1, 3, 5, 7, 9, 11, 13, 15]);

impl<const N: usize, const G: usize> Codebook<N, G> {
    /// Expands a set of points; `tables.rs` says how it is stored.
    const fn new(set: &[u64], levels: &[i8]) -> Self {
        assert!(N.is_power_of_two());
        let mut book = Self { points: [[0; G]; N], halves: [(0, 0); N], starts: [N as u16; 82] };
        let half = levels.len().pow(G as u32 / 2);
        let (mut index, mut number) = (0, 0);
        while number < half * half {
            if number.is_multiple_of(half) {
                book.starts[number / half] = index as u16;
            }
            if set[number / 64] >> (number % 64) & 1 == 1 {
                book.halves[index] = ((number % half) as u8, (number / half) as u8);
                let (mut rest, mut i) = (number, 0);
                while i < G {
                    book.points[index][i] = levels[rest % levels.len()];
                    rest /= levels.len();
                    i += 1;
                }
                index += 1;
            }
            number += 1;
        }
        assert!(index == N);
        book
    }

    /// The point with this index, modulo the number of points.
    #[inline]
    pub(crate) fn point(&self, index: usize) -> [i8; G] {
        self.points[index % N]
    }
}

/// Two points of 4 as one of 8.
#[inline]
pub(crate) fn joined(first: [i8; 4], second: [i8; 4]) -> [i8; 8] {
    core::array::from_fn(|i| if i < 4 { first[i] } else { second[i - 4] })
}

/// Weights from elements of points, all of them moved up or down by 1/8. Exact in `f32`: no order of operations can be observed.
#[inline]
pub(crate) fn shifted<const N: usize>(out: &mut [f32; N], elements: &[i8; N], down: bool, scale: f32) {
    let shift = if down { -0.125 } else { 0.125 };
    for (y, &v) in out.iter_mut().zip(elements) {
        *y = scale * (f32::from(v) + shift);
    }
}
