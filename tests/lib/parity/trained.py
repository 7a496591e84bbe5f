"""Small vocabularies of every kind, trained here with Hugging Face's tokenizers and with sentencepiece."""

import io
import json

import sentencepiece
from strings import CODE, COMBINED, EMOJI, WORDS
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

# Tokens in a vocabulary, and characters in its alphabet.
SIZE, ALPHABET = 900, 300

# Some that are parts of words and of each other, as real vocabularies have them.
SYMBOLS = ["<sep>", "th", "the", "he", "qu", "ов", "ко", "a", "ab", "12", "棕色", "ü", "!!", "__", "ll", "▁th"]

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]


def corpus():
    for start in range(0, len(WORDS), 3):
        yield " ".join(WORDS[start : start + 12])
    for _ in range(4):
        yield from WORDS
        yield from CODE
    yield from (" ".join(COMBINED), " ".join(EMOJI))


def finish(tokenizer, umlaut=True):
    """Added tokens of every flavour, and tokens around a text."""
    tokenizer.add_tokens([
        AddedToken("<think>", normalized=False),
        AddedToken("<wide>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("Word", single_word=True, normalized=True),
        # Hugging Face reads this one as if in the byte alphabet, and writes U+FFFD; here it stays as it is.
        *([AddedToken("Über", normalized=True)] if umlaut else []),
    ])
    bos, eos = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", bos), ("</s>", eos)])
    return tokenizer


def bpe(pre, decoder, normalizer=None, alphabet=(), byte_fallback=False, umlaut=True, **model):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **model))
    tokenizer.pre_tokenizer = pre or pre_tokenizers.Split(" ", "merged_with_previous")
    if normalizer:
        tokenizer.normalizer = normalizer
    specials = SPECIALS + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    options = {k: v for k, v in model.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=specials, initial_alphabet=list(alphabet), limit_alphabet=ALPHABET,
                                  show_progress=False, **options)
    tokenizer.train_from_iterator(corpus(), trainer)
    if byte_fallback:
        # Byte tokens belong to the model and are no added tokens.
        spec = json.loads(tokenizer.to_str())
        spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(spec))
    if decoder:
        tokenizer.decoder = decoder
    if pre is None:
        tokenizer.pre_tokenizer = None
    return finish(tokenizer, umlaut)


def unigram(normalizer, pre, decoder, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre
    specials = SPECIALS + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=SIZE, special_tokens=specials, unk_token="<unk>", show_progress=False))
    spec = json.loads(tokenizer.to_str())
    spec["model"]["byte_fallback"] = byte_fallback
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoder
    return finish(tokenizer)


def word_piece(normalizer, pre=None, cleanup=True):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=40))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre or pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=SPECIALS, limit_alphabet=ALPHABET, show_progress=False))
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    return finish(tokenizer)


def word_level(pre, decoder=None, normalizer=None):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(corpus(), trainers.WordLevelTrainer(vocab_size=SIZE, special_tokens=SPECIALS, show_progress=False))
    if decoder:
        tokenizer.decoder = decoder
    return finish(tokenizer, umlaut=False)


def charsmap():
    """sentencepiece's own table for NFKC, as a normalizer."""
    proto = sentence_piece("unigram", normalization_rule_name="nmt_nfkc")
    from sentencepiece import sentencepiece_model_pb2
    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    return normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)


def sentence_piece(kind, **options):
    """The bytes of a tokenizer.model."""
    model = io.BytesIO()
    options = {"hard_vocab_limit": False, "vocab_size": SIZE, "character_coverage": 0.98, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=corpus(), model_writer=model, model_type=kind, **options)
    return model.getvalue()


