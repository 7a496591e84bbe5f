//! The ABI as other compilers see it: offsets, sizes and numbers, compared with `layout.golden`.
//!
//! Lines may be added to the golden file, and sizes may grow; all else takes a new major version.
//! `TERN_WRITE_GOLDEN=1` writes the file anew.
#![cfg(target_pointer_width = "64")]

use std::fmt::Write;
use std::mem::offset_of;
use tern_abi::graph::{self, Graph, Op, Tensor, dim, place};
use tern_abi::ops;
use tern_abi::run::{Binding, RunArgs};
use tern_abi::state::{self, StateDesc, StateLayout};
use tern_abi::table::{Backend, DeviceInfo, DeviceOptions, ExecInfo, Host, MemoryInfo, Peaks};
use tern_abi::table::{device_flags, device_kind, verdict};
use tern_abi::weight::{WeightDesc, WeightInfo, WeightSource, usage};
use tern_abi::{ErrorBuffer, Header, Str, dtype, status};

/// Describes a struct. The pattern has no `..`, so that a field which is not listed does not compile.
macro_rules! layout {
    ($out:ident, $($ty:ident { $($field:ident),* $(,)? })*) => { $(
        let _exhaustive = |value: $ty| { let $ty { $($field: _),* } = value; };
        let _ = writeln!($out, "{} size {} align {}", stringify!($ty), size_of::<$ty>(), align_of::<$ty>());
        $( let _ = writeln!($out, "{}.{} at {}", stringify!($ty), stringify!($field), offset_of!($ty, $field)); )*
    )* };
}

macro_rules! numbers {
    ($out:ident, $($module:ident { $($name:ident),* $(,)? })*) => { $( $(
        let _ = writeln!($out, "{}::{} = {}", stringify!($module), stringify!($name), $module::$name);
    )* )* };
}

