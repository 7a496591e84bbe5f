//! Instruction-set tiers: which one this processor can run, and kernels instantiated once per tier.

use tern_abi::plugin::{PluginError, Result};
use tern_abi::status;

/// Environment variable that forces a tier, so that every tier can be tested on one machine.
pub const TIER_VARIABLE: &str = "TERN_CPU_TIER";

/// An instruction-set tier; those of one architecture stand slowest first.
///
/// On x86 and ARM it is chosen at run time. WebAssembly cannot ask its engine: there a module is built with the features
/// or without, and the host picks the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Portable Rust.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with the integer dot products of AVX-VNNI.
    AvxVnni,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// The same, but products with one token in registers of 256 bits: for a Zen 4, which does 512-bit operations in two halves.
    Avx512Ymm,
    /// NEON, which every 64-bit ARM has.
    Neon,
    /// NEON with `sdot`.
    NeonDotprod,
    /// NEON with `usdot` of the extension I8MM.
    NeonI8mm,
    /// SIMD128 of WebAssembly.
    Simd128,
    /// The same with relaxed SIMD, whose fused products and dot products differ between engines.
    RelaxedSimd,
}

impl Tier {
    /// All tiers, those of one architecture from the slowest on.
    pub const ALL: [Self; 10] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Ymm,
        Self::Neon,
        Self::NeonDotprod,
        Self::NeonI8mm,
        Self::Simd128,
        Self::RelaxedSimd,
    ];

    /// Its name, as [`TIER_VARIABLE`] and options spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Ymm => "avx512-ymm",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
            Self::Simd128 => "simd128",
            Self::RelaxedSimd => "relaxed-simd",
        }
    }

    /// Can this processor, under this operating system, run it?
    pub fn available(self) -> bool {
        self == Self::Scalar || detected(self)
    }

    /// The fastest available tier.
    pub fn best() -> Self {
        let wanted = |t: &Self| t.available() && (*t != Self::Avx512Ymm || halves_512_bits());
        Self::ALL.into_iter().rev().find(wanted).unwrap_or(Self::Scalar)
    }

    /// The tier to use: `wanted` if not empty, else the environment's, else the best.
    pub fn choose(wanted: &str) -> Result<Self> {
        if !wanted.is_empty() {
            return Self::named(wanted);
        }
        match std::env::var(TIER_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::named(&name),
            _ => Ok(Self::best()),
        }
    }

    fn named(name: &str) -> Result<Self> {
        let Some(tier) = Self::ALL.into_iter().find(|t| t.name() == name) else {
            let known = Self::ALL.map(Self::name).join(", ");
            return Err(PluginError::argument(format!("tier \"{name}\" is unknown; known: {known}")));
        };
        if !tier.available() {
            return Err(PluginError::new(
                status::UNAVAILABLE,
                format!(
                    "this processor or system cannot run tier \"{name}\"; the best it can is {}",
                    Self::best().name()
                ),
            ));
        }
        Ok(tier)
    }
}

/// Is this a Zen 4?
#[cfg(target_arch = "x86_64")]
fn halves_512_bits() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // Asking traps in a virtual machine.
    *ANSWER.get_or_init(|| {
        #[allow(unused_unsafe, reason = "safe from Rust 1.93 on")]
        // SAFETY: every 64-bit processor has the instruction and these leaves.
        let (vendor, version) = unsafe { (std::arch::x86_64::__cpuid(0), std::arch::x86_64::__cpuid(1)) };
        let amd = [vendor.ebx, vendor.edx, vendor.ecx] == [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes);
        // Family 0x19 is Zen 3, which has no AVX-512, and Zen 4.
        let (base, extended) = (version.eax >> 8 & 0xf, version.eax >> 20 & 0xff);
        amd && base + extended == 0x19
    })
}
#[cfg(not(target_arch = "x86_64"))]
fn halves_512_bits() -> bool {
    false
}

// The detection macros ask the operating system too (XGETBV, HWCAP), not only the processor, and remember the answer.
#[cfg(target_arch = "x86_64")]
fn detected(tier: Tier) -> bool {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    avx2 && match tier {
        Tier::Avx2 => true,
        Tier::AvxVnni => is_x86_feature_detected!("avxvnni"),
        Tier::Avx512 | Tier::Avx512Ymm => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni")
        }
        _ => false,
    }
}
#[cfg(target_arch = "aarch64")]
fn detected(tier: Tier) -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("neon")
        && match tier {
            Tier::Neon => true,
            Tier::NeonDotprod => is_aarch64_feature_detected!("dotprod"),
            Tier::NeonI8mm => is_aarch64_feature_detected!("dotprod") && is_aarch64_feature_detected!("i8mm"),
            _ => false,
        }
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected(tier: Tier) -> bool {
    match tier {
        Tier::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
        Tier::RelaxedSimd => cfg!(all(target_arch = "wasm32", target_feature = "relaxed-simd")),
        _ => false,
    }
}

