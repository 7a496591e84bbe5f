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
    /// Signed bytes, one scale per 32. See [`crate::q8_0`].
    Q8_0 = 8, "Q8_0", 32 per 34, Quantized;
    /// 4-bit codes in super-blocks of 256 with 6-bit scales and minima per 32. See [`crate::q4_k`].
    Q4_K = 12, "Q4_K", 256 per 144, Quantized;
    /// 6-bit codes minus 32 in super-blocks of 256 with 8-bit scales per 16. See [`crate::q6_k`].
    Q6_K = 14, "Q6_K", 256 per 210, Quantized;
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
    /// The upper half of an `f32`.
    BF16 = 30, "BF16", 1 per 2, Float;
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

    /// The dtype a GGUF file means by this id. Our own codes are never accepted here.
    pub const fn from_ggml_code(code: u32) -> Option<DType> {
        if code < FIRST_OWN_CODE { DType::from_code(code) } else { None }
    }

    /// Whether elements are codes in blocks that share scales.
    pub const fn is_quantized(self) -> bool {
        matches!(self.kind(), Kind::Quantized)
    }

    /// Bytes that `n` elements take, or `None` where `n` is not a whole number of blocks or the
    /// product does not fit.
    pub const fn row_bytes(self, n: usize) -> Option<usize> {
        if n.is_multiple_of(self.block_len()) { (n / self.block_len()).checked_mul(self.block_bytes()) } else { None }
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
