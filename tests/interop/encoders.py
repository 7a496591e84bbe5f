"""The goldens of encoders, converted by Tern and run by llama.cpp: their vectors point where those of transformers do, and texts have
the same tokens. Argument: the program `tern`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
GOLDENS = HERE / "../goldens"
sys.path.insert(0, str(HERE / "../lib"))
# Texts that llama.cpp takes apart otherwise: it knows no longest word, and puts no spaces around some signs.
OTHERWISE = 1


def check(folder, golden, target):
    from llama import Llama

    # F32, since llama.cpp rounds what goes into matrices of half precision.
    done = subprocess.run([sys.argv[1], "convert", folder, target, "--type", "F32", "--force"], capture_output=True, text=True)
    assert done.returncode == 0, f"{folder.name}: {done.stderr}"
    peer = Llama(target, context=512, batch=512, threads=1, flash=0, embeddings=True)
    least, other = 1.0, []
    for text, tokens, vector in zip(golden["texts"], golden["tokens"], golden[golden["pooling"]]):
        found, vector = peer.embed(tokens), np.array(vector)
        least = min(least, found @ vector / np.linalg.norm(found) / np.linalg.norm(vector))
        if peer.tokenize(text, special=False, around=True) != tokens:
            other.append(text)
    peer.close()
    assert least > 0.9999, f"{folder.name}: smallest cosine {least}"
    assert len(other) <= OTHERWISE, f"{folder.name}: other tokens of {other}"
    print(f"equal: {folder.name}, smallest cosine {least:.8f}, {len(other)} texts with other tokens there")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        for folder in sorted(GOLDENS.glob("encoder-*/")):
            check(folder, json.loads((folder / "golden.json").read_text()), pathlib.Path(temporary, "model.gguf"))


main()
