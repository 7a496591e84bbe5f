#!/usr/bin/env python3
"""Makes tests/goldens/smollm2: what two independent implementations say about the test model.

    $(tests/peers/setup) tests/fixtures/variants.py F32 F16 HF
    $(tests/peers/setup --goldens) tests/goldens/make_smollm2.py

texts.json   every text of texts.py with its token ids, on which transformers and llama.cpp agree; `special` says
             whether control tokens in the text were read as such
top5.bin     log-probabilities of the five likeliest tokens at every position; layout below
greedy.json  greedy continuations of 10 prompts by transformers in F32; `gaps` is the distance in nats between the best
             and the second-best token at each step, so that a comparison can tell a near-tie from a mistake
chat.json    conversations as the model's own chat template renders them, by transformers

top5.bin, little-endian: the 8 bytes "TERNTOP5", then u32 version (1), u32 sources (5), u32 positions, u32 k (5); then
for each position, for each source, k u16 token ids, likeliest first, and k f32 natural log-probabilities. Positions:
the texts in the order of texts.json, and in a text of n tokens the distributions given tokens[..1], tokens[..2] to
tokens[..n-1], so that position i of a text is the prediction of its tokens[i], i from 1. Each text stands on its own:
empty context, no BOS.

Sources, in this order:
  0  transformers with the F32 weights                         all arithmetic in F32
  1  transformers with the weights rounded to F16              all arithmetic in F32
  2  transformers with the weights rounded to BF16             all arithmetic in F32
  3  llama.cpp, F32 file, F32 cache, flash attention off       agrees with 0 to 0.0001
  4  llama.cpp, F16 file, its defaults                         it rounds activations, queries, keys and values to F16

What rounding alone does, measured when these were made: keys and values in F16 move the top 5 by at most 0.018; queries
in F16 as well move 0.15% of the positions by more than 0.02 (at most 0.023); weights in F16 move 0.2% of the positions
by more than 0.02 (at most 0.038), so F16 weights are compared with source 1, not 0; source 4 itself is more than 0.02
away from source 1 at 0.9% of the positions, at most 0.091.
"""

import json
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import fixtures
import llama
import numpy as np
import torch
import transformers
from texts import PROMPTS, TEXTS

K = 5
NEW_TOKENS = 48
STOP = {0, 2}  # <|endoftext|>, <|im_end|>

CHATS = [
    [("user", "Hello!")],
    [("system", "Answer in one word."), ("user", "What is the colour of the sky?")],
    [("user", "What is 2 + 2?"), ("assistant", "2 + 2 is 4."), ("user", "And twice that?")],
    [("user", "Как тебя зовут? 🙂")],
    [
        ("user", "A message that ends with a newline\n"),
        ("assistant", ""),
        ("user", "  and one that begins with spaces"),
    ],
]


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def top(logits):
    log_probabilities = log_softmax(logits)
    ids = np.argsort(-log_probabilities, -1, kind="stable")[:, :K]
    return ids.astype(np.uint16), np.take_along_axis(log_probabilities, ids, -1).astype(np.float32)


def write_json(name, made_by, entries):
    """One entry a line, so that a difference is readable."""
    lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in entries)
    text = f'{{\n "made_by": {json.dumps(made_by)},\n "{name}": [\n{lines}\n ]\n}}\n'
    (HERE / "smollm2" / f"{name}.json").write_text(text, encoding="utf-8")


def main():
    torch.set_num_threads(2)
    folder = fixtures.models() / f"{fixtures.STEM}-HF"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    exact, half, brain = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(3)
    )
    for model, dtype in [(half, torch.float16), (brain, torch.bfloat16)]:
        for parameter in model.parameters():
            if parameter.dim() == 2:  # GGUF keeps the norms in F32
                parameter.data.copy_(parameter.data.to(dtype))
    peers = [
        llama.Llama(fixtures.model("F32"), all_logits=True, kv="F32", flash=0),
        llama.Llama(fixtures.model("F16"), all_logits=True),
    ]
    (HERE / "smollm2").mkdir(exist_ok=True)
    versions = {"transformers": transformers, "torch": torch, "llama-cpp-python": llama.c}
    made_by = "tests/goldens/make_smollm2.py; " + ", ".join(f"{name} {it.__version__}" for name, it in versions.items())

    @torch.no_grad()
    def logits(model, tokens):
        return model(torch.tensor([tokens])).logits[0].numpy()

    texts = []
    for name, text in TEXTS.items():
        for special in [True, False] if "<|" in text else [True]:
            tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
            assert tokens == peers[0].tokenize(text, special), (
                f"transformers and llama.cpp disagree about the tokens of {name}"
            )
            assert tokenizer.decode(tokens) == text, f"{name} does not come back from its tokens"
            texts.append(
                {"name": name if special else f"{name}_plain", "special": special, "text": text, "tokens": tokens}
            )

    blocks = []
    distances = {
        "llama.cpp F32 from transformers F32": [],
        "llama.cpp F16 from transformers F16": [],
        "F16 weights from F32": [],
        "BF16 weights from F32": [],
    }
    for entry in texts:
        tokens = entry["tokens"]
        full = [logits(model, tokens)[:-1] for model in (exact, half, brain)] + [
            peer.logits(tokens)[:-1] for peer in peers
        ]
        for distance, (a, b) in zip(distances.values(), [(0, 3), (1, 4), (0, 1), (0, 2)]):
            ids, values = top(full[a])
            distance.append(np.abs(np.take_along_axis(log_softmax(full[b]), ids.astype(int), -1) - values).max(-1))
        results = [top(one) for one in full]
        for position in range(len(tokens) - 1):
            for ids, values in results:
                blocks.append(ids[position].astype("<u2").tobytes() + values[position].astype("<f4").tobytes())
    positions = len(blocks) // 5
    (HERE / "smollm2" / "top5.bin").write_bytes(b"TERNTOP5" + struct.pack("<4I", 1, 5, positions, K) + b"".join(blocks))
    write_json("texts", made_by, texts)
    print(f"{len(texts)} texts, {positions} positions")
    for name, distance in distances.items():
        distance = np.concatenate(distance)
        print(
            f"{name}: 99.9% within {np.quantile(distance, 0.999):.4f}, at most {distance.max():.4f},"
            f" {(distance > 0.02).mean():.2%} beyond 0.02"
        )

    greedy = []
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        out, gaps, past, step = [], [], None, tokens
        while len(out) < NEW_TOKENS and not (out and out[-1] in STOP):
            with torch.no_grad():
                answer = exact(torch.tensor([step]), past_key_values=past, use_cache=True)
            past = answer.past_key_values
            best = torch.topk(answer.logits[0, -1], 2)
            out.append(int(best.indices[0]))
            gaps.append(round(float(best.values[0] - best.values[1]), 5))
            step = out[-1:]
        greedy.append(
            {"prompt": prompt, "prompt_tokens": tokens, "tokens": out, "gaps": gaps, "text": tokenizer.decode(out)}
        )
        print(repr(prompt + greedy[-1]["text"]), min(gaps))
    write_json("greedy", made_by, greedy)

    chats = []
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        rendered = {"messages": messages}
        for name, prompt in [("text", False), ("prompt", True)]:
            rendered[name] = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        rendered["prompt_tokens"] = tokenizer(rendered["prompt"], add_special_tokens=False)["input_ids"]
        chats.append(rendered)
    write_json("chat", made_by, chats)


if __name__ == "__main__":
    main()
