#!/usr/bin/env python3
"""Makes tests/goldens/tiny-lact*: small random LaCT models and what the paper's equations give for them, in float64.

    python3 tests/goldens/make_lact.py [NAME...]      (needs numpy)

The authors' code needs a GPU and works in bfloat16, so the equations of arXiv 2505.23884 are written out here: whole chunks at once, with
gradients by the chain rule. Matrices act on columns from the left, as the authors have them; settings and tensor names are those of
their code, and its constants: what is added to lengths, the base rate, the coefficients of the rounds. The tokenizer is that of another golden.
"""

import math
import sys

import numpy as np

from make_ttt import make, silu

EPS = 1e-6
ADDED = 1e-5
ROUNDS = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
          (2.8366, -3.0525, 1.2012)]
MODELS = {
    "tiny-lact": dict(hidden_size=48, num_attn_heads=4, num_lact_heads=2, inter_multi=1, intermediate_size=40, num_hidden_layers=2,
                      lact_chunk_size=16, window_size=20, w0_w2_low_rank=4, tie_word_embeddings=False),
    "tiny-lact-muon": dict(hidden_size=36, num_attn_heads=6, num_lact_heads=3, inter_multi=1.5, intermediate_size=None,
                           hidden_ratio=2, num_hidden_layers=2, lact_chunk_size=7, window_size=10, use_muon=True, qkv_bias=True,
                           attn_qk_norm=True, no_v_silu=True, ttt_nope=True, tie_word_embeddings=True),
    "tiny-lact-plain": dict(hidden_size=24, num_attn_heads=2, num_lact_heads=1, inter_multi=0.5, intermediate_size=28,
                            num_hidden_layers=3, lact_chunk_size=5, window_size=16, use_momentum=False, learnable_ttt_scale=False,
                            qkv_silu=False, tie_word_embeddings=True),
}
# What a model has unless it says otherwise.
COMMON = dict(qkv_bias=False, attn_qk_norm=False, use_muon=False, lr_dim=1, qkv_silu=True, no_v_silu=False, lr_parameterization="mamba",
              learnable_ttt_scale=True, use_momentum=True, ttt_loss_type="dot_product", ttt_prenorm=False, ttt_nope=False,
              w0_w2_low_rank=-1, hidden_ratio=4, rope_theta=10000.0)
