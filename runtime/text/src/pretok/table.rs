//! The pre-tokenizers of published models, by the names GGUF uses in `tokenizer.ggml.pre`.
//!
//! Each is a list of expressions applied one after the other: every match and every gap between matches is a piece of its own,
//! and the next expression sees the pieces apart. The expressions are those of the models' own `tokenizer.json`.

/// GPT-2.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Each digit alone; is followed by [`GPT2`] in the code models' family.
const DIGIT: &str = r"\p{N}";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Punctuation, GPT-2, runs of digits, then by threes: what files without a known name were made for.
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

const FALCON: &[&str] = &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"];

struct Entry {
    names: &'static [&'static str],
    steps: &'static [&'static str],
    /// Whole pieces are looked up before merging, and BOS is added where the file does not say.
    llama3: bool,
}

const TABLE: &[Entry] = &[
    Entry {
        names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        steps: &[LLAMA3],
        llama3: true,
    },
    Entry { names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], steps: &[LLAMA3], llama3: false },
    Entry {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        steps: &[DIGIT, GPT2],
        llama3: false,
    },
    Entry {
        names: &["gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "mellum", "gigachat", "exaone4"],
        steps: &[GPT2],
        llama3: false,
    },
    Entry { names: &["qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "kormo"], steps: &[QWEN2], llama3: false },
    Entry { names: &["gpt-4o", "llama4"], steps: &[GPT4O], llama3: false },
    Entry { names: &["tekken"], steps: &[TEKKEN], llama3: true },
    Entry { names: &["falcon"], steps: FALCON, llama3: false },
    Entry { names: &["default"], steps: DEFAULT, llama3: false },
];

/// Names that [`crate::BpeSpec::pre`] may have.
pub const PRE_TOKENIZER_NAMES: &[&str] = &[
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "dbrx",
    "smaug-bpe",
    "glm4",
    "chatglm-bpe",
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
    "minerva-7b",
    "gpt-2",
    "gpt2",
    "phi-2",
    "mpt",
    "olmo",
    "jais",
    "mellum",
    "gigachat",
    "exaone4",
    "qwen2",
    "stablelm2",
    "deepseek-r1-qwen",
    "megrez",
    "kormo",
    "gpt-4o",
    "llama4",
    "tekken",
    "falcon",
    "default",
];

fn entry(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.names.contains(&name))
}

/// The expressions of a name.
pub(crate) fn steps(name: &str) -> Option<&'static [&'static str]> {
    entry(name).map(|e| e.steps)
}

/// See [`crate::BpeSpec::gguf_ignores_merges`].
pub(crate) fn ignores_merges(name: &str) -> bool {
    entry(name).is_some_and(|e| e.llama3)
}

/// See [`crate::BpeSpec::gguf_adds_bos`].
pub(crate) fn adds_bos(name: &str) -> bool {
    entry(name).is_some_and(|e| e.llama3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_list_has_every_name_once() {
        let all: Vec<&str> = TABLE.iter().flat_map(|e| e.names.iter().copied()).collect();
        assert_eq!(all, PRE_TOKENIZER_NAMES);
        let unique: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(unique.len(), all.len());
    }
}
