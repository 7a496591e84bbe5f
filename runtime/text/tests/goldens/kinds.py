"""Makes the goldens of `kinds/`: a very small vocabulary of every kind, with the tokens of some texts.

    pip install tokenizers sentencepiece protobuf
    python kinds.py

The vocabularies are those that `tests/tokenizers` trains, with fewer tokens.
"""

import base64
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "tests" / "lib" / "parity"))

import sentencepiece
import trained
from strings import COMBINED, EMOJI, SPACES, Strings

TEXTS = [
    "", " ", "Hello world", " Hello  world ", "The quick brown fox can't jump, won't it?", "Съешь же ещё этих булок", "и\u0306 е\u0308 у\u0306 é e\u0301",
    "<s>Hello</s>", "a<think>b", "a <wide> b", "Word Words aWord Word", "Über Über-", "敏捷的棕色狐狸 漢字かな", "1234567 3.14 ½ ٣٤", "\x00\x01 a\x7fb\ufffd",
    "".join(COMBINED), "".join(EMOJI), "a".join(SPACES), "naïve café İstanbul ẞ ǆ ﬁ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x = [1, 2]  # list\n\n\tif a:\n",
]

def corpus():
    """Little text, in few characters."""
    for _ in range(5):
        yield "the quick brown fox can't jump over the lazy dog, it won't; Hello world 1234. naïve café"
        yield "Съешь же ещё этих мягких булок, йод"
        yield "敏捷的棕色狐狸"


trained.SIZE, trained.ALPHABET, trained.corpus = 380, 70, corpus


def texts(name):
    yield from TEXTS
    strings = Strings(name, ["<s>", "</s>", "<think>", "<wide>", "Word", "Über"])
    for _ in range(12):
        yield strings.text()[:70]


def write(name, kind, content, answers):
    cases = [{"text": text, "around": a, "plain": p, "decoded": d} for text, a, p, d in answers]
    value = {"kind": kind, "file": content, "cases": cases}
    (HERE / "kinds" / f"{name}.json").write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    (HERE / "kinds").mkdir(exist_ok=True)
    chosen = ["bpe-fallback-prepend", "bpe-gemma", "bpe-fuse-unk", "bpe-word-end", "bpe-inside-prefix", "bpe-chunks", "bpe-scripts",
              "bpe-whole-decoders", "unigram-scripts", "wordlevel", "wordlevel-ctc", "wordlevel-ctc-metaspace", "unigram-t5", "unigram-never", "unigram-plain",
              "wordpiece-uncased", "wordpiece-cased", "wordpiece-inverted"]
    makers = trained.all_hf()
    for name in chosen:
        tokenizer = makers[name]()
        spec = json.loads(tokenizer.to_str())
        drop_big_tables(spec)
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        answers = []
        for text in texts(name):
            around, plain = tokenizer.encode(text), tokenizer.encode(text, add_special_tokens=False)
            answers.append((text, around.ids, plain.ids, tokenizer.decode(plain.ids, skip_special_tokens=True)))
        write(name, "hf", spec, answers)
    makers = trained.all_sentencepiece()
    for name in ["spm-bpe-bytes", "spm-bpe-no-prefix", "spm-unigram", "spm-unigram-symbols", "spm-unigram-lines"]:
        model = small(makers[name])
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        control = ("<unk>", "<s>", "</s>")
        answers = []
        for text in texts(name):
            if any(c in text for c in control):
                continue
            ids = processor.encode(text)
            answers.append((text, ids, ids, None if processor.unk_id() in ids else processor.decode(ids)))
        write(name, "sentencepiece", base64.b64encode(model).decode(), answers)


def drop_big_tables(spec):
    """sentencepiece's table of replacements takes 300 KB: a table of a few entries stands in for it."""
    steps = (spec["normalizer"] or {}).get("normalizers", [spec["normalizer"]])
    for step in steps:
        if step and step["type"] == "Precompiled":
            step["precompiled_charsmap"] = base64.b64encode(table()).decode()


def table():
    """A table made by sentencepiece of rules that fit on a page."""
    from sentencepiece import sentencepiece_model_pb2
    return sentencepiece_model_pb2.ModelProto.FromString(small(lambda: trained.sentence_piece("unigram", **rules()))).normalizer_spec.precompiled_charsmap


def rules():
    """Options for training with a table of a few rules: ligatures, widths, a composition, a removal."""
    pairs = {"ﬁ": "fi", "ﬃ": "ffi", "½": "1/2", "\u3000": " ", "\u00a0": " ", "\t": " ", "\n": " ", "e\u0301": "é", "\x01": "", "①": "1", "A\u030a": "Å"}
    path = HERE / "rules.tsv"
    path.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n" for a, b in pairs.items()))
    return {"normalization_rule_tsv": str(path)}


def small(make):
    """The model without its trainer's own tests, and with a small table."""
    from sentencepiece import sentencepiece_model_pb2
    model = sentencepiece_model_pb2.ModelProto.FromString(make())
    if len(model.normalizer_spec.precompiled_charsmap) > 20_000:
        model.normalizer_spec.precompiled_charsmap = table()
    return model.SerializeToString()


main()
(HERE / "rules.tsv").unlink(missing_ok=True)
