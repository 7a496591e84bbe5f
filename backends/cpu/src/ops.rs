//! The ops, one family per file, and the table that finds an op's compiler by its id.

pub mod attention;
pub mod columns;
pub mod elementwise;
pub mod expert_linear;
pub mod fast_weight;
pub mod gather;
pub mod linear;
pub mod linear_cross_entropy;
pub mod loss;
pub mod moe;
pub mod norm;
pub mod quantize;
pub mod rope;
pub mod rows;
pub mod sequences;
pub mod short_conv;
pub mod state_slots;

use crate::op::{Compile, CompiledOp, Ctx};
use tern_abi::ops;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// Compiles one op.
pub fn compile_op(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let compile: Compile = match op.op {
        ops::GATHER => gather::compile,
        ops::ROWS => rows::compile,
        ops::RMS_NORM | ops::LAYER_NORM => norm::compile,
        ops::LINEAR => linear::compile,
        ops::ROPE_TABLE => rope::compile_table,
        ops::ROPE => rope::compile,
        ops::ATTENTION => attention::compile,
        ops::GLU => elementwise::compile_glu,
        ops::ADD | ops::MUL => elementwise::compile_binary,
        ops::SCALE => elementwise::compile_scale,
        ops::ACTIVATION => elementwise::compile_activation,
        ops::MOE_ROUTE => moe::compile_route,
        ops::EXPERT_LINEAR => expert_linear::compile,
        ops::MOE_COMBINE => moe::compile_combine,
        ops::FAST_WEIGHT => fast_weight::compile,
        ops::CROSS_ENTROPY => loss::compile_cross_entropy,
        ops::SUM => loss::compile_sum,
        ops::LINEAR_CROSS_ENTROPY => linear_cross_entropy::compile,
        ops::QUANTIZE_TOKENS => quantize::compile,
        ops::SHORT_CONV => short_conv::compile,
        ops::COLUMNS => columns::compile,
        id if id & ops::GRAD != 0 => gradient(id & !ops::GRAD)?,
        id => return Err(PluginError::unsupported(format!("op {id} is not available"))),
    };
    compile(view, op, ctx)
}

/// The compiler of an op's gradient.
fn gradient(id: u32) -> Result<Compile> {
    Ok(match id {
        ops::GATHER | ops::ROWS => gather::grad::compile,
        ops::RMS_NORM | ops::LAYER_NORM => norm::grad::compile,
        ops::LINEAR => linear::grad::compile,
        ops::ROPE => rope::compile_grad,
        ops::ATTENTION => attention::grad::compile,
        ops::GLU => elementwise::grad::compile_glu,
        ops::ADD | ops::MUL => elementwise::grad::compile_binary,
        ops::SCALE => elementwise::grad::compile_scale,
        ops::ACTIVATION => elementwise::grad::compile_activation,
        ops::MOE_ROUTE => moe::grad::compile_route,
        ops::EXPERT_LINEAR => expert_linear::grad::compile,
        ops::MOE_COMBINE => moe::grad::compile_combine,
        ops::FAST_WEIGHT => fast_weight::grad::compile,
        ops::SHORT_CONV => short_conv::grad::compile,
        ops::COLUMNS => columns::compile,
        ops::CROSS_ENTROPY => loss::grad::compile_cross_entropy,
        ops::SUM => loss::grad::compile_sum,
        ops::LINEAR_CROSS_ENTROPY => linear_cross_entropy::grad::compile,
        _ => return Err(PluginError::unsupported(format!("gradient of op {id} is not available"))),
    })
}