/// `f::<S>()` of a function `f` that is generic over [`Simd`](crate::simd::Simd), for a tier's `S`. For what is known of a
/// tier without its instructions; [`tier_fn`] is for kernels.
macro_rules! of_tier {
    ($tier:expr, $f:ident) => {
        match $tier {
            #[cfg(target_arch = "x86_64")]
            $crate::tier::Tier::Avx512 | $crate::tier::Tier::Avx512Ymm => $f::<$crate::simd::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            $crate::tier::Tier::AvxVnni => $f::<$crate::simd::AvxVnni>(),
            #[cfg(target_arch = "x86_64")]
            $crate::tier::Tier::Avx2 => $f::<$crate::simd::Avx2>(),
            #[cfg(target_arch = "aarch64")]
            $crate::tier::Tier::NeonI8mm => $f::<$crate::simd::NeonI8mm>(),
            #[cfg(target_arch = "aarch64")]
            $crate::tier::Tier::NeonDotprod => $f::<$crate::simd::NeonDotprod>(),
            #[cfg(target_arch = "aarch64")]
            $crate::tier::Tier::Neon => $f::<$crate::simd::Neon>(),
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            $crate::tier::Tier::RelaxedSimd => $f::<$crate::simd::RelaxedSimd>(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            $crate::tier::Tier::Simd128 => $f::<$crate::simd::Simd128>(),
            _ => $f::<$crate::simd::Scalar>(),
        }
    };
}
pub(crate) use of_tier;

/// Instantiates a kernel that is generic over [`Simd`](crate::simd::Simd) for every tier.
///
/// `tier_fn! { /// doc  pub fn name(a: T, b: U) = path::to::generic; }` makes
/// `pub fn name(tier: Tier) -> unsafe fn(T, U)`. Ops call it once, when they are compiled, and keep the
/// pointer. The generic function must be `#[inline(always)]`, else it is compiled without the tier's
/// instructions. Calling the pointer is unsafe: besides what the kernel itself asks for, the tier must be
/// available, which every tier that [`Tier::choose`] yields is.
macro_rules! tier_fn {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $($path:ident)::+;)+) => {$(
        $(#[$doc])*
        $vis fn $name(tier: $crate::tier::Tier) -> unsafe fn($($ty),*) {
            unsafe fn scalar($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Scalar>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
            unsafe fn avxvnni($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::AvxVnni>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Neon>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod")]
            unsafe fn dotprod($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::NeonDotprod>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod,i8mm")]
            unsafe fn i8mm($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::NeonI8mm>($($arg),*) }
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            unsafe fn simd128($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Simd128>($($arg),*) }
            }
            #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
            unsafe fn relaxed($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::RelaxedSimd>($($arg),*) }
            }
            match tier {
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx512 | $crate::tier::Tier::Avx512Ymm => avx512,
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::AvxVnni => avxvnni,
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx2 => avx2,
                #[cfg(target_arch = "aarch64")]
                $crate::tier::Tier::NeonI8mm => i8mm,
                #[cfg(target_arch = "aarch64")]
                $crate::tier::Tier::NeonDotprod => dotprod,
                #[cfg(target_arch = "aarch64")]
                $crate::tier::Tier::Neon => neon,
                #[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
                $crate::tier::Tier::RelaxedSimd => relaxed,
                #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                $crate::tier::Tier::Simd128 => simd128,
                _ => scalar,
            }
        }
    )+};
}
pub(crate) use tier_fn;

/// As [`tier_fn`], for products with one token, which [`Tier::Avx512Ymm`] does its own way.
macro_rules! one_token_fn {
    ($($vis:vis fn $name:ident($arg:ident: $ty:ty) = $($path:ident)::+;)+) => {$(
        $vis fn $name(tier: $crate::tier::Tier) -> unsafe fn($ty) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
            unsafe fn ymm($arg: $ty) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Avx512Ymm>($arg) }
            }
            $crate::tier::tier_fn! {
                fn of_tier($arg: $ty) = $($path)::+;
            }
            #[cfg(target_arch = "x86_64")]
            if tier == $crate::tier::Tier::Avx512Ymm {
                return ymm;
            }
            of_tier(tier)
        }
    )+};
}
pub(crate) use one_token_fn;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Tier::choose("scalar").unwrap(), Tier::Scalar);
        assert_eq!(Tier::choose("sse9").unwrap_err().status, status::ARGUMENT);
        for tier in Tier::ALL {
            match Tier::choose(tier.name()) {
                Ok(t) => assert_eq!(t, tier),
                Err(e) => assert_eq!((tier.available(), e.status), (false, status::UNAVAILABLE)),
            }
        }
        assert!(Tier::best().available());
    }

    /// On an emulated processor, whoever started the test knows what it has.
    #[test]
    fn the_best_is_what_the_processor_has() {
        if let Ok(expected) = std::env::var("TERN_TEST_BEST_TIER") {
            assert_eq!(Tier::best().name(), expected);
        }
    }
}
