//! The pre-tokenizers of published models, by the names GGUF uses in `tokenizer.ggml.pre`.
//!
//! Each is a list of expressions applied one after the other: every match and every gap between matches is a piece of its own,
//! and the next expression sees the pieces apart. The expressions are those of the models' own `tokenizer.json`, whatever
//! approximation other programs use for want of a Unicode class or a look-ahead.

/// GPT-2.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Each digit alone; is followed by [`GPT2`] in the code models' family.
pub(crate) const DIGIT: &str = r"\p{N}";

/// Digits from the left by threes.
const THREES: &str = r"\p{N}{1,3}";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2.
pub(crate) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2's without English contractions, for Turkish.
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";

const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";

const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-4o's with each digit alone.
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-4o's with Chinese characters apart.
const KIMI_K2: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Chinese characters and Japanese syllables.
const CJK: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";

const DEEPSEEK3: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

/// DeepSeek's with each line break alone.
const SPARK: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\r\n]|\\s+(?!\\S)|\\s+";

/// Llama 3's behind [`THREES`].
const MINICPM5: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The letters that DeepSeek's expression lists; escaped, since some are of those that composition changes.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+";

const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";

/// Chinese and Korean as DeepSeek lists them.
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";

/// Words as BLOOM cuts them.
const BLOOM: &str = " ?[^(\\s|[.,!?…。，、।۔،])]+";

/// What each entry says besides its expressions.
#[derive(Clone, Copy)]
struct Entry {
    names: &'static [&'static str],
    steps: &'static [&'static str],
    /// Whole pieces are looked up before merging.
    ignore_merges: bool,
    /// BOS is added where the file does not say.
    add_bos: bool,
    /// The models' own tokenizers compose characters (NFC) first. GGUF has no key for it.
    nfc: bool,
}

impl Entry {
    const fn new(names: &'static [&'static str], steps: &'static [&'static str]) -> Self {
        Self { names, steps, ignore_merges: false, add_bos: false, nfc: false }
    }

    const fn whole(self) -> Self {
        Self { ignore_merges: true, ..self }
    }

    const fn bos(self) -> Self {
        Self { add_bos: true, ..self }
    }

    const fn nfc(self) -> Self {
        Self { nfc: true, ..self }
    }
}

/// Where several entries have the same steps, the first is the one that is written.
const TABLE: &[Entry] = &[
    Entry::new(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        &[LLAMA3],
    )
    .whole()
    .bos(),
    Entry::new(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[LLAMA3]),
    Entry::new(&["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], &[DIGIT, GPT2]),
    Entry::new(&["command-r"], &[DIGIT, GPT2]).nfc(),
    Entry::new(
        &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        &[GPT2],
    ),
    Entry::new(&["olmo", "mpt", "modern-bert"], &[GPT2]).nfc(),
    Entry::new(&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"], &[QWEN2]).nfc(),
    Entry::new(&["stablelm2", "hunyuan", "solar-open", "grok-2"], &[QWEN2]),
    Entry::new(&["qwen35"], &[QWEN35]).nfc(),
    Entry::new(&["laguna"], &[r"[^\n]+|[\n]+", QWEN2]),
    Entry::new(&["ufakzeka"], &[UFAKZEKA]),
    Entry::new(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    Entry::new(&["granite-embed-multi-97m"], &[GPT4O]).whole(),
    Entry::new(&["tiny_aya", "cohere2moe"], &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
    Entry::new(&["youtu"], &["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+", YOUTU])
        .whole(),
    Entry::new(&["tekken"], &[TEKKEN]).whole().bos(),
    Entry::new(&["kimi-k2"], &[KIMI_K2]),
    Entry::new(
        &["deepseek-llm"],
        &["[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, r"\s+$", DEEPSEEK_CJK, r"\p{N}+"],
    ),
    Entry::new(&["deepseek-coder"], &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, DIGIT]),
    Entry::new(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[THREES, CJK, DEEPSEEK3]),
    Entry::new(&["spark2_5"], &[THREES, CJK, SPARK, DIGIT]),
    Entry::new(&["minicpm5"], &[THREES, MINICPM5]).whole(),
    Entry::new(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
    Entry::new(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    Entry::new(&["viking"], &[BLOOM, DIGIT]),
    Entry::new(&["superbpe"], &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
    Entry::new(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    Entry::new(&["seed-coder"], &[SEED_CODER]),
    Entry::new(&["exaone-moe"], &[EXAONE_MOE]),
    Entry::new(&["jais-2"], &[JAIS2]),
    Entry::new(
        &["chameleon"],
        &[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            "([\t\n]|    |  )",
            DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ],
    )
    .bos(),
    // Punctuation, GPT-2, runs of digits, then by threes: what files without a known name were made for.
    Entry::new(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
];

/// A pre-tokenizer of the table.
pub(crate) struct Named {
    /// Expressions, each with [`crate::Behavior::Isolated`].
    pub steps: &'static [&'static str],
    /// Whole pieces are looked up before merging.
    pub ignore_merges: bool,
    /// BOS is added where the file does not say.
    pub add_bos: bool,
    /// Text is composed (NFC) first.
    pub nfc: bool,
}

const COUNT: usize = {
    let (mut count, mut at) = (0, 0);
    while at < TABLE.len() {
        count += TABLE[at].names.len();
        at += 1;
    }
    count
};

const NAMES: [&str; COUNT] = {
    let mut names = [""; COUNT];
    let (mut count, mut at) = (0, 0);
    while at < TABLE.len() {
        let mut of = 0;
        while of < TABLE[at].names.len() {
            names[count] = TABLE[at].names[of];
            count += 1;
            of += 1;
        }
        at += 1;
    }
    names
};

/// The names of `tokenizer.ggml.pre` that have expressions here.
pub const PRE_TOKENIZER_NAMES: &[&str] = &NAMES;

/// The pre-tokenizer of a name.
pub(crate) fn named(name: &str) -> Option<Named> {
    let Entry { steps, ignore_merges, add_bos, nfc, .. } = *TABLE.iter().find(|e| e.names.contains(&name))?;
    Some(Named { steps, ignore_merges, add_bos, nfc })
}

/// The name for these expressions and settings.
pub(crate) fn name_of(steps: &[&str], ignore_merges: bool, nfc: bool) -> Option<&'static str> {
    let same = |e: &&Entry| e.steps == steps && e.ignore_merges == ignore_merges && e.nfc == nfc;
    TABLE.iter().find(same).and_then(|e| e.names.first().copied())
}

/// All expressions with the first name that uses them.
#[cfg(test)]
pub(crate) fn expressions() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().flat_map(|e| e.steps.iter().map(|step| (e.names[0], *step)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let unique: std::collections::BTreeSet<&str> = PRE_TOKENIZER_NAMES.iter().copied().collect();
        assert_eq!(unique.len(), PRE_TOKENIZER_NAMES.len());
        assert!(PRE_TOKENIZER_NAMES.iter().all(|name| named(name).is_some()));
    }

    #[test]
    fn steps_lead_back_to_the_first_name_that_has_them() {
        for entry in TABLE {
            let first = name_of(entry.steps, entry.ignore_merges, entry.nfc).unwrap();
            let back = named(first).unwrap();
            assert_eq!((back.steps, back.ignore_merges, back.nfc), (entry.steps, entry.ignore_merges, entry.nfc));
        }
        assert_eq!(name_of(&["x"], false, false), None);
    }
}
