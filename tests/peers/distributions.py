#!/usr/bin/env python3
"""What the exact model and llama.cpp predict over one corpus, for every quantized type: the two sides that
tests/peers/accuracy compares tern with.

    $(tests/peers/setup) tests/peers/distributions.py                 all types into the cache's folder kl
    $(tests/peers/setup) tests/peers/distributions.py Q4_K_M --to DIR

The exact model of a type has that file's weights as F32 numbers, F32 arithmetic and an F32 cache. It is computed by
llama.cpp from a dequantized file; the dequantized numbers are compared bit for bit with the gguf package's, and
tests/goldens/make_smollm2.py found llama.cpp in this mode within 0.0001 nats of transformers. llama.cpp's own
predictions are those of its defaults: its kernels for the type, f16 cache, flash attention as it chooses. The corpus is
the texts of the goldens and the manuals of pinned packages, in pieces of about 400 tokens, each from an empty context.

corpus.json  [{"text", "tokens"}]
TYPE.npz     for every position (token i of a piece, i from 1): ids [N, 128], the exact model's likeliest tokens in no
             order; exact and llama [N, 128], natural log-probabilities of those ids by either; exact_next and
             llama_next [N], of the token that follows; kl [N], KL(exact || llama) over the whole vocabulary
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "goldens")]
import fixtures
import llama
import numpy as np
from texts import TEXTS

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K_M", "Q6_K"]
MANUALS = ["llama_cpp_python", "diskcache", "numpy", "gguf", "tokenizers"]  # versions pinned in tests/peers/setup
KEEP = 128
PIECE = 1500  # bytes, some 400 tokens


def corpus():
    pieces = list(TEXTS.values())
    for package in MANUALS:
        text = importlib.metadata.metadata(package).get_payload()
        piece = ""
        for line in text.splitlines(keepends=True):
            if piece and len(piece) + len(line) > PIECE:
                pieces.append(piece)
                piece = ""
            piece += line
        pieces.append(piece)
    return [
        piece for piece in pieces if piece.strip() and "<|" not in piece
    ]  # control tokens would need an option to be read as such


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)


def make(type_name, pieces, target, threads):
    quantized = fixtures.model(type_name)
    with tempfile.TemporaryDirectory(dir=target) as folder:
        wide = Path(folder) / "F32.gguf"
        llama.quantize(quantized, wide, "F32", threads)
        ours, theirs = fixtures.read_gguf(quantized)[1], fixtures.read_gguf(wide)[1]
        if ours.keys() != theirs.keys() or not all(np.array_equal(ours[name], theirs[name]) for name in ours):
            sys.exit(f"{type_name}: llama.cpp and the gguf package disagree about what the weights are")
        del ours, theirs
        exact = llama.Llama(wide, threads=threads, kv="F32", flash=0, all_logits=True)
        peer = llama.Llama(quantized, threads=threads, all_logits=True)
        columns = {name: [] for name in ["ids", "exact", "llama", "exact_next", "llama_next", "kl"]}
        for piece in pieces:
            tokens = piece["tokens"]
            a, b = (log_softmax(model.logits(tokens)[:-1]) for model in (exact, peer))
            ids = np.argpartition(-a, KEEP, -1)[:, :KEEP]
            following = np.array(tokens[1:])[:, None]
            columns["ids"].append(ids.astype(np.uint16))
            columns["exact"].append(np.take_along_axis(a, ids, -1).astype(np.float32))
            columns["llama"].append(np.take_along_axis(b, ids, -1).astype(np.float32))
            columns["exact_next"].append(np.take_along_axis(a, following, -1)[:, 0])
            columns["llama_next"].append(np.take_along_axis(b, following, -1)[:, 0])
            columns["kl"].append((np.exp(a) * (a - b)).sum(-1, dtype=np.float64))
        columns = {name: np.concatenate(parts) for name, parts in columns.items()}
        part = target / f"{type_name}.part{os.getpid()}.npz"
        np.savez(part, **columns)
        part.rename(target / f"{type_name}.npz")
        exact.close()
        peer.close()
    perplexity, peer_perplexity = (np.exp(-columns[name].mean(dtype=np.float64)) for name in ["exact_next", "llama_next"])
    print(
        f"{type_name:<7} {len(columns['kl'])} positions, perplexity exact {perplexity:.4f},"
        f" llama.cpp {peer_perplexity:.4f}, llama.cpp's mean KL {columns['kl'].mean():.6f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", help=" ".join(TYPES))
    parser.add_argument("--to", type=Path, default=fixtures.cache() / "kl")
    parser.add_argument("-t", type=int, default=2, help="threads")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    reader = llama.Llama(fixtures.model(fixtures.SHIPPED), threads=1)
    pieces = [{"text": text, "tokens": reader.tokenize(text)} for text in corpus()]
    reader.close()
    (options.to / "corpus.json").write_text(json.dumps(pieces, ensure_ascii=False))
    for type_name in options.types or TYPES:
        make(type_name, pieces, options.to, options.t)


if __name__ == "__main__":
    main()
