//! The table of block formats: a line each.

use tern_quant::DType;

/// `$then` with its arguments and the table.
macro_rules! table {
    ($then:ident!($($arguments:tt)*)) => {
        $crate::weight::blocks::$then! { $($arguments)*;
            Q4_0: simple::Q4_0,
            Q4_1: simple::Q4_1,
            Q5_0: simple::Q5_0,
            Q5_1: simple::Q5_1,
            Q8_0: simple::Q8_0,
            Q2_K: k::Q2K,
            Q3_K: k::Q3K,
            Q4_K: k::Q4K,
            Q5_K: k::Q5K,
            Q6_K: k::Q6K,
            Q8_K: simple::Q8K,
            IQ1_S: iq::Iq1S,
            IQ1_M: iq::Iq1M,
            IQ2_XXS: iq::Iq2Xxs,
            IQ2_XS: iq::Iq2Xs,
            IQ2_S: iq::Iq2S,
            IQ3_XXS: iq::Iq3Xxs,
            IQ3_S: iq::Iq3S,
            IQ4_NL: simple::Iq4Nl,
            IQ4_XS: k::Iq4Xs,
            MXFP4: simple::Mxfp4,
            NVFP4: simple::Nvfp4,
            Q1_0: simple::Q1_0,
            Q2_0: simple::Q2_0,
        }
    };
}
pub(crate) use table;

macro_rules! define {
    (; $($name:ident: $module:ident::$type:ident,)+) => {
        /// Formats whose codes and scales lie in panels, see [`super::Blocks`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, missing_docs)] // Named as in the files.
        pub enum BlockFormat {
            $($name,)+
        }

        impl BlockFormat {
            /// The format of weights of this type, where it is one of these.
            pub fn of(dtype: DType) -> Option<Self> {
                match dtype {
                    $(DType::$name => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}
use define;
table!(define!());

macro_rules! choose {
    ($format:expr, $B:ident, $f:expr; $($name:ident: $module:ident::$type:ident,)+) => {
        match $format {
            $($crate::weight::BlockFormat::$name => {
                type $B = $crate::weight::$module::$type;
                $f
            })+
        }
    };
}
pub(crate) use choose;

/// `$f`, in which `$B` is the type of `$format`.
macro_rules! with_blocks {
    ($format:expr, |$B:ident| $f:expr) => {
        $crate::weight::blocks::table!(choose!($format, $B, $f))
    };
}
pub(crate) use with_blocks;
