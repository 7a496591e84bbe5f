//! Tables of values that codes stand for.

/// At most sixteen distinct ascending integers, with the nearest of them to every multiple of 1/2 from -128 to 127.5.
///
/// Searches ask for the nearest value all the time. Middles between integers are multiples of 1/2, so
/// looking up the half that a number lies in is exact, and costs the same for every number.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    values: [f32; CELLS],
    places: [u8; CELLS],
}

/// Cells of width 1/2, numbered from 0 upwards and, below 0, from the end: in two's complement.
const CELLS: usize = 512;

impl Levels {
    /// The table of `levels`, which ascend.
    pub(crate) const fn new<const N: usize>(levels: &[i8; N]) -> Self {
        let (mut values, mut places) = ([0.0; CELLS], [0; CELLS]);
        let mut cell = 0;
        while cell < CELLS {
            // In quarters, the cell's middle; a level q is nearer than the one before, p, beyond 2(p + q).
            let middle = if cell < CELLS / 2 { 2 * cell as i32 + 1 } else { 2 * (cell as i32 - CELLS as i32) + 1 };
            let mut place = 0;
            while place + 1 < N && middle > 2 * (levels[place] as i32 + levels[place + 1] as i32) {
                place += 1;
            }
            values[cell] = levels[place] as f32;
            places[cell] = place as u8;
            cell += 1;
        }
        Self { values, places }
    }

    /// The nearest value; any one for NaN.
    #[inline]
    pub(crate) fn nearest(&self, x: f32) -> f32 {
        self.values[cell(x)]
    }

    /// The place of the nearest value in the table.
    #[inline]
    pub(crate) fn place(&self, x: f32) -> u8 {
        self.places[cell(x)]
    }
}

/// The cell that a number lies in, at its end for numbers beyond.
#[inline]
fn cell(x: f32) -> usize {
    // Adding 1.5 * 2^23 rounds, and leaves the integer in the lowest bits.
    let rounded = (2.0 * x.clamp(-127.5, 127.5) - 0.5) + 12_582_912.0;
    rounded.to_bits() as usize % CELLS
}

#[cfg(test)]
mod tests {
    use super::Levels;

    #[test]
    fn no_value_is_nearer() {
        let levels = [-127, -104, -10, 1, 13, 113i8];
        let table = Levels::new(&levels);
        for i in -20_000..20_000 {
            let x = i as f32 / 128.0;
            let least = levels.iter().map(|&l| (x - f32::from(l)).abs()).fold(f32::MAX, f32::min);
            assert_eq!((x - table.nearest(x)).abs(), least, "{x}");
            assert_eq!(f32::from(levels[usize::from(table.place(x))]), table.nearest(x));
        }
        assert!(levels.contains(&(table.nearest(f32::NAN) as i8)));
        assert_eq!(table.nearest(f32::INFINITY), 113.0);
    }
}
