//! Instruction-set tiers: which one this processor can run, and kernels instantiated once per tier.

use tern_abi::plugin::{PluginError, Result};
use tern_abi::status;

/// Environment variable that forces a tier, so that every tier can be tested on one machine.
pub const TIER_VARIABLE: &str = "TERN_CPU_TIER";

/// An instruction-set tier, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Portable Rust.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
}

impl Tier {
    /// All tiers, slowest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// Its name, as [`TIER_VARIABLE`] and options spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Can this processor, under this operating system, run it?
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => has_avx2(),
            Self::Avx512 => has_avx2() && has_avx512(),
        }
    }

    /// The fastest available tier.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|t| t.available()).unwrap_or(Self::Scalar)
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

// The detection macro asks the operating system too (XGETBV), not only the processor.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
}
#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}
#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

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
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: passed on to the caller.
                unsafe { $($path)::+::<$crate::simd::Avx512>($($arg),*) }
            }
            match tier {
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx512 => avx512,
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx2 => avx2,
                _ => scalar,
            }
        }
    )+};
}
pub(crate) use tier_fn;

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
}
