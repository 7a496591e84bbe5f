//! Small-language-model runtime.
