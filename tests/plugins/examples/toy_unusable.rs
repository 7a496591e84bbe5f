//! Does not fit any machine.

use tern_abi::plugin::{PluginError, Result};
use tern_test_plugins::{Behaviour, Toy};

struct Unusable;

impl Behaviour for Unusable {
    const NAME: &'static str = "unusable";
    fn score() -> Result<i32> {
        Err(PluginError::new(tern_abi::status::UNAVAILABLE, "no toy chip\nin this machine"))
    }
}

tern_abi::export_plugin!(Toy<Unusable>);
tern_abi::export_symbol!(crate::entry);