def all_hf():
    """Names and makers of tokenizers for tokenizer.json."""
    n, p, d = normalizers, pre_tokenizers, decoders
    letters = p.ByteLevel.alphabet()
    spaced = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    byte_level = p.ByteLevel(add_prefix_space=False)
    sequence = n.Sequence
    return {
        "bpe-gpt2": lambda: bpe(byte_level, d.ByteLevel(), alphabet=letters, umlaut=False),
        "bpe-prefix-space": lambda: bpe(p.ByteLevel(add_prefix_space=True), d.ByteLevel(), n.NFC(), alphabet=letters, umlaut=False),
        "bpe-digits": lambda: bpe(p.Sequence([p.Digits(individual_digits=False), byte_level]), d.ByteLevel(), n.NFKC(), alphabet=letters, umlaut=False),
        "bpe-fallback-prepend": lambda: bpe(None, spaced, sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), byte_fallback=True, fuse_unk=True),
        "bpe-fallback-metaspace-first": lambda: bpe(p.Metaspace(prepend_scheme="first", split=False), spaced, byte_fallback=True, fuse_unk=True),
        "bpe-gemma": lambda: bpe(p.Split(" ", "merged_with_previous"), d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse()]), n.Replace(" ", "▁"), byte_fallback=True, fuse_unk=True),
        "bpe-unk": lambda: bpe(p.Whitespace(), None, n.NFD()),
        "bpe-fuse-unk": lambda: bpe(p.WhitespaceSplit(), None, n.NFKD(), fuse_unk=True),
        "bpe-word-end": lambda: bpe(p.BertPreTokenizer(), d.BPEDecoder(suffix="</w>"), n.BertNormalizer(), end_of_word_suffix="</w>"),
        "bpe-inside-prefix": lambda: bpe(p.Punctuation("merged_with_next"), d.WordPiece(prefix="@@", cleanup=False), n.Lowercase(), continuing_subword_prefix="@@"),
        "bpe-normalized-bytes": lambda: bpe(p.Split(Regex(r"Ġ?[A-Za-z]+|\d+"), "isolated"), d.ByteLevel(), n.ByteLevel(), alphabet=letters),
        "bpe-chunks": lambda: bpe(p.FixedLength(length=3), d.Fuse(), n.NFC()),
        "bpe-scripts": lambda: bpe(p.Sequence([p.UnicodeScripts(), p.Whitespace()]), d.BPEDecoder(suffix="</w>"), end_of_word_suffix="</w>"),
        "bpe-whole-decoders": lambda: bpe(byte_level, d.Sequence([d.ByteLevel(), d.Replace("ab", "-"), d.Strip("d", 2, 0), d.WordPiece(), d.Fuse(), d.Metaspace(prepend_scheme="never")]), alphabet=letters, umlaut=False),
        "unigram-scripts": lambda: unigram(n.NFKC(), p.Sequence([p.UnicodeScripts(), p.Metaspace(prepend_scheme="first")]), d.Metaspace(prepend_scheme="first")),
        "unigram-t5": lambda: unigram(sequence([charsmap(), n.Strip(left=False), n.Replace(Regex(" {2,}"), "▁")]), p.Metaspace(prepend_scheme="always"), d.Metaspace(prepend_scheme="always")),
        "unigram-xlm-r": lambda: unigram(charsmap(), p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="always")]), d.Metaspace(prepend_scheme="always")),
        "unigram-albert": lambda: unigram(sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), charsmap()]), p.Metaspace(prepend_scheme="first"), d.Metaspace(prepend_scheme="first")),
        "unigram-never": lambda: unigram(n.Nmt(), p.Metaspace(prepend_scheme="never", split=False), d.Metaspace(prepend_scheme="never"), byte_fallback=True),
        "unigram-plain": lambda: unigram(n.Strip(), p.Sequence([p.CharDelimiterSplit("e"), p.Punctuation("contiguous")]), None),
        "wordlevel": lambda: word_level(p.Whitespace()),
        "wordlevel-bytes": lambda: word_level(p.ByteLevel(), d.ByteLevel(), n.NFC()),
        "wordlevel-ctc": lambda: word_level(p.Sequence([p.Split("", "isolated"), p.UnicodeScripts()]), d.CTC(pad_token="e", word_delimiter_token="o"), n.Lowercase()),
        "wordlevel-ctc-metaspace": lambda: word_level(p.FixedLength(length=1), d.Sequence([d.CTC(pad_token="l", word_delimiter_token="a", cleanup=False), d.Metaspace()]), n.Replace(" ", "▁")),
        "wordpiece-uncased": lambda: word_piece(n.BertNormalizer()),
        "wordpiece-cased": lambda: word_piece(n.BertNormalizer(lowercase=False, strip_accents=False), cleanup=False),
        "wordpiece-dirty": lambda: word_piece(n.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False), p.Sequence([p.WhitespaceSplit(), p.Punctuation("removed"), p.Split(Regex(r"[0-9]{2}"), "merged_with_previous")])),
        "wordpiece-inverted": lambda: word_piece(n.StripAccents(), p.Sequence([p.Split(Regex(r"\w+"), "removed", invert=True), p.Split(Regex("o*"), "merged_with_next"), p.Digits(individual_digits=True)])),
    }


def all_sentencepiece():
    """Names and makers of tokenizer.model."""
    symbols = {"user_defined_symbols": ["<sep>", "<think>", "▁▁▁", "</w>"]}
    return {
        "spm-bpe-bytes": lambda: sentence_piece("bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, **symbols),
        "spm-bpe-nfkc": lambda: sentence_piece("bpe", normalization_rule_name="nfkc"),
        "spm-bpe-no-prefix": lambda: sentence_piece("bpe", byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="nmt_nfkc"),
        "spm-unigram": lambda: sentence_piece("unigram", **symbols),
        "spm-unigram-symbols": lambda: sentence_piece("unigram", user_defined_symbols=SYMBOLS),
        # As Jurassic-2 has it: lines and runs of spaces are tokens of their own, texts are left as they are.
        "spm-unigram-lines": lambda: sentence_piece("unigram", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False, split_digits=True, user_defined_symbols=["<|newline|>", *("▁" * n for n in range(2, 9)), *SYMBOLS]),
        "spm-unigram-bytes": lambda: sentence_piece("unigram", byte_fallback=True, normalization_rule_name="nmt_nfkc_cf"),
    }
