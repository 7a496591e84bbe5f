"""Makes the goldens of this folder with Hugging Face's tokenizers and transformers.

    pip install tokenizers transformers jinja2
    python make.py

Two byte-level BPE tokenizers are trained on the sources of Python's standard library and on the sentences below: one cut as
Llama 3 (with BOS by template, whole pieces looked up first), one cut as SmolLM2 (digits apart, then GPT-2's expression). For
each string the ids, and for each conversation the rendered text, are written down.
"""

import json
import pathlib
import sysconfig

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SENTENCES = [
    "The quick brown fox can't jump over 13 lazy dogs; it's 2024 and they'll've slept.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Ёжик, йод, объём.",
    "Разложенные: и\u0306од, е\u0308лка, у\u0306 — то же самое иначе.",
    "Zażółć gęślą jaźń. Übergrößenträger. Pchnąć w tę łódź jeża.",
    "Η ταχεία αλεπού πηδάει. Το σκυλί κοιμάται.",
    "敏捷的棕色狐狸跳过懒狗。今天是二〇二四年。",
    "いろはにほへと ちりぬるを。カタカナと漢字。",
    "다람쥐 헌 쳇바퀴에 타고파. 안녕하세요.",
    "نص عربي قصير مع أرقام ١٢٣ و تشكيلٌ.",
    "नमस्ते दुनिया, क्षत्रिय ज्ञान।",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "Family 👨‍👩‍👧‍👦, flag 🏳️‍🌈🇺🇦, skin 👍🏽, keycap 1️⃣.",
]


def corpus():
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for name in ["argparse", "json/decoder", "textwrap", "statistics", "pathlib", "string", "random", "heapq"]:
        path = library / f"{name}.py"
        if path.exists():
            yield path.read_text()
    for _ in range(20):
        yield from SENTENCES


def train(pre, specials, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def llama3():
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = train(pre, specials, 1500)
    spec = json.loads(tokenizer.to_str())
    spec["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<pad me>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("Über", single_word=True)])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B:1",
                special_tokens=[("<|begin_of_text|>", bos)],
            ),
        ]
    )
    return tokenizer


def smollm2():
    pre = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return train(pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], 1200)


def nfc():
    """The same merges behind a normalizer and a space in front, as other byte-level models have them."""
    tokenizer = smollm2()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    tokenizer.add_tokens([AddedToken("é!", normalized=True), AddedToken("ё\u0301", normalized=False)])
    return tokenizer


def texts():
    yield from SENTENCES
    for sentence in SENTENCES:
        for cut in (5, 11, 23):
            yield sentence[cut:] + "  " + sentence[:cut]
    yield from ["", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t", "\r\n", "\r\n\r\n  x", " \t \n \r x", "a\n\n\nb", "a \n b", "x   y", "x   "]
    yield from ["\u00a0", "\u00a0\u00a0a", "\u2003\u2003b", "\u3000\u3000c", "\u200b", "a\u200bb", "\ufeff", "\u2028\u2029", "\x85", "\x1c\x1d", "\u180e"]
    yield from ["\x00", "\x00\x01\x02\x7f", "a\x00b", "\u0080\u009f", "\ufffd", "\ufffe\uffff", "\U0010ffff", "\U000e0001", "\ue000"]
    yield from ["'s", "'S", "don't", "DON'T", "I'LL", "we'Re", "it'ſ", "'ve'd", "’s", "K's", "x'dx", "'", "''", "'ll'"]
    yield from ["0", "12", "123", "1234", "12345678", "3.14159", "1,000,000", "１２３４", "١٢٣٤", "½", "²³", "Ⅷ", "二十", "1a2b3c", "0x1F", " 7", "  77"]
    yield from ["Hello", " Hello", "Hello ", "hello world", "HELLO WORLD", "heLLo", "foo_bar", "__init__", "camelCaseWord", "a-b-c", "e.g.", "..."]
    yield from ["!!!", "?!", "...\n", "#$%&", "()[]{}", "<|>", "a@b.c", "https://example.org/a?b=c&d=%20#e", "C:\\dir\\file.txt", "~/.config", "\\n"]
    yield from ["def f(x):\n    return x + 1\n", "if (a && b) {\n\tc();\n}\n", "for i in range(10):\n        print(i)\n\n\n", "x = [1, 2, 3]  # list", "<div class=\"a\">\n  <b>t</b>\n</div>"]
    yield from ["й", "и\u0306", "ё", "е\u0308", "ў", "у\u0306", "й\u0306", "Å", "A\u030a", "é!", "e\u0301!", "ё\u0301", "е\u0308\u0301", "\u0301", "a\u0301\u0302\u0303", "ﬁ", "ǆ", "İ", "ß", "ẞ"]
    yield from ["👍", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇺🇦", "1️⃣", "👍👍👍", "a👍b", "👍 ", " 👍", "☺️", "𝔘𝔫𝔦", "𐍈", "𓀀"]
    yield from ["<|im_start|>", "<|im_end|>x", "a<|endoftext|>b", "<|begin_of_text|>", "<|eot_id|><|eot_id|>", "<think>hm</think>", "a <pad me> b", "Über", "Über uns", "xÜber", "<pad me>"]
    yield from ["a" * 47, "a" * 48, "a" * 49, "a" * 50, "a" * 500, "ab" * 300, " " * 100, "\n" * 77, "1" * 100, "é" * 60, "the" * 100, "=" * 80, "-+" * 60]
    yield from [" ".join(["word"] * 30), "\n".join(["line"] * 30), "".join(chr(c) for c in range(32, 384)), "".join(chr(c) for c in range(0x400, 0x530))]
    state = 1
    pool = "ab eT'sS\n\t 1९é日👍\u0306-_.<|>й\u00a0"
    for i in range(150):
        out = ""
        for _ in range(3 + i % 40):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            out += pool[(state >> 33) % len(pool)]
        yield out


def cases(tokenizer):
    out = []
    for text in texts():
        plain = tokenizer.encode(text, add_special_tokens=False)
        around = tokenizer.encode(text, add_special_tokens=True)
        out.append({"text": text, "ids": plain.ids, "auto": around.ids, "decoded": tokenizer.decode(plain.ids, skip_special_tokens=True)})
    return out


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def conversations():
    cases = json.loads((HERE / "conversations.json").read_text())
    for case in cases:
        template = _compile_jinja_template((HERE / "templates" / case["template"]).read_text())
        try:
            case["rendered"] = template.render(messages=case["messages"], **case["variables"])
            case.pop("raises", None)
        except Exception as error:
            case["raises"] = str(error)
            case.pop("rendered", None)
    (HERE / "conversations.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


for name, make in [("llama3", llama3), ("smollm2", smollm2), ("nfc", nfc)]:
    tokenizer = make()
    (HERE / f"{name}.tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))
    write(f"{name}.cases.json", cases(tokenizer))
conversations()
