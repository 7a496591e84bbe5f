//! Ids with several meanings: the table is consistent, sizes tell readings apart, orders are weighed.

use tern_quant::collisions::{READINGS, readings};
use tern_quant::i2_s::{Evidence, Order, Verdict, invalid_code, weigh};
use tern_quant::{DType, FIRST_OWN_CODE};

#[test]
fn every_listed_id_has_several_readings_and_sizes_that_agree_with_the_dtype() {
    assert!(READINGS.is_sorted_by_key(|r| r.id));
    for r in READINGS {
        assert!(r.id < FIRST_OWN_CODE && readings(r.id).count() > 1, "{r:?}");
        for dtype in r.dtypes {
            assert_eq!(r.bytes(1280), dtype.tensor_bytes(1280), "{r:?}");
        }
    }
    assert_eq!(readings(DType::Q4_0.code()).count(), 0);
}

#[test]
fn the_size_tells_most_readings_apart() {
    let sizes = |id| readings(id).map(|r| r.bytes(2560 * 64)).collect::<Vec<_>>();
    assert_eq!(sizes(36), [Some(92160), Some(40992)]);
    assert_eq!(sizes(39), [Some(87040), None]);
    assert_eq!(sizes(42), [Some(46080), Some(43520)]);
    assert_eq!(readings(42).next().and_then(|r| r.bytes(65)), None);
}

#[test]
fn only_what_rules_an_order_out_decides() {
    let tensor = |row_len| Evidence { row_len, codes: &[0b00_01_10_00; 16] };
    assert_eq!(weigh([]), Verdict::Undecided);
    assert_eq!(weigh([tensor(2560), tensor(6912)]), Verdict::Undecided);
    assert_eq!(weigh([tensor(2560), tensor(192)]), Verdict::Arm);
    assert_eq!(weigh([tensor(192), tensor(100)]), Verdict::Undecided);
    let broken = Evidence { row_len: 192, codes: &[0b00_01_10_00, 0b00_11_00_00] };
    assert_eq!(weigh([tensor(192), broken]), Verdict::Undecided);
    assert_eq!((Order::X86.dtype(), Order::Arm.dtype()), (DType::I2_S, DType::I2_S_ARM));
    assert_eq!((Order::X86.block_len(), Order::Arm.block_len()), (128, 64));
}

#[test]
fn code_three_is_found_in_every_place() {
    for place in 0..4 {
        assert_eq!(invalid_code(&[0b10_10_10_10, 3 << (2 * place)]), Some(1));
    }
    // Neighbouring codes 1 and 2 give set bits side by side without a code 3.
    assert_eq!(invalid_code(&[0b01_10_01_10, 0b10_01_10_01, 0]), None);
}
