//! How large a source may be. Sources may come from an app's users or from the net: compiling one takes bounded time and stack.

/// Bytes of a source. The largest published schemas have a few hundred thousand.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Bytes of a regular expression.
pub const MAX_REGEX_BYTES: usize = 64 << 10;
/// Groups inside groups: parsers here and in the engine descend once for each.
pub const MAX_NESTING: usize = 64;
/// Expressions and rules of a GBNF grammar inside one another; the engine descends once for each.
pub const MAX_DEPTH: usize = 256;
/// Rules of a GBNF grammar.
pub const MAX_RULES: usize = 10_000;
/// Repetitions of an item of a GBNF grammar, as in llama.cpp.
pub const MAX_REPETITIONS: u32 = 2000;
/// Bytes of a token that may be generated under a constraint. A longer one (of spaces, say) never is, and never needed.
pub(crate) const MAX_TOKEN_BYTES: usize = 256;
/// Tokens of a vocabulary. The engine has 24 bits for them.
pub(crate) const MAX_VOCABULARY: usize = 1 << 21;
