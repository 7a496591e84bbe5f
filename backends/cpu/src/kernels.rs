//! The arithmetic of the ops, written once over [`Simd`](crate::simd::Simd).
//!
//! All functions here are `#[inline(always)]` and are instantiated per tier by [`tier_fn!`](crate::tier).
//! Sums run in an order fixed by the length alone.

pub mod activation;
pub mod attention;
pub mod elementwise;
pub mod fast_weight;
pub mod loss;
pub mod norm;
pub mod product;
pub mod quantize;
pub mod rope;
pub mod short_conv;
pub mod transpose;
pub mod vector;
