//! What the IQ formats share: codebooks of points, and signs.
//!
//! They code 8 or 4 neighbouring weights together, as an index into a list of points that occur often.

mod tables;

/// Points with `G` elements, by index. `N` is a power of two.
pub(crate) struct Codebook<const N: usize, const G: usize> {
    points: [[i8; G]; N],
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
        let mut book = Self { points: [[0; G]; N] };
        let (mut index, mut number) = (0, 0);
        while number < levels.len().pow(G as u32) {
            if set[number / 64] >> (number % 64) & 1 == 1 {
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

/// By a byte of signs: all ones for the elements whose bit is set.
static MASKS: [[i8; 8]; 256] = {
    let mut masks = [[0; 8]; 256];
    let mut i = 0;
    while i < 256 * 8 {
        masks[i / 8][i % 8] = -(((i / 8) >> (i % 8) & 1) as i8);
        i += 1;
    }
    masks
};

/// The elements of a point, negative where the bit of `signs` is set.
#[inline]
pub(crate) fn signed(point: [i8; 8], signs: u8) -> [i8; 8] {
    let mask = MASKS[usize::from(signs)];
    core::array::from_fn(|i| (point[i] ^ mask[i]).wrapping_sub(mask[i]))
}

/// Eight signs from the seven that are stored: their number of minuses is even.
#[inline]
pub(crate) fn even_signs(seven: u8) -> u8 {
    let seven = seven & 127;
    seven | ((seven.count_ones() & 1) as u8) << 7
}

/// Two points of 4 as one of 8.
#[inline]
pub(crate) fn joined(first: [i8; 4], second: [i8; 4]) -> [i8; 8] {
    core::array::from_fn(|i| if i < 4 { first[i] } else { second[i - 4] })
}

/// Weights from the elements of a point. Products are exact in `f32`: no order of operations can be observed.
#[inline]
pub(crate) fn scaled(out: &mut [f32; 8], elements: [i8; 8], scale: f32) {
    for (y, v) in out.iter_mut().zip(elements) {
        *y = scale * f32::from(v);
    }
}

/// Weights from the elements of a point, all of them moved up or down by 1/8. Exact in `f32` like [`scaled`].
#[inline]
pub(crate) fn shifted(out: &mut [f32; 8], elements: [i8; 8], down: bool, scale: f32) {
    let shift = if down { -0.125 } else { 0.125 };
    for (y, v) in out.iter_mut().zip(elements) {
        *y = scale * (f32::from(v) + shift);
    }
}
