//! Importance matrices in files, good ones and others.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use tern_convert::ConvertError;
use tern_convert::imatrix::{Entry, Imatrix};
use tern_formats::BytesSource;

fn read(bytes: Vec<u8>) -> Result<Imatrix, ConvertError> {
    Imatrix::from_source(Arc::new(BytesSource::new("test", bytes)))
}

fn sample() -> Imatrix {
    let entry = |sums: &[f32], counts: &[f32]| Entry { sums: sums.to_vec(), counts: counts.to_vec() };
    Imatrix {
        entries: BTreeMap::from([
            ("blk.0.attn_q.weight".into(), entry(&[1.0, 0.0, 2.5], &[4.0])),
            ("blk.0.ffn_up_exps.weight".into(), entry(&[1.0, 2.0, 0.0, 0.0], &[3.0, 0.0])),
        ]),
        datasets: vec!["a.txt".into()],
        chunks: 3,
        chunk_size: 512,
    }
}

fn legacy() -> Vec<u8> {
    let mut bytes = Vec::new();
    let int = |b: &mut Vec<u8>, n: i32| b.extend(n.to_le_bytes());
    int(&mut bytes, 1);
    int(&mut bytes, 4);
    bytes.extend(b"w.we");
    int(&mut bytes, 2);
    int(&mut bytes, 3);
    [1.0f32, 4.0, 0.0].iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    int(&mut bytes, 7);
    int(&mut bytes, 5);
    bytes.extend(b"a.txt");
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    sample().write(&path, false).unwrap();
    assert_eq!(Imatrix::read(&path).unwrap(), sample());
    assert!(matches!(sample().write(&path, false), Err(ConvertError::Exists { .. })));
}

#[test]
fn the_old_format_is_read() {
    let m = read(legacy()).unwrap();
    assert_eq!(m.get("w.we").unwrap().means(), [0.5, 2.0, 0.0]);
    assert_eq!((m.chunks, &*m.datasets), (7, &["a.txt".to_owned()][..]));
}

#[test]
fn every_truncation_and_every_changed_byte_ends_in_a_value_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    sample().write(&path, false).unwrap();
    for whole in [legacy(), std::fs::read(path).unwrap()] {
        // The oldest files end before the name of the text.
        let oldest = whole.len() - 13;
        // Padding after the last tensor may be missing.
        let end = if whole.starts_with(b"GGUF") { whole.len() - 32 } else { whole.len() };
        for len in 0..end {
            let cut = read(whole[..len].to_vec());
            assert!(cut.is_err() || (len == oldest && whole == legacy()), "{len}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                if let Ok(m) = read(changed) {
                    let fine =
                        |e: &Entry| e.sums.len().is_multiple_of(e.counts.len()) && e.means().len() == e.sums.len();
                    assert!(m.entries.values().all(fine), "{at} {value}");
                }
            }
        }
    }
}

#[test]
fn numbers_that_are_no_sums_of_squares_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let mut bytes = legacy();
        bytes[20..24].copy_from_slice(&bad.to_le_bytes());
        assert!(matches!(read(bytes), Err(ConvertError::Imatrix { .. })), "{bad}");
    }
}
