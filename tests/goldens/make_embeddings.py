"""Writes embeddings.json: last hidden states of tiny models, pooled, by Hugging Face transformers in float64.

usage: make_embeddings.py
"""

import json
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).parent
# The head is tied; its own; behind factors; behind a cap; after a layer norm.
MODELS = ["tiny-llama", "tiny-untied", "tiny-granite", "tiny-gemma2", "tiny-gpt2"]
# Of different lengths, so that what shares a step ends at different places; one is longer than a step's rows.
TEXTS = [[(7 * i * i + 3 * n + 11) % 290 for i in range(count)] for n, count in enumerate([1, 5, 23, 90, 2])]


def main():
    out = {"made_by": f"transformers {transformers.__version__}, torch {torch.__version__}", "texts": TEXTS, "models": {}}
    for name in MODELS:
        model = transformers.AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float64).eval()
        pooled = {"mean": [], "cls": [], "last": []}
        for text in TEXTS:
            with torch.no_grad():
                hidden = model.base_model(torch.tensor([text])).last_hidden_state[0]
            for key, vector in [("mean", hidden.mean(0)), ("cls", hidden[0]), ("last", hidden[-1])]:
                pooled[key].append([float(f"{x:.7g}") for x in vector])
        out["models"][name] = pooled
    (HERE / "embeddings.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
