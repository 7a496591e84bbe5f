"""Compares the encoders with libggml's: squared error, plain and weighted, and speed on one core.

Run: cargo build --release -p tern-quant --example encode
     python quality.py LIBGGML_BASE PATH_OF_THE_EXAMPLE [MODEL.gguf] [TYPE ...]
Needs numpy and gguf. MODEL.gguf lends its matrices (dithered within a step where they are quantized,
so that no format meets its own grid again); shapes drawn at random are measured in any case.

A row per type: the ratio of our squared error to ggml's, the geometric mean and the worst of all
matrices, without and with importance; MB of f32 per second, ours / ggml's, without and with.
"""

import ctypes
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIB = ctypes.CDLL(sys.argv[1])
ENCODE = sys.argv[2]
MODELS = [a for a in sys.argv[3:] if a.endswith(".gguf")]
LIB.ggml_quantize_chunk.restype = ctypes.c_size_t
LIB.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
COLUMNS, ROWS = 1536, 128

# Name, ggml's id, elements and bytes per block.
TYPES = {
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
    "IQ1_S": (19, 256, 50),
    "IQ1_M": (29, 256, 56),
    "IQ2_XXS": (16, 256, 66),
    "IQ2_XS": (17, 256, 74),
    "IQ2_S": (22, 256, 82),
    "IQ3_XXS": (18, 256, 98),
    "IQ3_S": (21, 256, 110),
    "IQ4_NL": (20, 32, 18),
    "IQ4_XS": (23, 256, 136),
    "TQ1_0": (34, 256, 54),
    "TQ2_0": (35, 256, 66),
    "MXFP4": (39, 32, 17),
    "NVFP4": (40, 64, 36),
    "Q1_0": (41, 128, 18),
    "Q2_0": (42, 64, 18),
}


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def decode(name, data, n):
    out = np.empty(n, np.float32)
    suffix = name.lower().replace("_k", "_K")
    getattr(LIB, "dequantize_row_" + suffix)(pointer(data), pointer(out), ctypes.c_int64(n))
    return out


def ggml(name, x, importance):
    code, length, size = TYPES[name]
    rows, columns = x.shape
    LIB.ggml_quantize_init(code)  # Tables, made once.
    if importance is None and LIB.ggml_quantize_requires_imatrix(code):
        importance = np.ones(columns, np.float32)
    out = np.zeros(x.size // length * size, np.uint8)
    args = [ctypes.c_int(code), pointer(x), pointer(out), ctypes.c_int64(0), ctypes.c_int64(rows), ctypes.c_int64(columns)]
    start = time.perf_counter()
    LIB.ggml_quantize_chunk(*args, pointer(importance) if importance is not None else None)
    return decode(name, out, x.size).reshape(x.shape), time.perf_counter() - start


def ours(name, x, importance, folder):
    x.tofile(folder / "x")
    command = [ENCODE, name, folder / "x", folder / "out"]
    if importance is not None:
        importance.tofile(folder / "importance")
        command.append(folder / "importance")
    seconds = float(subprocess.check_output(command))
    return decode(name, np.fromfile(folder / "out", np.uint8), x.size).reshape(x.shape), seconds


def drawn():
    rng = np.random.default_rng(7)
    shape = (ROWS, COLUMNS)
    outliers = np.where(rng.random(COLUMNS) < 0.01, 20.0, 1.0)
    yield "normal", 0.02 * rng.standard_normal(shape)
    yield "heavy", 0.02 * rng.standard_t(3, shape)
    yield "laplace", 0.02 * rng.laplace(size=shape)
    yield "uniform", rng.uniform(-0.1, 0.1, shape)
    yield "outlier columns", 0.02 * rng.standard_normal(shape) * outliers
    yield "outliers", 0.02 * rng.standard_normal(shape) * np.where(rng.random(shape) < 0.01, 30.0, 1.0)
    yield "shifted", 0.02 * rng.standard_normal(shape) + 0.03
    yield "rows of all sizes", rng.standard_normal(shape) * 10 ** rng.uniform(-3, 0, (ROWS, 1))


def of_model(path):
    from gguf import GGUFReader
    from gguf.quants import dequantize

    rng = np.random.default_rng(8)
    tensors = [t for t in GGUFReader(path).tensors if len(t.shape) == 2 and t.shape[0] % 256 == 0]
    tensors = [t for t in tensors if "blk.0." in t.name or "blk.15." in t.name or "blk.29." in t.name or "embd" in t.name]
    for t in tensors:
        x = dequantize(t.data, t.tensor_type).reshape(t.shape[::-1])[:512].astype(np.float32)
        # Half a step of 4-bit blocks, estimated by the range of each run of 32.
        runs = x.reshape(-1, 32)
        step = (runs.max(1, keepdims=True) - runs.min(1, keepdims=True)) / 15
        yield t.name, (runs + step * rng.uniform(-0.5, 0.5, runs.shape)).reshape(x.shape)


def importances(columns):
    """As activations have it: over orders of magnitude, and a few columns far above the rest."""
    rng = np.random.default_rng(9)
    squares = np.exp(1.5 * rng.standard_normal(columns))
    return (squares * np.where(rng.random(columns) < 0.004, 1000.0, 1.0)).astype(np.float32)


def main():
    matrices = list(drawn()) + [m for path in MODELS for m in of_model(path)]
    matrices = [(name, np.ascontiguousarray(x, np.float32)) for name, x in matrices]
    chosen = [t for t in TYPES if t in sys.argv[3:]] or list(TYPES)
    print(f"{len(matrices)} matrices\n{'type':8} plain mean, worst           weighted mean, worst        MB/s plain, weighted")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            row = f"{name:8}"
            speeds = []
            for weighted in (False, True):
                ratios, mine, theirs, total = [], 0, 0, 0
                for label, x in matrices:
                    importance = importances(x.shape[1]) if weighted else None
                    weights = 1.0 if importance is None else importance
                    (a, s), (b, t) = ours(name, x, importance, Path(folder)), ggml(name, x, importance)
                    errors = [float((weights * (x - y).astype(np.float64) ** 2).sum()) for y in (a, b)]
                    ratios.append((errors[0] / errors[1], label))
                    mine, theirs, total = mine + s, theirs + t, total + x.nbytes / 1e6
                mean = np.exp(np.mean([np.log(r) for r, _ in ratios]))
                worst = max(ratios)
                row += f" {mean:.4f} {worst[0]:.4f} {worst[1][:14]:14}"
                speeds.append(f"{total / mine:.0f}/{total / theirs:.0f}")
            print(row, *speeds, flush=True)


main()
