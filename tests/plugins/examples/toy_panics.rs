//! Panics wherever it is asked to work.

use tern_abi::plugin::Result;
use tern_test_plugins::{Behaviour, Toy};

struct Panics;

impl Behaviour for Panics {
    const NAME: &'static str = "panics";
    fn prepare() -> Result<()> {
        unreachable!("prepare, on purpose")
    }
    fn run(_cancelled: &dyn Fn() -> bool) -> Result<()> {
        unreachable!("run, on purpose")
    }
}

tern_abi::export_plugin!(Toy<Panics>);
tern_abi::export_symbol!(crate::entry);
