#!/usr/bin/env python3
"""Makes tests/goldens/tiny-ttt-*: small random TTT models and what the paper's equations give for them, in float64.

    python3 tests/goldens/make_ttt.py [NAME...]      (needs numpy)

There are no published weights, and the authors' code pads prompts to whole mini-batches, so the equations of arXiv 2407.04620 are
written out here in their primal form: every token takes its own gradient step from the weights of the mini-batch's start, one
outer product at a time. Tensor names are those of the authors' PyTorch code. The tokenizer is that of another golden.
"""

import json
import math
import shutil
import sys
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
    "tiny-ttt-mlp": dict(hidden_size=48, num_attention_heads=4, intermediate_size=40, num_hidden_layers=2, use_gate=False,
                         mini_batch_size=16, ttt_base_lr=0.7, tie_word_embeddings=True, ttt_layer_type="mlp"),
    "tiny-ttt-conv": dict(hidden_size=36, num_attention_heads=2, intermediate_size=28, num_hidden_layers=2, use_gate=True,
                          mini_batch_size=7, ttt_base_lr=1.5, tie_word_embeddings=True, share_qk=True, pre_conv=True,
                          conv_kernel=3),
    "tiny-ttt-mlp-conv": dict(hidden_size=36, num_attention_heads=3, intermediate_size=28, num_hidden_layers=2, use_gate=True,
                              mini_batch_size=6, ttt_base_lr=1.0, tie_word_embeddings=False, ttt_layer_type="mlp", share_qk=True,
                              pre_conv=True),
}
# What a model has unless it says otherwise.
COMMON = dict(ttt_layer_type="linear", share_qk=False, pre_conv=False, conv_kernel=4)
COVERS = {
    "tiny-ttt-linear": "TTT-Linear: mini-batches of 16, tied embeddings",
    "tiny-ttt-gated": "TTT-Linear: a gate, mini-batches of 5, a head of its own",
    "tiny-ttt-mlp": "TTT-MLP: mini-batches of 16, tied embeddings",
    "tiny-ttt-conv": "TTT-Linear on the Mamba backbone: shared queries and keys, convolutions of 3 rows, a gate",
    "tiny-ttt-mlp-conv": "TTT-MLP on the Mamba backbone: shared queries and keys, convolutions of 4 rows, a gate",
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


def gelu_slope(x):
    """The derivative of gelu: of its product, then through tanh and the cubic."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + np.tanh(inner)) + 0.5 * x * slope / np.cosh(inner) ** 2


class Head:
    """An inner model on its way along a text: [W, b] of its only layer, or [W1, b1, W2, b2] with gelu between them."""

    def __init__(self, parameters, norm, shares):
        self.start, self.norm, self.shares = [p.copy() for p in parameters], norm, shares
        self.sums = [np.zeros_like(p) for p in parameters]

    def gradients(self, k, v):
        """Of the inner loss, by every parameter as it was at the mini-batch's start."""
        if len(self.start) == 2:
            w, b = self.start
            g = gradient(k @ w + b, v - k, *self.norm)
            return [np.outer(k, g), g]
        w1, b1, w2, b2 = self.start
        z = k @ w1 + b1
        g2 = gradient(gelu(z) @ w2 + b2, v - k, *self.norm)
        g1 = (w2 @ g2) * gelu_slope(z)
        return [np.outer(k, g1), g1, np.outer(gelu(z), g2), g2]

    def step(self, place, q, k, v, rate):
        self.sums = [s + rate * g for s, g in zip(self.sums, self.gradients(k, v))]
        share = max(0.0, self.shares[place])
        now = [p - share * s for p, s in zip(self.start, self.sums)]
        if place + 1 == len(self.shares):
            self.start, self.sums = now, [np.zeros_like(p) for p in now]
        z = q @ now[0] + now[1]
        if len(now) == 4:
            z = gelu(z) @ now[2] + now[3]
        return q + layer_norm(z, *self.norm)


def convolve(x, weight, bias):
    """Every channel by itself, over rows that have come: weight [channels, 1, rows], the last one for the row itself."""
    rows = weight.shape[-1]
    padded = np.concatenate([np.zeros((rows - 1, x.shape[1])), x])
    return sum(padded[j : j + len(x)] * weight[:, 0, j] for j in range(rows)) + bias


def run(t, config, tokens):
    """Logits of every token."""
    heads, batch = config["num_attention_heads"], config["mini_batch_size"]
    x = t["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = lambda name: t[f"model.layers.{i}.{name}"]  # noqa: E731
        block = lambda name: at("seq_modeling_block." + name)  # noqa: E731
        if config["pre_conv"]:
            x = x + convolve(rms_norm(x, at("conv.norm.weight")), at("conv.conv.weight"), at("conv.conv.bias"))
        h = rms_norm(x, at("seq_norm.weight"))
        if config["share_qk"]:
            shared = h @ block("q_proj.weight").T
            q, k = (convolve(shared, block(f"conv_{n}.weight"), block(f"conv_{n}.bias")) for n in "qk")
        else:
            q, k = (h @ block(f"{n}_proj.weight").T for n in "qk")
        q, k, v = (m.reshape(len(tokens), heads, -1) for m in (q, k, h @ block("v_proj.weight").T))
        f = q.shape[-1]
        shares = 1 / np.arange(1, batch + 1) + block("learnable_token_idx")
        norms = [(block("ttt_norm_weight")[j], block("ttt_norm_bias")[j]) for j in range(heads)]
        layers = "12" if config["ttt_layer_type"] == "mlp" else "1"
        parameters = lambda j: [p for n in layers for p in (block(f"W{n}")[j], block(f"b{n}")[j, 0])]  # noqa: E731
        inner = [Head(parameters(j), norms[j], shares) for j in range(heads)]
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
        matrices = "".join(n for n in "qkvog" if (n != "g" or config["use_gate"]) and (n != "k" or not config["share_qk"]))
        layer = {f"seq_modeling_block.{n}_proj.weight": matrix(d, d) for n in matrices}
        first = 4 * f if config["ttt_layer_type"] == "mlp" else f
        layer |= {
            "seq_norm.weight": 1 + 0.2 * noise(d),
            "ffn_norm.weight": 1 + 0.2 * noise(d),
            "seq_modeling_block.W1": 0.3 * noise(heads, f, first),
            "seq_modeling_block.b1": 0.2 * noise(heads, 1, first),
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
        if first > f:
            layer["seq_modeling_block.W2"] = 0.3 * noise(heads, first, f)
            layer["seq_modeling_block.b2"] = 0.2 * noise(heads, 1, f)
        convolutions = ["seq_modeling_block.conv_q", "seq_modeling_block.conv_k"] if config["share_qk"] else []
        if config["pre_conv"]:
            layer["conv.norm.weight"] = 1 + 0.2 * noise(d)
            convolutions.append("conv.conv")
        for name in convolutions:
            layer[f"{name}.weight"] = noise(d, 1, config["conv_kernel"]) / math.sqrt(config["conv_kernel"])
            layer[f"{name}.bias"] = 0.2 * noise(d)
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


def make(name, config, seed, draw, run, script, covers):
    """Writes a model drawn by `draw` and what `run` gives for it; returns its tensors, configuration, tokens and logits."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / file, folder / file)
    other = json.loads((TOKENIZER / "config.json").read_text())
    golden = json.loads((TOKENIZER / "golden.json").read_text())
    config |= {"torch_dtype": "float32", **{key: other[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}}
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
    made = {"made_by": f"tests/goldens/{script}; numpy {np.__version__}", "covers": covers,
            "prompt": golden["prompt"], "tokens": tokens, "greedy": greedy[len(tokens):], "gaps": gaps, "length": 128,
            "llama_cpp": False, "texts": golden["texts"]}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in made.items())
    (folder / "golden.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{name}: {len(tokens)} tokens, smallest gap {min(gaps):.3f}, logits {logits.min():.2f} to {logits.max():.2f}")
    return tensors, config, tokens, logits


if __name__ == "__main__":
    for seed, name in enumerate(MODELS, start=700):
        if not sys.argv[1:] or name in sys.argv[1:]:
            config = {"architectures": ["TTTForCausalLM"], "model_type": "ttt", **COMMON, **MODELS[name], "hidden_act": "silu",
                      "max_position_embeddings": 256, "rms_norm_eps": EPS, "rope_theta": 10000.0}
            make(name, config, seed, draw, run, "make_ttt.py", COVERS[name])
