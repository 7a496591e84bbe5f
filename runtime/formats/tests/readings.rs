//! Type ids that projects give different meanings: told apart by sizes, or refused with every meaning named.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use common::{RawGguf, kv, source, string, tensor};
use tern_formats::gguf::{Header, ReadOptions};
use tern_formats::{DType, FormatError, I2sOrder, Project};

/// Tensors of one id one after the other, each with its shape (innermost first) and its bytes.
fn file(id: u32, tensors: &[(&[u64], u64)], architecture: &str) -> Vec<u8> {
    let mut offset = 0;
    let mut infos = Vec::new();
    for (i, (dims, bytes)) in tensors.iter().enumerate() {
        infos.push(tensor(format!("t{i}"), dims, id, offset));
        offset = (offset + bytes).next_multiple_of(32);
    }
    let keys = vec![kv("general.architecture", 8, string(architecture))];
    RawGguf { keys, tensors: infos, data: offset as usize, ..RawGguf::default() }.bytes()
}

fn read_with(bytes: Vec<u8>, options: ReadOptions) -> Result<Vec<DType>, FormatError> {
    let header = Header::read_with(&source(bytes), options)?;
    Ok(header.tensors.iter().map(|t| t.dtype).collect())
}

fn read(bytes: Vec<u8>) -> Result<Vec<DType>, FormatError> {
    read_with(bytes, ReadOptions::default())
}

const NO_OPTIONS: ReadOptions = ReadOptions { allow_trailing: false, i2_s_order: None, ids_of: None };

#[test]
fn sizes_decide() {
    let mxfp4 = file(39, &[(&[256, 4], 1024 / 32 * 17), (&[64], 34)], "test");
    assert_eq!(read(mxfp4).unwrap(), [DType::MXFP4; 2]);
    let q2_0 = file(42, &[(&[256, 16], 4096 / 64 * 18)], "test");
    assert_eq!(read(q2_0).unwrap(), [DType::Q2_0]);
    // One block is padded to the same size in both readings; the tensor beside it decides for both.
    let beside = file(42, &[(&[128], 36), (&[256, 16], 4096 / 64 * 18)], "test");
    assert_eq!(read(beside).unwrap(), [DType::Q2_0; 2]);
    // 192 is no multiple of 128, so I2_S can only be of ARM.
    let arm = file(36, &[(&[192, 4], 192 + 32), (&[256], 96)], "bitnet");
    assert_eq!(read(arm).unwrap(), [DType::I2_S_ARM; 2]);
    let last_and_more = [file(39, &[(&[256, 4], 544)], "test"), vec![0; 5000]].concat();
    assert_eq!(read_with(last_and_more, ReadOptions { allow_trailing: true, ..NO_OPTIONS }).unwrap(), [DType::MXFP4]);
}

#[test]
fn what_nothing_decides_is_refused_with_every_reading() {
    let i2_s = || file(36, &[(&[256, 4], 256 + 32)], "bitnet");
    let small = || file(42, &[(&[128], 36)], "test");
    rejects! { read;
        "the order of I2_S", i2_s() => AmbiguousDtype { id: 36, .. },
        "one small block", small() => AmbiguousDtype { id: 42, .. },
        "older Q2_0", file(42, &[(&[256, 16], 4096 / 128 * 34)], "test") => UnsupportedDtype { .. },
        "TL2", file(39, &[(&[256, 4], 224), (&[256, 4], 224)], "bitnet") => UnsupportedDtype { .. },
        "TL1", file(38, &[(&[256, 4], 288), (&[256, 4], 288)], "bitnet") => UnsupportedDtype { .. },
        "I8_S", file(37, &[(&[256, 4], 1028)], "bitnet") => UnsupportedDtype { .. },
        "removed IQ4_NL_4_4", file(36, &[(&[256, 4], 576)], "test") => RemovedDtype { found: 36, .. },
        "removed IQ4_NL_8_8", file(38, &[(&[256, 4], 576)], "test") => RemovedDtype { found: 38, .. },
        "no size of 36", file(36, &[(&[256, 4], 800)], "test") => NoReading { found: 800, elements: 1024, .. },
        "no size of 42", file(42, &[(&[256, 4], 32), (&[256, 4], 32)], "test") => NoReading { .. },
        "two sizes that contradict", file(42, &[(&[256, 16], 1152), (&[256, 16], 1088), (&[256, 16], 1152)], "test") => NoReading { .. },
        "two in one place", RawGguf::with(|f| f.tensors = vec![tensor("a", &[32], 39, 0), tensor("b", &[32], 39, 0)]) => UnsupportedDtype { .. },
        "half a block", file(39, &[(&[16, 2], 17)], "test") => PartialBlock { found: 16, .. },
        "a dimension of 0", file(42, &[(&[0], 0)], "test") => Dimension { .. },
        "a product that overflows", file(42, &[(&[1 << 40, 1 << 40], 0)], "test") => ShapeOverflow { .. },
        "a cut file", { let mut f = file(39, &[(&[256, 4], 544), (&[256, 4], 544)], "test"); f.truncate(f.len() - 32); f } => OutOfFile { .. },
        "a cut file with one tensor", { let mut f = file(39, &[(&[256, 4], 544)], "test"); f.truncate(f.len() - 32); f } => OutOfFile { .. },
    }
    let message = read(small()).unwrap_err().to_string();
    assert!(message.contains("Q2_0 of ggml or Q2_0 in groups of 128 of PrismML"), "{message}");
    let message = read(i2_s()).unwrap_err().to_string();
    assert!(message.contains("x86") && message.contains("ARM") && message.contains("order"), "{message}");
}

#[test]
fn options_settle_it() {
    let i2_s = |rows: u64| file(36, &[(&[rows, 4], rows + 32)], "bitnet");
    let with = |bytes, order| read_with(bytes, ReadOptions { i2_s_order: Some(order), ..NO_OPTIONS });
    assert_eq!(with(i2_s(256), I2sOrder::X86).unwrap(), [DType::I2_S]);
    assert_eq!(with(i2_s(256), I2sOrder::Arm).unwrap(), [DType::I2_S_ARM]);
    let of = |bytes, project| read_with(bytes, ReadOptions { ids_of: Some(project), ..NO_OPTIONS });
    assert_eq!(of(file(42, &[(&[128], 36)], "test"), Project::Ggml).unwrap(), [DType::Q2_0]);
    rejects! { |r: Result<_, _>| r;
        "an order that shapes rule out", with(i2_s(192), I2sOrder::X86) => PartialBlock { .. },
        "an owner that sizes rule out", of(file(39, &[(&[256, 4], 224), (&[256, 4], 640)], "bitnet"), Project::Ggml) => Overlap { .. },
        "an owner whose type is not read", of(file(42, &[(&[128], 34)], "test"), Project::PrismLegacy) => UnsupportedDtype { .. },
    }
}

#[test]
fn an_architecture_decides_between_sizes_that_both_fit() {
    // With an alignment of 64 KiB nearly all sizes fit.
    let wide = |architecture| {
        let keys = vec![
            kv("general.architecture", 8, string(architecture)),
            kv("general.alignment", 4, 65536u32.to_le_bytes()),
        ];
        let tensors = vec![tensor("t", &[192, 4], 36, 0)];
        RawGguf { keys, tensors, alignment: 65536, data: 65536, ..RawGguf::default() }.bytes()
    };
    assert_eq!(read(wide("bitnet-b1.58")).unwrap(), [DType::I2_S_ARM]);
    rejects! { read; "another architecture", wide("llama") => AmbiguousDtype { .. }, }
}
