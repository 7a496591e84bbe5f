"""The goldens of model families, converted by Tern and run by llama.cpp: logits and greedy tokens are those of transformers.

Argument: the program `tern`. Goldens whose settings llama.cpp has no key for say so themselves ("llama_cpp": false).
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
GOLDENS = HERE / "../goldens"
WINDOWED = {"tiny-mistral"}  # llama.cpp knows no window of the architecture llama
sys.path.insert(0, str(HERE / "../lib"))


def check(folder, golden, target):
    from llama import Llama

    # F32, since llama.cpp rounds what goes into matrices of half precision.
    done = subprocess.run(
        [sys.argv[1], "convert", folder, target, "--type", "F32", "--force"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"{folder.name}: {done.stderr}"
    expected = np.fromfile(folder / "logits.bin", "<f4").reshape(len(golden["tokens"]), -1)
    length = golden.get("length", 256)
    peer = Llama(target, context=length, batch=length, threads=1, flash=0, kv="F32", all_logits=True)
    distance = np.abs(peer.logits(golden["tokens"]) - expected).max() / np.abs(expected).max()
    assert distance < 1e-3, f"{folder.name}: llama.cpp is {distance} away"
    tokens = list(golden["tokens"])
    for token, gap in zip(golden["greedy"] or [], golden["gaps"]):
        best = int(peer.logits(tokens)[-1].argmax())
        assert best == token or gap < 0.02, f"{folder.name}: {best} after {len(tokens)} tokens, expected {token}"
        tokens.append(token)
    peer.close()
    print(f"equal: {folder.name}, logits within {distance:.1e} and {len(golden['greedy'] or [])} greedy tokens")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        for folder in sorted(GOLDENS.glob("tiny-*")):
            golden = json.loads((folder / "golden.json").read_text())
            runs = golden.get("llama_cpp", True) and folder.name not in WINDOWED
            if (folder / "config.json").exists() and runs:
                check(folder, golden, pathlib.Path(temporary, "model.gguf"))


main()
