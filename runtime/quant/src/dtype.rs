//! The table of element types: one row each, nothing about a type's size is written anywhere else.

use core::fmt;
use core::str::FromStr;

/// First code that is ours. Codes below are ggml type ids as GGUF files carry them; a GGUF reader
/// must not accept codes from here on, because no GGUF writer defines them.
pub const FIRST_OWN_CODE: u32 = 0x1000;

macro_rules! dtypes {
    ($( $(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $len:literal per $bytes:literal, $kind:ident; )*) => {
        /// How the elements of a tensor are stored.
        ///
        /// The discriminant is the stable code, which the plugin ABI and the files share: ggml's type
        /// id below [`FIRST_OWN_CODE`], our own from there on.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[allow(non_camel_case_types)] // The names are those of the file formats: Q4_K, not Q4K.
        pub enum DType {
            $( $(#[$doc])* $name = $code, )*
        }

        impl DType {
            /// Every dtype, in order of code.
            pub const ALL: &'static [DType] = &[ $( DType::$name, )* ];

            /// The dtype with this code, or `None` where this version knows none.
            pub const fn from_code(code: u32) -> Option<DType> {
                match code {
                    $( $code => Some(DType::$name), )*
                    _ => None,
                }
            }

            /// The name as the formats write it, for example `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $( DType::$name => $text, )* }
            }

            /// Elements per block; 1 for plain types.
            pub const fn block_len(self) -> usize {
                match self { $( DType::$name => $len, )* }
            }

            /// Bytes per block; the element size for plain types.
            pub const fn block_bytes(self) -> usize {
                match self { $( DType::$name => $bytes, )* }
            }

            /// What the bits mean.
            pub const fn kind(self) -> Kind {
                match self { $( DType::$name => Kind::$kind, )* }
            }
        }
    };
}

dtypes! {
    /// IEEE 754 single precision.
    F32 = 0, "F32", 1 per 4, Float;
    /// IEEE 754 half precision.
    F16 = 1, "F16", 1 per 2, Float;
    /// 4-bit codes minus 8, one scale per 32. See [`crate::q4_0`].
    Q4_0 = 2, "Q4_0", 32 per 18, Quantized;
    /// 4-bit codes, one scale and one minimum per 32. See [`crate::q4_1`].
    Q4_1 = 3, "Q4_1", 32 per 20, Quantized;
    /// 5-bit codes minus 16, one scale per 32. See [`crate::q5_0`].
    Q5_0 = 6, "Q5_0", 32 per 22, Quantized;
    /// 5-bit codes, one scale and one minimum per 32. See [`crate::q5_1`].
    Q5_1 = 7, "Q5_1", 32 per 24, Quantized;
    /// Signed bytes, one scale per 32. See [`crate::q8_0`].
    Q8_0 = 8, "Q8_0", 32 per 34, Quantized;
    /// 2-bit codes in super-blocks of 256 with 4-bit scales and minima per 16. See [`crate::q2_k`].
    Q2_K = 10, "Q2_K", 256 per 84, Quantized;
    /// 3-bit codes minus 4 in super-blocks of 256 with 6-bit scales per 16. See [`crate::q3_k`].
    Q3_K = 11, "Q3_K", 256 per 110, Quantized;
    /// 4-bit codes in super-blocks of 256 with 6-bit scales and minima per 32. See [`crate::q4_k`].
    Q4_K = 12, "Q4_K", 256 per 144, Quantized;
    /// 5-bit codes in super-blocks of 256 with 6-bit scales and minima per 32. See [`crate::q5_k`].
    Q5_K = 13, "Q5_K", 256 per 176, Quantized;
    /// 6-bit codes minus 32 in super-blocks of 256 with 8-bit scales per 16. See [`crate::q6_k`].
    Q6_K = 14, "Q6_K", 256 per 210, Quantized;
    /// Signed bytes in super-blocks of 256 with one single-precision scale, and their sums. See [`crate::q8_k`].
    Q8_K = 15, "Q8_K", 256 per 292, Quantized;
    /// Grid codes of eight magnitudes with shared signs, 2.0625 bits per weight. See [`crate::iq2_xxs`].
    IQ2_XXS = 16, "IQ2_XXS", 256 per 66, Quantized;
    /// Grid codes of eight magnitudes with 4-bit scales per 16, 2.3125 bits per weight. See [`crate::iq2_xs`].
    IQ2_XS = 17, "IQ2_XS", 256 per 74, Quantized;
    /// Grid codes of four magnitudes with shared signs, 3.0625 bits per weight. See [`crate::iq3_xxs`].
    IQ3_XXS = 18, "IQ3_XXS", 256 per 98, Quantized;
    /// Grid codes of eight ternary values, 1.5625 bits per weight. See [`crate::iq1_s`].
    IQ1_S = 19, "IQ1_S", 256 per 50, Quantized;
    /// 4-bit codes into a table of sixteen uneven levels, one scale per 32. See [`crate::iq4_nl`].
    IQ4_NL = 20, "IQ4_NL", 32 per 18, Quantized;
    /// Grid codes of four magnitudes with signs of their own, 3.4375 bits per weight. See [`crate::iq3_s`].
    IQ3_S = 21, "IQ3_S", 256 per 110, Quantized;
    /// Grid codes of eight magnitudes with signs of their own, 2.5625 bits per weight. See [`crate::iq2_s`].
    IQ2_S = 22, "IQ2_S", 256 per 82, Quantized;
    /// The levels of IQ4_NL in super-blocks of 256 with 6-bit scales per 32. See [`crate::iq4_xs`].
    IQ4_XS = 23, "IQ4_XS", 256 per 136, Quantized;
    /// Signed byte.
    I8 = 24, "I8", 1 per 1, Integer;
    /// Signed 16-bit integer.
    I16 = 25, "I16", 1 per 2, Integer;
    /// Signed 32-bit integer.
    I32 = 26, "I32", 1 per 4, Integer;
    /// Signed 64-bit integer.
    I64 = 27, "I64", 1 per 8, Integer;
    /// IEEE 754 double precision.
    F64 = 28, "F64", 1 per 8, Float;
    /// Grid codes of eight ternary values with 3-bit scales per 16, 1.75 bits per weight. See [`crate::iq1_m`].
    IQ1_M = 29, "IQ1_M", 256 per 56, Quantized;
    /// The upper half of an `f32`.
    BF16 = 30, "BF16", 1 per 2, Float;
    /// Ternary, five to a byte, one scale per 256. See [`crate::tq1_0`].
    TQ1_0 = 34, "TQ1_0", 256 per 54, Quantized;
    /// Ternary, four to a byte, one scale per 256. See [`crate::tq2_0`].
    TQ2_0 = 35, "TQ2_0", 256 per 66, Quantized;
    /// Ternary, four to a byte, one scale per tensor, in the block order of bitnet.cpp on x86. The id
    /// is bitnet.cpp's; [`DType::from_ggml_code`] does not accept it. See [`crate::collisions`].
    I2_S = 36, "I2_S", 128 per 32, Quantized;
    /// OCP MXFP4: 4-bit floats (E2M1), one power-of-two scale (E8M0) per 32. See [`crate::mxfp4`].
    MXFP4 = 39, "MXFP4", 32 per 17, Quantized;
    /// 4-bit floats (E2M1), one 8-bit float scale (UE4M3) per 16. See [`crate::nvfp4`].
    NVFP4 = 40, "NVFP4", 64 per 36, Quantized;
    /// One bit, plus or minus one scale per 128. See [`crate::q1_0`].
    Q1_0 = 41, "Q1_0", 128 per 18, Quantized;
    /// 2-bit codes minus 1, one scale per 64. See [`crate::q2_0`].
    Q2_0 = 42, "Q2_0", 64 per 18, Quantized;
    /// Unsigned byte; safetensors only, ggml has no such type.
    U8 = 0x1000, "U8", 1 per 1, Integer;
    /// Unsigned 16-bit integer; safetensors only.
    U16 = 0x1001, "U16", 1 per 2, Integer;
    /// Unsigned 32-bit integer; safetensors only.
    U32 = 0x1002, "U32", 1 per 4, Integer;
    /// Unsigned 64-bit integer; safetensors only.
    U64 = 0x1003, "U64", 1 per 8, Integer;
    /// One byte, 0 or 1; safetensors only.
    BOOL = 0x1004, "BOOL", 1 per 1, Integer;
    /// [`DType::I2_S`] in the block order of bitnet.cpp on ARM. Files give both the same id, so this
    /// code is ours and we write the x86 order only.
    I2_S_ARM = 0x1005, "I2_S_ARM", 64 per 16, Quantized;
}

/// What the bits of a [`DType`] mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One floating-point number per element.
    Float,
    /// One integer per element.
    Integer,
    /// Blocks of codes that share scales.
    Quantized,
}

impl DType {
    /// The stable code; see the type's documentation.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The id a GGUF file uses, or `None` where GGUF has no such type.
    pub const fn ggml_code(self) -> Option<u32> {
        if self.code() < FIRST_OWN_CODE { Some(self.code()) } else { None }
    }

    /// The dtype that ggml itself means by this id in a GGUF file. Our own codes are never accepted
    /// here, nor are ids that only forks of ggml define. Where a fork defines the same id otherwise,
    /// [`crate::collisions`] has the other readings.
    pub const fn from_ggml_code(code: u32) -> Option<DType> {
        match DType::from_code(code) {
            Some(dtype) if code < FIRST_OWN_CODE && !matches!(dtype, DType::I2_S) => Some(dtype),
            _ => None,
        }
    }

    /// Whether elements are codes in blocks that share scales.
    pub const fn is_quantized(self) -> bool {
        matches!(self.kind(), Kind::Quantized)
    }

    /// Bytes that the blocks of `n` elements take, or `None` where `n` is not a whole number of blocks
    /// or the product does not fit. A tensor may take more: see [`DType::tensor_bytes`].
    pub const fn row_bytes(self, n: usize) -> Option<usize> {
        if n.is_multiple_of(self.block_len()) { (n / self.block_len()).checked_mul(self.block_bytes()) } else { None }
    }

    /// Bytes after the blocks of a tensor: 32 for I2_S, which begin with the tensor's `f32` scale.
    pub const fn tail_bytes(self) -> usize {
        match self {
            DType::I2_S | DType::I2_S_ARM => 32,
            _ => 0,
        }
    }

    /// Bytes that a whole tensor of `n` elements takes, or `None` where `n` is not a whole number of
    /// blocks or the size does not fit.
    pub const fn tensor_bytes(self, n: u64) -> Option<u64> {
        let block_len = self.block_len() as u64;
        if !n.is_multiple_of(block_len) {
            return None;
        }
        match (n / block_len).checked_mul(self.block_bytes() as u64) {
            Some(blocks) => blocks.checked_add(self.tail_bytes() as u64),
            None => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no [`DType`]. It does not carry the name: the crate works without allocation, and
/// the caller still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDType {
    /// Length of the rejected name in bytes.
    pub len: usize,
}

impl fmt::Display for UnknownDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no dtype has this name ({} bytes); known:", self.len)?;
        DType::ALL.iter().try_for_each(|d| write!(f, " {}", d.name()))
    }
}

impl core::error::Error for UnknownDType {}

impl FromStr for DType {
    type Err = UnknownDType;

    /// Parses a name as [`DType::name`] writes it, ignoring ASCII case.
    fn from_str(name: &str) -> Result<Self, UnknownDType> {
        DType::ALL.iter().copied().find(|d| d.name().eq_ignore_ascii_case(name)).ok_or(UnknownDType { len: name.len() })
    }
}
