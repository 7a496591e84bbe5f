//! Blocks of weights: any bytes decode, and what decodes to finite numbers encodes again.

use tern_quant::{DType, QuantError, dequantize, quantize};

use crate::bytes::Choices;

/// One case.
pub fn case(data: &[u8]) {
    let mut c = Choices::new(data);
    let dtype = *c.pick(DType::ALL);
    let blocks = 1 + c.below(2);
    let elements = blocks * dtype.block_len();
    let size = size(dtype, elements);
    let bytes = c.bytes(size);
    let mut values = vec![0.0f32; elements];
    match dequantize(dtype, &bytes, &mut values) {
        Ok(()) => {}
        Err(QuantError::Unsupported { .. }) => return,
        Err(error) => panic!("{dtype}: {error}"),
    }
    assert!(dequantize(dtype, &bytes[1..], &mut values).is_err(), "{dtype}: a byte short");
    // One set of numbers a case: encoders that search codebooks take milliseconds a block.
    match c.below(3) {
        0 => {}
        1 => values.fill_with(|| f32::from_bits(c.number())),
        _ => values.fill_with(|| f32::from(c.number::<i8>()) / 16.0),
    }
    encode(dtype, &values);
}

/// Bytes of a tensor, with what some types have behind their blocks.
fn size(dtype: DType, elements: usize) -> usize {
    dtype.tensor_bytes(elements as u64).expect("whole blocks") as usize
}

fn encode(dtype: DType, values: &[f32]) {
    let mut bytes = vec![0; size(dtype, values.len())];
    if quantize(dtype, values, &mut bytes).is_err() {
        return;
    }
    let mut back = vec![f32::NAN; values.len()];
    dequantize(dtype, &bytes, &mut back).expect("what was encoded decodes");
    if dtype.is_quantized() {
        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(back.iter().all(|v| v.is_finite()), "{dtype}: {largest} became infinite");
    }
    let mut again = vec![0; bytes.len()];
    quantize(dtype, values, &mut again).expect("the same values");
    assert_eq!(bytes, again, "{dtype}: the same values, other bytes");
}
