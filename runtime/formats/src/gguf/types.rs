//! ggml's type ids: which are read, which exist but are not read, which were removed.

use tern_quant::DType;
use tern_quant::collisions::readings;

/// What a type id in a GGUF file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgmlType {
    /// A dtype that is read.
    Known(DType),
    /// A dtype of ggml that has no [`DType`]: it only ever holds activations.
    Unsupported(&'static str),
    /// An id whose dtype ggml removed.
    Removed(&'static str),
    /// An id that projects give different meanings; the rest of a file tells which (see [`tern_quant::collisions`]).
    Contested,
    /// An id that ggml never defined, as of the version this table follows.
    Unknown,
}

/// Looks up a type id.
pub fn ggml_type(code: u32) -> GgmlType {
    if readings(code).next().is_some() {
        return GgmlType::Contested;
    }
    if let Some(dtype) = DType::from_ggml_code(code) {
        return GgmlType::Known(dtype);
    }
    match code {
        4 => GgmlType::Removed("Q4_2"),
        5 => GgmlType::Removed("Q4_3"),
        9 => GgmlType::Unsupported("Q8_1"),
        31 => GgmlType::Removed("Q4_0_4_4"),
        32 => GgmlType::Removed("Q4_0_4_8"),
        33 => GgmlType::Removed("Q4_0_8_8"),
        _ => GgmlType::Unknown,
    }
}

/// The names of the dtypes that are read, for error messages.
pub(super) fn supported() -> String {
    let names: Vec<&str> = DType::ALL.iter().filter(|d| d.ggml_code().is_some()).map(|d| d.name()).collect();
    names.join(" ")
}
