//! Signs, which most of the formats keep apart from the points.

/// How a format stores the signs of eight weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signs {
    /// Not at all: the points have them.
    InPoints,
    /// A bit for each.
    Free,
    /// Seven bits; the number of minuses is even.
    Even,
}

/// Eight signs from the seven that are stored when the number of minuses is even.
#[inline]
pub(crate) fn even_signs(seven: u8) -> u8 {
    let seven = seven & 127;
    seven | ((seven.count_ones() & 1) as u8) << 7
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

/// Takes the signs off eight weights. Where they must be even and are not, the weight that loses least
/// gets the wrong one: it is left negative, so that the search knows.
pub(crate) fn split(x: &mut [f32; 8], w: &[f32; 8], signs: Signs) -> u8 {
    let mut bits = 0;
    if signs == Signs::InPoints {
        return bits;
    }
    for (i, x) in x.iter_mut().enumerate() {
        bits |= u8::from(*x < 0.0) << i;
        *x = x.abs();
    }
    if signs == Signs::Even && bits.count_ones() % 2 == 1 {
        // The smallest level with the wrong sign instead of the right one: w (x + l)² - w (x - l)² = 4 l w x.
        let least = (1..8).fold(0, |least, i| if w[i] * x[i] < w[least] * x[least] { i } else { least });
        bits ^= 1 << least;
        x[least] = -x[least];
    }
    bits
}
