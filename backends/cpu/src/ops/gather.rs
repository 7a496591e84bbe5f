//! Placeholder.
use crate::op::{CompiledOp, Ctx};
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// Compiles the op.
pub fn compile(_view: &GraphView<'_>, _op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    Err(PluginError::unsupported("not there yet"))
}
