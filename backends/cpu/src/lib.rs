//! CPU backend: scalar, AVX2 and AVX-512 tiers.
