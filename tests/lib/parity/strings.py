"""Texts for comparing tokenizers: the same for the same seed."""

import random

WORDS = (
    "the quick brown fox jumps over lazy dog can't won't I'll they'd've it's He'S naïve café résumé Übergrößenträger "
    "Съешь же ещё этих мягких французских булок да выпей чаю Ёжик йод объём ў Їжак ґанок қазақ өзбек "
    "Η ταχεία αλεπού σκύλος ΟΔΟΣ Zażółć gęślą jaźń İstanbul ısırık ŀla ǆ ﬁn ﬂow ẞ ſein "
    "敏捷的棕色狐狸跳过懒狗 今天是二〇二四年 いろはにほへと ちりぬるを カタカナー 漢字 다람쥐 쳇바퀴에 안녕하세요 "
    "نص عربي قصير تشكيلٌ שלום עולם नमस्ते दुनिया क्षत्रिय สวัสดีชาวโลก ខ្មែរ မြန်မာ অসমীয়া தமிழ் ⵜⴰⵎⴰⵣⵉⵖⵜ ꦗꦮ "
    "Hello HELLO hello hELLO fooBar foo_bar __init__ XMLHttpRequest snake_case kebab-case CamelCaseWord e.g. i.e. U.S.A. "
    "antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft"
).split()

COMBINED = ["й", "и\u0306", "ё", "е\u0308", "ў", "у\u0306", "й\u0306", "ѐ", "е\u0300", "Å", "A\u030a", "\u212b", "e\u0301", "é",
            "o\u0302\u0301", "ậ", "a\u0323\u0302", "\u0301", "\u0f71\u0f72", "각", "\u1100\u1161\u11a8", "ﬃ", "①", "½", "㎏", "ｱｲｳ", "ﷺ",
            "\u0958", "\u1e9b\u0323", "𝔘", "\u2126", "\u0340", "\u0344", "z\u0335\u0321\u0327", "ำ", "\u0e33", "ؤ", "\u0654"]

EMOJI = ["👍", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇺🇦", "🇺", "1️⃣", "☺️", "☺", "❤️‍🔥", "🧑🏿‍💻", "\u200d", "\ufe0f", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🫠", "\U0001fae8", "♀️", "©", "™", "🥹🥹🥹"]

SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u200b",
          "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1f", "\u1680", "\u180e", "\u202f", "\u205f", "\ufeff", "▁", "▁▁", " ▁", "▁ "]

CODE = ["def f(x):\n    return x + 1\n", "if (a && b) {\n\tc();\n}\n", "for i in range(10):\n        print(i)\n\n\n", "x = [1, 2, 3]  # list",
        "<div class=\"a\">\n  <b>t</b>\n</div>", "https://example.org/a?b=c&d=%20#e", "C:\\dir\\file.txt", "SELECT * FROM t WHERE a='b';",
        "a->b::c<d>()", "\\n\\t\\\\", "#include <stdio.h>", "```rust\nfn main() {}\n```", "$x^2_{i}$", "0x1F 1e-9 3.14f 1_000", "//---///***",
        "{\"k\": [null, true, 1.5]}", "!==", "=>", "...", "…", "—", "–", "``", "''", "' '", "n't", " do not", " .", " ,"]

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»“”‘’‚„‹›·•§¶†‡′″€£¥¢¤°±×÷≠≤≥∞√∑∏∫∂∆Ωµ。、！？：；（）【】《》「」،؛؟।॥"

# Where random characters are drawn from, each as likely as any other.
BLOCKS = [(0x00, 0x20), (0x20, 0x7F), (0x7F, 0xA0), (0xA0, 0x250), (0x250, 0x370), (0x370, 0x530), (0x530, 0x700), (0x700, 0xE00), (0xE00, 0x1200),
          (0x1200, 0x2000), (0x2000, 0x2070), (0x2070, 0x2C00), (0x2C00, 0x3400), (0x3400, 0xA000), (0xA000, 0xD800), (0xE000, 0xF900),
          (0xF900, 0x10000), (0x10000, 0x12000), (0x12000, 0x1F000), (0x1F000, 0x20000), (0x20000, 0x32400), (0x32400, 0xE0000),
          (0xE0000, 0xE0200), (0xF0000, 0x110000)]


class Strings:
    """Draws texts. `specials`: texts of the tokenizer's own special tokens, to be written into some."""

    def __init__(self, seed, specials=()):
        self.random = random.Random(seed)
        self.specials = list(specials)

    def character(self):
        low, high = self.random.choice(BLOCKS)
        return chr(self.random.randrange(low, high))

    def digits(self):
        kind = self.random.random()
        digits = "0123456789" if kind < 0.8 else self.random.choice(["٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "०१२३४५६७८९", "²³½Ⅷ①㉈〇"])
        return "".join(self.random.choice(digits) for _ in range(self.random.choice([1, 2, 3, 4, 5, 7, 12, 30])))

    def special(self):
        """A special token, or something that looks like one."""
        text = self.random.choice(self.specials or ["<s>"])
        kind = self.random.randrange(6)
        if kind == 0:
            return text[: self.random.randrange(len(text) + 1)]
        if kind == 1:
            return text[self.random.randrange(len(text) + 1) :]
        if kind == 2:
            at = self.random.randrange(len(text) + 1)
            return text[:at] + self.random.choice([" ", "\n", "x", "<", "\u0301"]) + text[at:]
        if kind == 3:
            return self.random.choice([" ", "\n ", "a", "_", "é"]) + text + self.random.choice([" ", " \t", "b", "_", "й"])
        return text * self.random.choice([1, 1, 2])

    def part(self):
        pick = self.random.random()
        if pick < 0.42:
            return self.random.choice(WORDS) + (" " if self.random.random() < 0.8 else "")
        if pick < 0.52:
            return self.random.choice(SPACES)
        if pick < 0.58:
            return self.digits()
        if pick < 0.64:
            return self.random.choice(PUNCTUATION) * self.random.choice([1, 1, 1, 2, 3])
        if pick < 0.72:
            return self.random.choice(COMBINED)
        if pick < 0.78:
            return self.random.choice(EMOJI)
        if pick < 0.84:
            return self.random.choice(CODE)
        if pick < 0.96:
            return "".join(self.character() for _ in range(self.random.choice([1, 1, 2, 3, 6])))
        if pick < 0.99:
            return self.special()
        return self.random.choice([*WORDS, *COMBINED, *SPACES, *"aZ9é日.-"]) * self.random.choice([10, 40, 90, 260])

    def text(self):
        return "".join(self.part() for _ in range(self.random.choice([0, 1, 1, 2, 3, 4, 5, 8, 13, 20])))