COVERS = {
    "tiny-lact": "LaCT: chunks of 16, momentum, first weights of low rank, a scale of outputs",
    "tiny-lact-muon": "LaCT: chunks of 7, orthogonal steps, norms and biases of queries and keys, an inner model half as wide again, unrotated",
    "tiny-lact-plain": "LaCT: chunks of 5, one head, an inner model half as wide, no momentum, no scale, no SiLU",
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def length(x, axis):
    return np.sqrt((x * x).sum(axis, keepdims=True))


def rotate(x, theta):
    """x [tokens, heads, dims]: pairs half a head apart."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attention(q, k, v, window):
    """Of [tokens, heads, dims], over the last `window` rows."""
    rows = np.arange(len(q))
    seen = (rows[None] <= rows[:, None]) & (rows[None] > rows[:, None] - window)
    scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
    scores = np.exp(np.where(seen, scores - scores.max(-1, keepdims=True), -np.inf))
    return np.einsum("hij,jhd->ihd", scores / scores.sum(-1, keepdims=True), v)


def orthogonal(g):
    x = g / (np.sqrt((g * g).sum()) + 1e-7)
    for a, b, c in ROUNDS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def inner(first, q, k, v, rates, shares, config):
    """Outputs [tokens, f] of one head, whose w0, w1 and w2 begin as `first`."""
    chunk = config["lact_chunk_size"]
    w, lengths = list(first), [length(m, 1) for m in first]
    before = [np.zeros_like(m) for m in first]
    out = np.empty_like(v)
    for start in range(0, len(q), chunk):
        rows = slice(start, start + chunk)
        w0, w1, w2 = w
        out[rows] = (w1 @ (silu(w0 @ q[rows].T) * (w2 @ q[rows].T))).T
        if start + chunk > len(q):
            break
        # What makes f(k) v larger, with one column for each row.
        keys, values = k[rows].T, v[rows].T
        z, u, back = w0 @ keys, w2 @ keys, w1.T @ values
        slope = sigmoid(z) * (1 + z * (1 - sigmoid(z)))
        r0, r1, r2 = rates[rows].T
        learned = [(back * u * slope) @ (keys * r0).T, values @ (silu(z) * u * r1).T, (back * silu(z)) @ (keys * r2).T]
        if config["use_momentum"]:
            learned = before = [g + shares[rows].mean() * m for g, m in zip(learned, before)]
        if config["use_muon"]:
            learned = [orthogonal(g) for g in learned]
        w = [m + g for m, g in zip(w, learned)]
        w = [m / (length(m, 1) + ADDED) * n for m, n in zip(w, lengths)]
    return out


def run(t, config, tokens):
    """Logits of every token."""
    heads, fast = config["num_attn_heads"], config["num_lact_heads"]
    x = t["model.embeddings.weight"][tokens]
    split = lambda x, n: x.reshape(len(tokens), n, -1)  # noqa: E731
    for i in range(config["num_hidden_layers"]):
        at = lambda name: t[f"model.layers.{i}.{name}"]  # noqa: E731
        linear = lambda x, name: x @ at(f"attn.{name}.weight").T + at(f"attn.{name}.bias")  # noqa: E731
        h = rms_norm(x, at("attn_norm.weight"), EPS)
        q, k, v = np.split(h @ at("attn.qkv.weight").T + (at("attn.qkv.bias") if config["qkv_bias"] else 0), 3, -1)
        if config["attn_qk_norm"]:
            q, k = (rms_norm(m, at(f"attn.{n}_norm.weight"), ADDED) for m, n in ((q, "q"), (k, "k")))
        turned = [rotate(split(m, heads), config["rope_theta"]) for m in (q, k)]
        y = attention(*turned, split(v, heads), config["window_size"]).reshape(len(tokens), -1)

        q, k = (m * at("attn.qk_scale")[:, j] + at("attn.qk_offset")[:, j] for j, m in enumerate((q, k)))
        if config["qkv_silu"]:
            q, k, v = silu(q), silu(k), v if config["no_v_silu"] else silu(v)
        q, k = (split(m, fast) / (length(split(m, fast), -1) + ADDED) for m in (q, k))
        if not config["ttt_nope"]:
            q, k = (split(rotate(split(m, heads), config["rope_theta"]), fast) for m in (q, k))
        rates = np.log1p(np.exp(linear(h, "lr_proj") + math.log(math.expm1(1e-3)))).reshape(len(tokens), fast, 3)
        shares = sigmoid(linear(h, "momentum_proj.0")) if config["use_momentum"] else np.zeros((len(tokens), fast))
        if config["w0_w2_low_rank"] > 0:
            eye = 0.5 * np.eye(at("attn.w1").shape[2], at("attn.w1").shape[1])
            w0, w2 = (at(f"attn.{n}.w_left") @ at(f"attn.{n}.w_right") + eye for n in ("w0", "w2"))
        else:
            w0, w2 = at("attn.w0"), at("attn.w2")
        learned = [
            inner((w0[j], at("attn.w1")[j], w2[j]), q[:, j], k[:, j], split(v, fast)[:, j], rates[:, j], shares[:, j], config)
            for j in range(fast)
        ]
        learned = rms_norm(np.stack(learned, 1), at("attn.ttt_norm.weight"), ADDED)
        if config["learnable_ttt_scale"]:
            learned = learned * silu(linear(h, "ttt_scale_proj"))[..., None]
        x = x + (y + learned.reshape(len(tokens), -1)) @ at("attn.o_proj.weight").T
        h = rms_norm(x, at("mlp_norm.weight"), EPS)
        gate, up = (h @ at(f"mlp.{n}_proj.weight").T for n in ("gate", "up"))
        x = x + (silu(gate) * up) @ at("mlp.down_proj.weight").T
    head = t["model.embeddings.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, t["model.norm.weight"], EPS) @ head.T


def draw(config, rows, generator):
    """Random tensors, as single precision has them."""
    d, fast, rank = config["hidden_size"], config["num_lact_heads"], config["w0_w2_low_rank"]
    f = d // fast
    m, ffn = int(f * config["inter_multi"]), config["intermediate_size"]
    if ffn is None:
        ffn = -(-int(d * config["hidden_ratio"] * 2 / 3) // 256) * 256
    noise = lambda *shape: generator.standard_normal(shape)  # noqa: E731
    matrix = lambda out, inner: 1.2 * noise(out, inner) / math.sqrt(inner)  # noqa: E731
    t = {"model.embeddings.weight": 0.4 * noise(rows, d), "model.norm.weight": 1 + 0.2 * noise(d)}
    if not config["tie_word_embeddings"]:
        t["lm_head.weight"] = matrix(rows, d)
    for i in range(config["num_hidden_layers"]):
        layer = {
            "attn_norm.weight": 1 + 0.2 * noise(d),
            "attn.qkv.weight": matrix(3 * d, d),
            "attn.qk_scale": 1 + 0.2 * noise(d, 2),
            "attn.qk_offset": 0.2 * noise(d, 2),
            "attn.w1": noise(fast, f, m) / math.sqrt(m),
            "attn.lr_proj.weight": 0.3 * noise(3 * fast, d) / math.sqrt(d),
            # Rates of a tenth or so, from which outputs change visibly.
            "attn.lr_proj.bias": 5 + 0.5 * noise(3 * fast),
            "attn.ttt_norm.weight": 1 + 0.2 * noise(f),
            "attn.o_proj.weight": matrix(d, d),
            "mlp_norm.weight": 1 + 0.2 * noise(d),
            "mlp.gate_proj.weight": matrix(ffn, d),
            "mlp.up_proj.weight": matrix(ffn, d),
            "mlp.down_proj.weight": matrix(d, ffn),
        }
        for name in ("attn.w0", "attn.w2"):
            if rank > 0:
                layer[f"{name}.w_left"] = 0.5 * noise(fast, m, rank) / math.sqrt(rank)
                layer[f"{name}.w_right"] = 0.5 * noise(fast, rank, f) / math.sqrt(f)
            else:
                layer[name] = noise(fast, m, f) / math.sqrt(f)
        if config["qkv_bias"]:
            layer["attn.qkv.bias"] = 0.2 * noise(3 * d)
        if config["attn_qk_norm"]:
            layer |= {f"attn.{n}_norm.weight": 1 + 0.2 * noise(d) for n in "qk"}
        heads = ["ttt_scale_proj"] if config["learnable_ttt_scale"] else []
        for name in heads + (["momentum_proj.0"] if config["use_momentum"] else []):
            layer[f"attn.{name}.weight"] = matrix(fast, d)
            layer[f"attn.{name}.bias"] = 0.5 * noise(fast)
        t |= {f"model.layers.{i}.{name}": tensor for name, tensor in layer.items()}
    return {name: tensor.astype(np.float32) for name, tensor in t.items()}


def learned(tensors, config, tokens, logits):
    """How much of the last row the inner models' learning made: it would be nothing if they did not learn."""
    rates = {k: v - 30 if k.endswith("lr_proj.bias") else v for k, v in tensors.items()}
    return np.abs(logits - run(rates, {**config, "use_muon": False}, tokens))[-1].max()


if __name__ == "__main__":
    for seed, name in enumerate(MODELS, start=800):
        if not sys.argv[1:] or name in sys.argv[1:]:
            config = {"architectures": ["LaCTForCausalLM"], "model_type": "lact_swiglu", **COMMON, **MODELS[name],
                      "hidden_act": "swish", "max_position_embeddings": 256, "norm_eps": EPS}
            made = make(name, config, seed, draw, run, "make_lact.py", COVERS[name])
            print(f"{learned(*made):.2f} by learning")
