//! The CPU backend as a library to load at run time: exports its entry, and nothing else.

tern_abi::export_symbol!(tern_cpu::entry);
