//! QUANTIZE_TOKENS: rows rounded to 8 bits, as the model itself was trained.

use super::Operation;
use crate::{Args, Meta, Output, Real, Result, Signature};

/// [`QUANTIZE_TOKENS`](tern_abi::ops::QUANTIZE_TOKENS).
#[derive(Clone, Copy, Debug)]
pub struct QuantizeTokens;

/// A row rounded. The derivative is 1.
pub(crate) fn quantized<R: Real>(row: &[R]) -> Vec<R> {
    let top = row.iter().fold(R::zero(), |m, x| if x.value().abs() > m.value() { R::of(x.value().abs()) } else { m });
    if top.value() == 0.0 {
        return row.to_vec();
    }
    let codes = R::of(127.0);
    // Both in the precision of the row. The step is one that a row of its multiples has, too.
    let (inverse, step) = (codes / top, codes * (top / codes) / codes);
    let rounded = |x: &R| R::of((R::of(x.value()) * inverse).value().round_ties_even()) * step;
    row.iter().map(|x| x.straight_through(rounded(x).value())).collect()
}

impl Operation for QuantizeTokens {
    const NAME: &'static str = "QUANTIZE_TOKENS";

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
    fn differentiable(&self, _i: usize) -> bool {
        false
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        Ok(vec![s.out(s.any_real(0, "x")?)])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let width = x.need(0)?.shape.last().copied().unwrap_or(1);
        Ok(vec![Output::Real(x.real(0)?.chunks(width.max(1)).flat_map(quantized).collect())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::forward;
    use crate::{Kernel, Value};

    fn round<R: Real>(row: &[R]) -> Vec<f64> {
        quantized(row).into_iter().map(R::value).collect()
    }

    #[test]
    fn by_hand() {
        let x = Value::real(&[2, 3], vec![-254.0, 3.0, 5.1, 0.0, 0.0, 0.0]);
        // The step is 2, and 1.5 of it goes to the even 2.
        assert_eq!(
            forward(&Kernel::QuantizeTokens(QuantizeTokens), &[Some(x)]).unwrap()[0],
            [-254.0, 4.0, 6.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn a_second_time_changes_nothing() {
        // Every last bit of the largest, some of which 127 does not divide back to itself.
        for i in 0..50_000u32 {
            let top = f32::from_bits(0x3f80_0000 + i * 167);
            let row: Vec<f32> = [1.0, -0.73, 0.501, 0.12, 0.004].iter().map(|x| x * top).collect();
            let once: Vec<f32> = round(&row).into_iter().map(|x| x as f32).collect();
            let twice: Vec<f32> = round(&once).into_iter().map(|x| x as f32).collect();
            assert_eq!(
                once.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                twice.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                "{top}"
            );
        }
    }

    #[test]
    fn the_gradient_goes_straight_through() {
        let tape = crate::Tape::new();
        let row = [tape.leaf(1.0), tape.leaf(0.4)];
        let y = quantized(&row)[1];
        let adjoints = tape.adjoints([(y, 3.0)]);
        assert_eq!((adjoints.of(row[0]), adjoints.of(row[1])), (0.0, 3.0));
    }
}
