//! Placeholder.
use crate::pool::Pool;
use crate::tier::Tier;
use tern_abi::plugin::{PluginError, Result, WeightSpec};
use tern_abi::weight::WeightInfo;

/// A weight in the layout of its kernels.
pub struct Prepared {}

impl Prepared {
    /// Repacks.
    pub fn new(
        _spec: &WeightSpec<'_>,
        _bytes: &[u8],
        _tier: Tier,
        _pool: &Pool,
        _cancel: &dyn Fn() -> bool,
    ) -> Result<Self> {
        Err(PluginError::unsupported("not there yet"))
    }
    /// Element type code.
    pub fn dtype(&self) -> u32 {
        0
    }
    /// Shape, outermost first.
    pub fn shape(&self) -> &[u64] {
        &[]
    }
    /// Bytes.
    pub fn info(&self, _info: &mut WeightInfo) {}
    /// Dequantized rows.
    pub fn read_rows(&self, _first: u64, _out: &mut [f32]) -> Result<()> {
        Err(PluginError::unsupported("not there yet"))
    }
}
