//! The ops, one family per file, and the table that finds an op's compiler by its id.

pub mod expert_linear;
pub mod gather;
pub mod linear;

use crate::op::{Compile, CompiledOp, Ctx};
use tern_abi::ops;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// Compiles one op.
pub fn compile_op(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let compile: Compile = match op.op {
        ops::GATHER => gather::compile,
        ops::LINEAR => linear::compile,
        ops::EXPERT_LINEAR => expert_linear::compile,
        id if id & ops::GRAD != 0 => {
            return Err(PluginError::unsupported(format!("gradient of op {} is not available", id & !ops::GRAD)));
        }
        id => return Err(PluginError::unsupported(format!("op {id} is not available"))),
    };
    compile(view, op, ctx)
}
