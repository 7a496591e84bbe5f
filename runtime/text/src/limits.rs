//! Caps on what a model file or a caller may ask for, each with its reason.

/// Most tokens in a vocabulary. The largest published ones have about 262,000; ids must also leave room in 32 bits.
pub const MAX_TOKENS: usize = 1 << 22;

/// Most bytes in one token's text: longer ones exist only in files made to hurt.
pub const MAX_TOKEN_BYTES: usize = 64 << 10;

/// Most merges; a vocabulary has at most one useful merge per way to cut a token, in practice about two per token.
pub const MAX_MERGES: usize = 1 << 23;

/// Most bytes in the text of a token that is searched for in the input (control and user-defined tokens).
/// The search is bounded by this length per input byte.
pub const MAX_ADDED_TOKEN_BYTES: usize = 1 << 10;

/// Most bytes in a token of a Unigram or WordPiece model: every place of a text may cost as many steps.
pub const MAX_TRIE_TOKEN_BYTES: usize = 1 << 10;

/// Most normalizing or decoding steps in a sequence.
pub const MAX_NORMALIZER_STEPS: usize = 32;

/// Most bytes of normalized text per byte of text, besides 1 KiB. Unicode's own longest decomposition has 18 characters.
pub const MAX_NORMALIZED_FACTOR: usize = 64;

/// Most bytes of an entry in a table of replacements (`precompiled_charsmap`), and of its replacement.
pub const MAX_CHARSMAP_ENTRY_BYTES: usize = 256;

/// Most bytes of such a table; the published ones have about 500 KB.
pub const MAX_CHARSMAP_BYTES: usize = 64 << 20;

/// Most bytes in a `tokenizer.json`; the largest published ones have about 35 MB.
pub const MAX_TOKENIZER_JSON_BYTES: usize = 256 << 20;

/// Most tokens that a post-processor puts around a text; published ones put three. A short name may stand for many ids, so
/// without this a file of a megabyte could ask for a hundred million.
pub const MAX_TOKENS_AROUND: usize = 1 << 10;

/// Most bytes in one pre-tokenizer expression of a `tokenizer.json`; the longest published one has about 1,000.
pub const MAX_REGEX_BYTES: usize = 16 << 10;

/// Most steps in a pre-tokenizer sequence.
pub const MAX_PRE_STEPS: usize = 32;

/// Most backtracking steps of an expression that needs look-around and is not one of the well-known ones.
pub const REGEX_BACKTRACK_LIMIT: usize = 1_000_000;

/// Most stop strings of one matcher; each costs a step per byte of text.
pub const MAX_STOPS: usize = 256;

/// Most bytes in one stop string: text of that length may be held back.
pub const MAX_STOP_BYTES: usize = 4 << 10;

/// Most bytes in a chat template; the longest published ones have about 20 KiB.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Deepest nesting of a template's source: expressions in expressions, blocks in blocks, links of a chain of operators.
/// Bounds the stack that parsing needs.
pub const MAX_TEMPLATE_NESTING: usize = 120;

/// Deepest evaluation of a template: expressions, blocks and macro calls inside each other. Bounds the stack.
pub const MAX_TEMPLATE_DEPTH: usize = 200;

/// Deepest nesting of lists and maps, in messages and as made by a template. Bounds the stack for whatever walks them.
pub const MAX_VALUE_DEPTH: usize = 100;

/// Most steps of one rendering (a node evaluated is one; work on long strings counts by length), besides one per byte of
/// input: about half a second. A usual conversation takes some ten thousand.
pub const MAX_TEMPLATE_STEPS: u64 = 5_000_000;

/// Most bytes that a rendering holds at once, besides eight per byte of input.
pub const MAX_TEMPLATE_LIVE_BYTES: usize = 64 << 20;

/// Most bytes in a rendered conversation, besides two per byte of input.
pub const MAX_RENDERED_BYTES: usize = 16 << 20;
