"""Prints the table in tests/reference.rs from an independent implementation: `gguf` on PyPI (0.17 or later)
with numpy. Run: python goldens.py
"""

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

# Bytes per block, and the upper bytes of the half-precision fields in it.
LAYOUTS = {
    "Q4_0": (32, 18, [1]),
    "Q4_1": (32, 20, [1, 3]),
    "Q5_0": (32, 22, [1]),
    "Q8_0": (32, 34, [1]),
    "Q4_K": (256, 144, [1, 3]),
    "Q6_K": (256, 210, [209]),
}
BLOCKS = 64


class Lcg:
    """The generator of tests/common/mod.rs."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 32


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 % 2**64
    return h


for name, (length, size, scales) in LAYOUTS.items():
    rng = Lcg(size)
    data = np.array([rng.next() & 255 for _ in range(BLOCKS * size)], np.uint8).reshape(BLOCKS, size)
    data[:, scales] &= 0xBF  # Without the exponent's top bit every half is finite.
    decoded = dequantize(data, T[name]).astype("<f4")
    values = np.array([(rng.next() & 0xFFFFFF) / 2**23 - 1 for _ in range(BLOCKS * length)], np.float32)
    try:
        encoded = f"Some({fnv(quantize(values, T[name]).tobytes()):#018x})"
    except NotImplementedError:
        encoded = "None"
    print(f"    (DType::{name}, &{scales}, {fnv(decoded.tobytes()):#018x}, {encoded}),")
