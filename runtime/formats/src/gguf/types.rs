//! ggml's type ids: which are read, which exist but are not read yet, which were removed.

use tern_quant::DType;

/// What a type id in a GGUF file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgmlType {
    /// A dtype that is read.
    Known(DType),
    /// A dtype of ggml that has no [`DType`] yet.
    Unsupported(&'static str),
    /// An id whose dtype ggml removed.
    Removed(&'static str),
    /// An id that ggml never defined, as of the version this table follows.
    Unknown,
}

/// Looks up a type id. Ids 36 to 38 are ggml's removed ones here, although a fork of it wrote its own
/// ternary types under the same numbers: the file alone cannot tell them apart.
pub fn ggml_type(code: u32) -> GgmlType {
    if let Some(dtype) = DType::from_ggml_code(code) {
        return GgmlType::Known(dtype);
    }
    match code {
        4 => GgmlType::Removed("Q4_2"),
        5 => GgmlType::Removed("Q4_3"),
        7 => GgmlType::Unsupported("Q5_1"),
        9 => GgmlType::Unsupported("Q8_1"),
        10 => GgmlType::Unsupported("Q2_K"),
        11 => GgmlType::Unsupported("Q3_K"),
        13 => GgmlType::Unsupported("Q5_K"),
        15 => GgmlType::Unsupported("Q8_K"),
        16 => GgmlType::Unsupported("IQ2_XXS"),
        17 => GgmlType::Unsupported("IQ2_XS"),
        18 => GgmlType::Unsupported("IQ3_XXS"),
        19 => GgmlType::Unsupported("IQ1_S"),
        20 => GgmlType::Unsupported("IQ4_NL"),
        21 => GgmlType::Unsupported("IQ3_S"),
        22 => GgmlType::Unsupported("IQ2_S"),
        23 => GgmlType::Unsupported("IQ4_XS"),
        29 => GgmlType::Unsupported("IQ1_M"),
        31 => GgmlType::Removed("Q4_0_4_4"),
        32 => GgmlType::Removed("Q4_0_4_8"),
        33 => GgmlType::Removed("Q4_0_8_8"),
        34 => GgmlType::Unsupported("TQ1_0"),
        35 => GgmlType::Unsupported("TQ2_0"),
        36 => GgmlType::Removed("IQ4_NL_4_4"),
        37 => GgmlType::Removed("IQ4_NL_4_8"),
        38 => GgmlType::Removed("IQ4_NL_8_8"),
        39 => GgmlType::Unsupported("MXFP4"),
        40 => GgmlType::Unsupported("NVFP4"),
        41 => GgmlType::Unsupported("Q1_0"),
        42 => GgmlType::Unsupported("Q2_0"),
        _ => GgmlType::Unknown,
    }
}

/// The names of the dtypes that are read, for error messages.
pub(super) fn supported() -> String {
    let names: Vec<&str> = DType::ALL.iter().filter(|d| d.ggml_code().is_some()).map(|d| d.name()).collect();
    names.join(" ")
}
