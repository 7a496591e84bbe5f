"""Prints runtime/quant/src/grid/tables.rs, the codebooks of the IQ formats, measured.

A codebook is part of its format, as a list of points that no formula gives. libggml decodes blocks
made to visit every index with a scale of one and no signs; the points are what it answers.

Run: python iq_grids.py LIBGGML_BASE > tables.rs
LIBGGML_BASE is the shared library in the package llama-cpp-python (llama_cpp/lib/libggml-base.*).
"""

import ctypes
import sys

import numpy as np

LIB = ctypes.CDLL(sys.argv[1])


def decode(name, blocks):
    """What libggml reads in `blocks` [n, bytes per block], as [n, 256]."""
    out = np.empty((len(blocks), 256), np.float32)
    blocks = np.ascontiguousarray(blocks)
    function = getattr(LIB, f"dequantize_row_{name}")
    function(ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(out.size))
    return out


def half(value):
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


def iq2_xxs():
    """32-element groups: four index bytes, then four bytes of signs and scale. Weight = d / 8 * point."""
    blocks = np.zeros((8, 66), np.uint8)
    blocks[:, :2] = half(8)
    indices = np.arange(256).reshape(8, 8, 4)
    blocks[:, 2:].reshape(8, 8, 8)[:, :, :4] = indices
    return decode("iq2_xxs", blocks).reshape(256, 8)


def iq2_xs():
    """16-bit words: nine bits of index, seven of signs. Weight = d / 8 * point."""
    blocks = np.zeros((16, 74), np.uint8)
    blocks[:, :2] = half(8)
    blocks[:, 2:66] = np.arange(512, dtype="<u2").reshape(16, 32).view(np.uint8)
    return decode("iq2_xs", blocks).reshape(512, 8)


def iq2_s():
    """Low bytes of the indices, signs, then two more bits for each index. Weight = d / 8 * point."""
    blocks = np.zeros((32, 82), np.uint8)
    blocks[:, :2] = half(8)
    indices = np.arange(1024).reshape(32, 8, 4)
    blocks[:, 2:34] = (indices & 255).reshape(32, 32)
    blocks[:, 66:74] = ((indices >> 8) << np.array([0, 2, 4, 6])).sum(-1)
    return decode("iq2_s", blocks).reshape(1024, 8)


def iq3_xxs():
    """Bytes of indices, then signs and scales. Weight = d / 4 * point."""
    blocks = np.zeros((4, 98), np.uint8)
    blocks[:, :2] = half(4)
    blocks[:, 2:66] = np.arange(256).reshape(4, 64)
    return decode("iq3_xxs", blocks).reshape(256, 4)


def iq3_s():
    """Low bytes of the indices, then one more bit for each. Weight = d * point."""
    blocks = np.zeros((8, 110), np.uint8)
    blocks[:, :2] = half(1)
    indices = np.arange(512).reshape(8, 8, 8)
    blocks[:, 2:66] = (indices & 255).reshape(8, 64)
    blocks[:, 66:74] = ((indices >> 8) << np.arange(8)).sum(-1)
    return decode("iq3_s", blocks).reshape(512, 4)


def iq1_s():
    """Low bytes of the indices, then words with three more bits for each. Weight = d * (point + 1/8)."""
    blocks = np.zeros((64, 50), np.uint8)
    blocks[:, :2] = half(1)
    indices = np.arange(2048).reshape(64, 8, 4)
    blocks[:, 2:34] = (indices & 255).reshape(64, 32)
    words = ((indices >> 8) << np.array([0, 3, 6, 9])).sum(-1).astype("<u2")
    blocks[:, 34:] = words.view(np.uint8).reshape(64, 16)
    return decode("iq1_s", blocks).reshape(2048, 8) - 0.125


HEADER = """\
//! Points of the codebooks, measured by tests/goldens/quant/iq_grids.py. Do not edit.
//!
//! In every codebook the indices follow the points in ascending order, the last element counting most. So a
//! codebook is a set, stored as one bit per possible point: bit p % 64 of word p / 64 for the point whose levels
//! are the digits of p, least significant digit first.
"""


def main():
    print(HEADER)
    for measure, doc in (
        (iq2_xxs, "256 of the 3^8 points with levels 8, 25, 43."),
        (iq2_xs, "512 of the 3^8 points with levels 8, 25, 43."),
        (iq2_s, "1024 of the 3^8 points with levels 8, 25, 43."),
        (iq1_s, "2048 of the 3^8 points with levels -1, 0, 1. IQ1_M has the same."),
        (iq3_xxs, "256 of the 8^4 points with levels 4, 12, 20, 28, 36, 44, 52, 62."),
        (iq3_s, "512 of the 8^4 points with levels 1, 3, 5, 7, 9, 11, 13, 15."),
    ):
        points = measure()
        levels = np.unique(points)
        stated = doc.split("levels ")[1].split(".")[0]
        assert stated == ", ".join(f"{level:g}" for level in levels), levels
        numbers = np.searchsorted(levels, points) @ len(levels) ** np.arange(points.shape[1])
        assert np.all(np.diff(numbers) > 0), "not in ascending order: the representation does not hold"
        words = [0] * -(-(len(levels) ** points.shape[1]) // 64)
        for number in numbers.tolist():
            words[number // 64] |= 1 << number % 64
        print(f"/// {doc}\n#[rustfmt::skip]")
        print(f"pub(super) const {measure.__name__.upper()}: [u64; {len(words)}] = [")
        for row in range(0, len(words), 5):
            print("    " + " ".join(f"0x{word:016x}," for word in words[row : row + 5]))
        print("];\n" if measure is not iq3_s else "];")


if __name__ == "__main__":
    main()