fn described() -> String {
    use ops::*;
    let mut out = String::new();
    let _ = writeln!(out, "symbol {}", tern_abi::ENTRY_SYMBOL);
    layout! { out,
        Header { struct_size, kind, next }
        Str { ptr, len }
        ErrorBuffer { header, code, reserved, native, len, capacity, message }
        Host { header, minor, reserved, log, user }
        DeviceInfo { header, kind, flags, name, tier, memory_total, max_buffer, alignment }
        DeviceOptions { header, threads, reserved, tier }
        MemoryInfo { header, free, total, used }
        Peaks { header, f32_ops, i8_ops }
        ExecInfo { header, scratch_bytes }
        Tensor { dtype, place, slot, rank, shape, dims, offset }
        Op { op, params_len, n_inputs, n_outputs, inputs, outputs, params }
        Graph {
            header, tensor_size, op_size, tensors, n_tensors, ops, n_ops, dim_max, n_fixed, n_steps, arena_bytes,
        }
        Binding { handle, offset, len }
        RunArgs {
            header, bind_set, steps, n_steps, binding_size, arena, scratch, dims, kv_bucket, cancel, profile, done,
            done_user,
        }
        StateDesc { header, kind, dtype, dims }
        StateLayout { header, unit_bytes, canonical_bytes }
        WeightDesc { header, dtype, rank, usage, reserved, shape, name, cache_bytes }
        WeightSource { header, data, len, read, user, cancel, lasting, reserved, release }
        WeightInfo { header, resident_bytes, stream_bytes, keeps_source, layout, hits, misses, read_bytes }
        NormParams { eps, groups }
        LinearParams { n_weights, norm, eps, glu, activation, quantize }
        RopeTableParams { magnitude, period }
        RopeParams { heads, head_dim, n_rot, layout, inverse }
        AttentionParams {
            heads, kv_heads, head_dim, page_size, kv_dtype, scale, window, softcap, rope_layout, n_rot,
            bidirectional,
        }
        GluParams { activation, alpha, limit, offset }
        ActivationParams { activation }
        ScaleParams { factor }
        LinearCrossEntropyParams { scale, softcap }
        MoeRouteParams { top_k, softmax_after, normalize, scale }
        FastWeightParams { heads, head_dim, chunk, eps, inner, rule, value_dim, key_heads, hidden, muon, in_turns }
        ShortConvParams { width, chunk }
        ColumnsParams { first, run, step, count }
        Backend {
            header, minor, reserved, name, version, score, device_count, device_info, device_open, device_close, memory,
            supports, queue_create, queue_free, ticket_poll, ticket_wait, buffer_alloc, buffer_free, buffer_write,
            buffer_read, buffer_copy, buffer_fill, weight_prepare, weight_info, weight_read_rows, weight_update,
            weight_free, state_layout, state_export, state_import, compile, exec_info, exec_free, bind_set_create,
            bind_set_free, run, extension, weight_layout, peaks,
        }
    }
    let header_bit = Header::MUST_UNDERSTAND;
    let _ = writeln!(out, "Header::MUST_UNDERSTAND = {header_bit}");
    numbers! { out,
        status {
            OK, PENDING, INTERNAL, UNAVAILABLE, UNSUPPORTED, PANIC, ABI, ARGUMENT, OUT_OF_MEMORY, DEVICE_LOST, CANCELLED,
        }
        dtype { F32, F16, I8, I32, F64, BF16 }
        graph { NONE }
        place { ARENA, STEP, FIXED, WEIGHT, STATE }
        dim { FIXED, TOKENS, SEQUENCES, OUTPUTS, COUNT }
        device_kind { CPU, GPU, INTEGRATED_GPU, ACCELERATOR }
        device_flags { DETERMINISTIC, UNIFIED }
        verdict { NO, SLOW, YES }
        usage { FORWARD, BACKWARD_INPUT, GATHER, PAGED, TRAINABLE }
        activation { IDENTITY, SILU, GELU_TANH, GELU, RELU_SQUARED, SIGMOID, TANH, SOFTPLUS }
        fast_weight_rule { NORMED, DELTA, INNER_PRODUCT }
        rope_layout { ADJACENT, HALVES }
        ops {
            GRAD, GATHER, ROWS, RMS_NORM, LAYER_NORM, LINEAR, ROPE_TABLE, ROPE, ATTENTION, GLU, ADD, MUL, SCALE,
            ACTIVATION, MOE_ROUTE, EXPERT_LINEAR, MOE_COMBINE, FAST_WEIGHT, CROSS_ENTROPY, SUM,
            LINEAR_CROSS_ENTROPY, QUANTIZE_TOKENS, SHORT_CONV, COLUMNS,
        }
    }
    let _ = writeln!(out, "state::kind::KV_PAGE = {}", state::kind::KV_PAGE);
    let _ = writeln!(out, "state::kind::FAST_WEIGHT = {}", state::kind::FAST_WEIGHT);
    let _ = writeln!(out, "state::kind::SHORT_CONV = {}", state::kind::SHORT_CONV);
    out
}

#[test]
fn the_layout_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.golden");
    let found = described();
    if std::env::var_os("TERN_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    let (mut found, mut golden) = (found.lines(), golden.lines());
    loop {
        match (found.next(), golden.next()) {
            (None, None) => break,
            (found, golden) => assert_eq!(found, golden, "found and golden: see the head of this file"),
        }
    }
}

#[test]
fn every_op_is_listed() {
    let listed = described().lines().filter(|line| line.starts_with("ops::")).count();
    assert_eq!(listed as u32, ops::COUNT + 1, "all ids, and GRAD");
}

#[test]
fn arrays_need_no_padding_between_elements() {
    for (size, align) in [
        (size_of::<Tensor>(), align_of::<Tensor>()),
        (size_of::<Op>(), align_of::<Op>()),
        (size_of::<Binding>(), align_of::<Binding>()),
    ] {
        assert_eq!(size % 8, 0);
        assert_eq!(align, 8);
    }
}
