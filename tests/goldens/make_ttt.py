#!/usr/bin/env python3
"""Makes tests/goldens/tiny-ttt-*: small random TTT-Linear models and what the paper's equations give for them, in float64.

    python3 tests/goldens/make_ttt.py      (needs numpy)

There are no published weights, and the authors' code pads prompts to whole mini-batches, so the equations of arXiv 2407.04620 are
written out here in their primal form: every token takes its own gradient step from the weights of the mini-batch's start, one
outer product at a time. Tensor names are those of the authors' PyTorch code. The tokenizer is that of another golden.
"""

import json
import math
import shutil
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE / "tiny-qwen3"
EPS = 1e-6
MODELS = {
    "tiny-ttt-linear": dict(hidden_size=48, num_attention_heads=4, intermediate_size=40, num_hidden_layers=2, use_gate=False,
                            mini_batch_size=16, ttt_base_lr=1.0, tie_word_embeddings=True),
    "tiny-ttt-gated": dict(hidden_size=36, num_attention_heads=2, intermediate_size=28, num_hidden_layers=3, use_gate=True,
                           mini_batch_size=5, ttt_base_lr=4.0, tie_word_embeddings=False),
}


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rms_norm(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w


def layer_norm(x, w, b):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS) * w + b


def rotate(x, position, theta):
    """Pairs side by side, by the position within the mini-batch."""
    f = x.shape[-1]
    angle = position * theta ** (-np.arange(0, f, 2) / f)
    even, odd = x[..., 0::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
    out[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
    return out


def gradient(z, target, w, b):
    """Of half the squared distance between the norm of z and its target, by the chain rule through mean and deviation."""
    n = len(z)
    centred = z - z.mean()
    deviation = np.sqrt((centred**2).mean() + EPS)
    normal = centred / deviation
    upstream = (w * normal + b - target) * w
    return (upstream - upstream.mean() - normal * (upstream @ normal) / n) / deviation


class Head:
    """An inner model on its way along a text."""

    def __init__(self, w, b, norm, shares):
        self.w, self.b, self.norm, self.shares = w.copy(), b.copy(), norm, shares
        self.sum_w, self.sum_b = np.zeros_like(w), np.zeros_like(b)

    def step(self, place, q, k, v, rate):
        z = k @ self.w + self.b
        g = gradient(z, v - k, *self.norm)
        self.sum_w += rate * np.outer(k, g)
        self.sum_b += rate * g
        share = max(0.0, self.shares[place])
        w, b = self.w - share * self.sum_w, self.b - share * self.sum_b
        if place + 1 == len(self.shares):
            self.w, self.b = w, b
            self.sum_w, self.sum_b = np.zeros_like(w), np.zeros_like(b)
        return q + layer_norm(q @ w + b, *self.norm)


def run(t, config, tokens):
    """Logits of every token."""
    heads, batch = config["num_attention_heads"], config["mini_batch_size"]
    x = t["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = lambda name: t[f"model.layers.{i}.{name}"]  # noqa: E731
        block = lambda name: at("seq_modeling_block." + name)  # noqa: E731
        h = rms_norm(x, at("seq_norm.weight"))
        q, k, v = ((h @ block(f"{n}_proj.weight").T).reshape(len(tokens), heads, -1) for n in "qkv")
        f = q.shape[-1]
        shares = 1 / np.arange(1, batch + 1) + block("learnable_token_idx")
        norms = [(block("ttt_norm_weight")[j], block("ttt_norm_bias")[j]) for j in range(heads)]
        inner = [Head(block("W1")[j], block("b1")[j, 0], norms[j], shares) for j in range(heads)]
        y = np.empty_like(q)
        for p in range(len(tokens)):
            place = p % batch
            for j in range(heads):
                raw = block("learnable_ttt_lr_weight")[j, 0] @ h[p] + block("learnable_ttt_lr_bias")[j, 0]
                rate = config["ttt_base_lr"] / (1 + np.exp(-raw)) / f
                turned = (rotate(m[p, j], place, config["rope_theta"]) for m in (q, k))
                y[p, j] = inner[j].step(place, *turned, v[p, j], rate)
        y = layer_norm(y.reshape(len(tokens), -1), block("post_norm.weight"), block("post_norm.bias"))
        if config["use_gate"]:
            y = gelu(h @ block("g_proj.weight").T) * y
        x = x + y @ block("o_proj.weight").T
        h = rms_norm(x, at("ffn_norm.weight"))
        gate, up = (h @ at(f"mlp.{n}_proj.weight").T for n in ("gate", "up"))
        x = x + (silu(gate) * up) @ at("mlp.down_proj.weight").T
    head = t["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, t["model.norm.weight"]) @ head.T


def draw(config, rows, generator):
    """Random tensors, as single precision has them."""
    d, heads, ffn = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    f = d // heads
    noise = lambda *shape: generator.standard_normal(shape)  # noqa: E731
    matrix = lambda out, inner: 1.2 * noise(out, inner) / math.sqrt(inner)  # noqa: E731
    t = {"model.embed_tokens.weight": 0.4 * noise(rows, d), "model.norm.weight": 1 + 0.2 * noise(d)}
    if not config["tie_word_embeddings"]:
        t["lm_head.weight"] = matrix(rows, d)
    for i in range(config["num_hidden_layers"]):
        layer = {f"seq_modeling_block.{n}_proj.weight": matrix(d, d) for n in ("qkvog" if config["use_gate"] else "qkvo")}
        layer |= {
            "seq_norm.weight": 1 + 0.2 * noise(d),
            "ffn_norm.weight": 1 + 0.2 * noise(d),
            "seq_modeling_block.W1": 0.3 * noise(heads, f, f),
            "seq_modeling_block.b1": 0.2 * noise(heads, 1, f),
            "seq_modeling_block.ttt_norm_weight": 1 + 0.2 * noise(heads, f),
            "seq_modeling_block.ttt_norm_bias": 0.2 * noise(heads, f),
            "seq_modeling_block.learnable_ttt_lr_weight": 0.3 * noise(heads, 1, d),
            "seq_modeling_block.learnable_ttt_lr_bias": 0.3 * noise(heads, 1),
            # Some make a share negative, which counts as none.
            "seq_modeling_block.learnable_token_idx": 0.2 * noise(config["mini_batch_size"]),
            "seq_modeling_block.post_norm.weight": 1 + 0.2 * noise(d),
            "seq_modeling_block.post_norm.bias": 0.2 * noise(d),
            "mlp.gate_proj.weight": matrix(ffn, d),
            "mlp.up_proj.weight": matrix(ffn, d),
            "mlp.down_proj.weight": matrix(d, ffn),
        }
        t |= {f"model.layers.{i}.{name}": tensor for name, tensor in layer.items()}
    return {name: tensor.astype(np.float32) for name, tensor in t.items()}


def save(path, tensors):
    """A safetensors file."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def make(name, seed):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / file, folder / file)
    other = json.loads((TOKENIZER / "config.json").read_text())
    golden = json.loads((TOKENIZER / "golden.json").read_text())
    config = {"architectures": ["TTTForCausalLM"], "model_type": "ttt", **MODELS[name], "hidden_act": "silu",
              "max_position_embeddings": 256, "rms_norm_eps": EPS, "rope_theta": 10000.0, "share_qk": False,
              "ttt_layer_type": "linear", "pre_conv": False, "conv_kernel": 4, "torch_dtype": "float32",
              **{key: other[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    single = draw(config, config["vocab_size"], np.random.default_rng(seed))
    save(folder / "model.safetensors", single)
    tensors = {key: tensor.astype(np.float64) for key, tensor in single.items()}
    tokens = golden["tokens"]
    logits = run(tensors, config, tokens)
    (folder / "logits.bin").write_bytes(logits.astype("<f4").tobytes())
    greedy, gaps = list(tokens), []
    for _ in range(16):
        second, best = np.argsort(last := run(tensors, config, greedy)[-1])[-2:]
        greedy.append(int(best))
        gaps.append(round(float(last[best] - last[second]), 5))
    made = {"made_by": f"tests/goldens/make_ttt.py; numpy {np.__version__}", "covers": "TTT-Linear: " + (
                "mini-batches of 16, tied embeddings" if not config["use_gate"] else "a gate, mini-batches of 5, a head of its own"),
            "prompt": golden["prompt"], "tokens": tokens, "greedy": greedy[len(tokens):], "gaps": gaps, "length": 128,
            "llama_cpp": False, "texts": golden["texts"]}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in made.items())
    (folder / "golden.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{name}: {len(tokens)} tokens, smallest gap {min(gaps):.3f}, logits {logits.min():.2f} to {logits.max():.2f}")


if __name__ == "__main__":
    for seed, name in enumerate(MODELS, start=700):
        make(name, seed)
