"""Makes blocks.txt, what libggml decodes the same bytes to and encodes the same numbers to, and errors.txt, how
large the squared error of its encoders is.

Run: python make.py LIBGGML_BASE
LIBGGML_BASE is the shared library in the package llama-cpp-python (llama_cpp/lib/libggml-base.*).

Input comes from a generator that runtime/quant/tests/reference.rs has too, so only checksums and a
few values are kept: FNV-1a over 32-bit words, NaNs made alike first.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

LIB = ctypes.CDLL(sys.argv[1])
LIB.ggml_quantize_chunk.restype = ctypes.c_size_t
LIB.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
BLOCKS = 64
PATTERNS = [0x00, 0xFF, 0x55, 0xAA, 0x80, 0x7F, 0x01, 0x3C]

ROWS, COLUMNS = 64, 512

IDS = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
IDS |= {"IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19, "IQ3_S": 21, "IQ2_S": 22, "IQ1_M": 29}
IDS |= {"IQ4_NL": 20, "IQ4_XS": 23, "TQ1_0": 34, "TQ2_0": 35, "MXFP4": 39, "NVFP4": 40, "Q1_0": 41, "Q2_0": 42}

# Type, elements and bytes per block, function suffix; whether our plain encoder gives ggml's bytes.
TYPES = [
    ("Q4_0", 32, 18, "q4_0", True),
    ("Q4_1", 32, 20, "q4_1", True),
    ("Q5_0", 32, 22, "q5_0", True),
    ("Q5_1", 32, 24, "q5_1", True),
    ("Q8_0", 32, 34, "q8_0", True),
    ("Q2_K", 256, 84, "q2_K", False),
    ("Q3_K", 256, 110, "q3_K", False),
    ("Q4_K", 256, 144, "q4_K", False),
    ("Q5_K", 256, 176, "q5_K", False),
    ("Q6_K", 256, 210, "q6_K", False),
    ("Q8_K", 256, 292, "q8_K", True),
    ("IQ2_XXS", 256, 66, "iq2_xxs", False),
    ("IQ2_XS", 256, 74, "iq2_xs", False),
    ("IQ2_S", 256, 82, "iq2_s", False),
    ("IQ3_XXS", 256, 98, "iq3_xxs", False),
    ("IQ3_S", 256, 110, "iq3_s", False),
    ("IQ1_S", 256, 50, "iq1_s", False),
    ("IQ1_M", 256, 56, "iq1_m", False),
    ("IQ4_NL", 32, 18, "iq4_nl", False),
    ("IQ4_XS", 256, 136, "iq4_xs", False),
    ("TQ1_0", 256, 54, "tq1_0", False),
    ("TQ2_0", 256, 66, "tq2_0", False),
    ("MXFP4", 32, 17, "mxfp4", False),
    ("NVFP4", 64, 36, "nvfp4", False),
    ("Q1_0", 128, 18, "q1_0", True),
    ("Q2_0", 64, 18, "q2_0", False),
]


class Lcg:
    """The generator of runtime/quant/tests/common/mod.rs."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 32

    def units(self, n):
        return np.array([(self.next() & 0xFFFFFF) / 2**23 - 1 for _ in range(n)], np.float32)


def checksum(words):
    h = 0xCBF29CE484222325
    for word in words.tolist():
        h = (h ^ word) * 0x100000001B3 % 2**64
    return h


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def decode(function, data, elements):
    out = np.empty(elements, np.float32)
    getattr(LIB, "dequantize_row_" + function)(pointer(data), pointer(out), ctypes.c_int64(elements))
    words = out.view(np.uint32).copy()
    words[np.isnan(out)] = 0x7FC00000
    return words


def encode(function, values, size):
    out = np.zeros(size, np.uint8)
    getattr(LIB, f"quantize_row_{function}_ref")(pointer(values), pointer(out), ctypes.c_int64(len(values)))
    return out


HERE = Path(__file__).parent


def blocks():
    yield "# Type, checksum of decoded random blocks, of decoded patterns, of encoded numbers or -;"
    yield "# the first, the middle and the last decoded value of the random blocks, as bits."
    for name, length, size, function, same_bytes in TYPES:
        rng = Lcg(size)
        data = np.array([rng.next() & 255 for _ in range(BLOCKS * size)], np.uint8)
        numbers = rng.units(BLOCKS * length)
        patterns = np.repeat(np.array(PATTERNS, np.uint8), size)
        decoded = decode(function, data, BLOCKS * length)
        edges = decode(function, patterns, len(PATTERNS) * length)
        encoded = f"{checksum(encode(function, numbers, BLOCKS * size)):016x}" if same_bytes else "-"
        spelled = " ".join(f"{decoded[at]:08x}" for at in (0, len(decoded) // 2, -1))
        yield f"{name} {checksum(decoded):016x} {checksum(edges):016x} {encoded} {spelled}"


def errors():
    yield "# Type, distribution, squared error of libggml's encoder, weighted error of the same with importance."
    rng = Lcg(11)
    n = ROWS * COLUMNS
    importance = rng.units(COLUMNS) ** 2 * np.where(np.arange(COLUMNS) % 50 == 0, np.float32(100), np.float32(1))
    normal = np.zeros(n, np.float32)
    for _ in range(12):
        normal += rng.units(n) / 2
    outliers = normal * np.where(np.arange(n) % 97 == 0, np.float32(1), np.float32(0.02))
    draws = {"uniform": rng.units(n), "normal": normal, "outliers": outliers}
    for name, length, size, function, _ in TYPES:
        for label, x in draws.items():
            row = f"{name} {label}"
            for weights in (None, importance):
                # Q8_K is no type of weights there.
                if name == "Q8_K":
                    out = encode(function, x, n // length * size)
                else:
                    out = np.zeros(n // length * size, np.uint8)
                    sizes = ctypes.c_int64(0), ctypes.c_int64(ROWS), ctypes.c_int64(COLUMNS)
                    # Some types are refused without importance: then all columns are alike.
                    required = weights is None and LIB.ggml_quantize_requires_imatrix(IDS[name])
                    given = np.ones(COLUMNS, np.float32) if required else weights
                    given = None if given is None else pointer(given)
                    LIB.ggml_quantize_chunk(IDS[name], pointer(x), pointer(out), *sizes, given)
                rest = (x - decode(function, out, n).view(np.float32)).reshape(ROWS, COLUMNS).astype(np.float64)
                row += f" {np.sum(rest**2 * (1 if weights is None else weights)):.6e}"
            yield row


for name, lines in (("blocks.txt", blocks()), ("errors.txt", errors())):
    (HERE / name).write_text("".join(line + "\n" for line in lines))
