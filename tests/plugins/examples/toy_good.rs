//! Behaves.

tern_abi::export_plugin!(tern_test_plugins::Toy<tern_test_plugins::Good>);
tern_abi::export_symbol!(crate::entry);
