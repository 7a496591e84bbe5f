//! Data that is not finite is found wherever it is (S8).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tern_formats::{BytesSource, Checkpoint, DType, FileSource, FormatError, Problem, Source, TensorInfo};

/// A tensor of `n` elements over `bytes`, from memory and from a file, which is read in pieces.
fn checkpoints(dtype: DType, n: u64, bytes: &[u8]) -> [Checkpoint; 2] {
    let path = std::env::temp_dir().join(format!("tern-finite-{}-{dtype}-{n}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let file: Arc<dyn Source> = Arc::new(FileSource::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let memory: Arc<dyn Source> = Arc::new(BytesSource::new("memory", bytes));
    let len = bytes.len() as u64;
    let info = TensorInfo { name: "t".into(), dtype, shape: [n].into(), file: 0, offset: 0, bytes: len };
    [memory, file].map(|source| Checkpoint::new(vec![info.clone()], vec![source]).unwrap())
}

type Check = fn(&Checkpoint, &TensorInfo) -> Result<(), FormatError>;

/// The element that is named, if any.
fn found(check: Check, dtype: DType, n: u64, bytes: &[u8]) -> Option<u64> {
    let [a, b] = checkpoints(dtype, n, bytes).map(|c| match check(&c, &c.tensors()[0]) {
        Ok(()) => None,
        Err(e) => match *e.problem {
            Problem::NotFinite { element, .. } => Some(element),
            other => unreachable!("{other}"),
        },
    });
    assert_eq!(a, b);
    a
}

#[test]
fn plain_numbers() {
    // More than one piece of a file, and of what is decoded at once.
    let n = 700_001;
    let mut f32s = vec![0u8; 4 * n];
    assert_eq!(found(Checkpoint::check_finite, DType::F32, n as u64, &f32s), None);
    for at in [0, 16_383, 16_384, 262_143, 262_144, n - 1] {
        f32s[4 * at..4 * at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert_eq!(found(Checkpoint::check_finite, DType::F32, n as u64, &f32s), Some(at as u64));
        f32s[4 * at..4 * at + 4].fill(0);
    }
    let one = |dtype, bytes: &[u8]| found(Checkpoint::check_finite, dtype, 1, bytes);
    assert_eq!(one(DType::F32, &f32::NEG_INFINITY.to_le_bytes()), Some(0));
    assert_eq!(one(DType::F16, &0x7c00u16.to_le_bytes()), Some(0));
    assert_eq!(one(DType::F16, &0x7bffu16.to_le_bytes()), None);
    assert_eq!(one(DType::BF16, &0x7fc0u16.to_le_bytes()), Some(0));
    assert_eq!(one(DType::F64, &f64::INFINITY.to_le_bytes()), Some(0));
    assert_eq!(one(DType::F64, &1.5f64.to_le_bytes()), None);
    assert_eq!(one(DType::I32, &[0xff; 4]), None);
}

#[test]
fn scales_of_blocks() {
    let infinity = 0x7c00u16.to_le_bytes();
    for (dtype, at) in [(DType::TQ1_0, 52), (DType::TQ2_0, 64), (DType::Q1_0, 0), (DType::Q2_0, 0), (DType::Q8_0, 0)] {
        let (len, size) = (dtype.block_len(), dtype.block_bytes());
        let blocks = (1 << 20) / size + 3;
        let mut bytes = vec![0; blocks * size];
        let check: [Check; 2] = [Checkpoint::check_finite, Checkpoint::check_scales];
        let all = |bytes: &[u8]| check.map(|check| found(check, dtype, (blocks * len) as u64, bytes));
        assert_eq!(all(&bytes), [None, None], "{dtype}");
        for block in [0, blocks - 1] {
            bytes[block * size + at..][..2].copy_from_slice(&infinity);
            // Only ternary scales are looked at without being asked.
            let scales = (dtype != DType::Q8_0).then_some((block * len) as u64);
            assert_eq!(all(&bytes), [Some((block * len) as u64), scales], "{dtype}");
            bytes[block * size + at..][..2].fill(0);
        }
    }
}

#[test]
fn one_scale_for_all() {
    for dtype in [DType::I2_S, DType::I2_S_ARM] {
        let mut bytes = vec![0; 64 + 32];
        bytes[64..68].copy_from_slice(&1f32.to_le_bytes());
        assert_eq!(found(Checkpoint::check_scales, dtype, 256, &bytes), None);
        for scale in [f32::NAN, f32::INFINITY] {
            bytes[64..68].copy_from_slice(&scale.to_le_bytes());
            assert_eq!(found(Checkpoint::check_scales, dtype, 256, &bytes), Some(0));
            assert_eq!(found(Checkpoint::check_finite, dtype, 256, &bytes), Some(0));
        }
    }
}
