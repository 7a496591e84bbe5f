"""LoRA on tiny LaCT models with PyTorch in float64, as `make_ttt_training.py` makes it for TTT.

    python3 tests/goldens/learn/make_lact_training.py [NAME...]      # torch, safetensors

The equations of arXiv 2505.23884 are written out with columns from the left, and what a chunk teaches is made by autograd from the inner
objective, with nothing detached: the outer gradient goes through it, through momentum, orthogonal steps, and columns' lengths. The
matrix of queries, keys and values has no factors, since it is three to the runtime; those of the layer before need its gradient.
"""
import math
import sys

import torch
from make_ttt_training import ALPHA, RANK, make

EPS, ADDED = 1e-6, 1e-5
NAMES = ["tiny-lact", "tiny-lact-muon"]
TARGETS = {"o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
           "lr_proj": "ttt_lr", "ttt_scale_proj": "ttt_scale"}
ROUNDS = [(4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
          (2.8366, -3.0525, 1.2012)]
silu = torch.nn.functional.silu


def rms_norm(x, w, eps=EPS):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w


def rotate(x, theta):
    """x [tokens, heads, dims]: pairs half a head apart."""
    half = x.shape[-1] // 2
    angle = torch.arange(len(x), dtype=x.dtype)[:, None] * theta ** (-torch.arange(half, dtype=x.dtype) / half)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attention(q, k, v, window):
    rows = torch.arange(len(q))
    seen = (rows[None] <= rows[:, None]) & (rows[None] > rows[:, None] - window)
    scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hij,jhd->ihd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)


def orthogonal(g):
    x = g / (g.norm() + 1e-7)
    for a, b, c in ROUNDS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def model(x, w):
    """Rows through the inner model."""
    w0, w1, w2 = w
    return (silu(x @ w0.T) * (x @ w2.T)) @ w1.T


def head(first, q, k, v, rates, shares, config):
    chunk = config["lact_chunk_size"]
    w = [m.clone().requires_grad_() for m in first]
    lengths = [m.norm(dim=1, keepdim=True) for m in first]
    before, out = [0, 0, 0], []
    for start in range(0, len(q), chunk):
        rows = slice(start, start + chunk)
        out.append(model(q[rows], w))
        if start + chunk > len(q):
            break
        alike = (model(k[rows], w) * v[rows]).sum(-1)
        learned = [torch.autograd.grad((rates[rows, i] * alike).sum(), w[i], create_graph=True)[0] for i in range(3)]
        if config["use_momentum"]:
            learned = before = [g + shares[rows].mean() * m for g, m in zip(learned, before)]
        if config["use_muon"]:
            learned = [orthogonal(g) for g in learned]
        w = [m + g for m, g in zip(w, learned)]
        w = [m / (m.norm(dim=1, keepdim=True) + ADDED) * n for m, n in zip(w, lengths)]
    return torch.cat(out)


def logits(t, factors, config, tokens):
    heads, fast = config["num_attn_heads"], config["num_lact_heads"]
    split = lambda x, n: x.unflatten(-1, (n, -1))  # noqa: E731
    x = t["model.embeddings.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        at = lambda name: t[f"model.layers.{i}.{name}"]  # noqa: E731

        def linear(x, name):
            module = f"model.layers.{i}.{name}"
            y = x @ t[module + ".weight"].T + t.get(module + ".bias", 0)
            if module in factors:
                a, b = factors[module]
                y = y + ALPHA / RANK * (x @ a.T @ b.T)
            return y

        h = rms_norm(x, at("attn_norm.weight"))
        q, k, v = linear(h, "attn.qkv").chunk(3, -1)
        if config["attn_qk_norm"]:
            q, k = (rms_norm(m, at(f"attn.{n}_norm.weight"), ADDED) for m, n in ((q, "q"), (k, "k")))
        turned = [rotate(split(m, heads), config["rope_theta"]) for m in (q, k)]
        y = attention(*turned, split(v, heads), config["window_size"]).flatten(1)

        q, k = (m * at("attn.qk_scale")[:, j] + at("attn.qk_offset")[:, j] for j, m in enumerate((q, k)))
        if config["qkv_silu"]:
            q, k, v = silu(q), silu(k), v if config["no_v_silu"] else silu(v)
        q, k = (split(m, fast) / (split(m, fast).norm(dim=-1, keepdim=True) + ADDED) for m in (q, k))
        if not config["ttt_nope"]:
            q, k = (split(rotate(split(m.flatten(1), heads), config["rope_theta"]).flatten(1), fast) for m in (q, k))
        rates = torch.nn.functional.softplus(linear(h, "attn.lr_proj") + math.log(math.expm1(1e-3)))
        rates = rates.unflatten(-1, (fast, 3))
        shares = linear(h, "attn.momentum_proj.0").sigmoid()
        if config["w0_w2_low_rank"] > 0:
            eye = 0.5 * torch.eye(at("attn.w1").shape[2], at("attn.w1").shape[1], dtype=x.dtype)
            w0, w2 = (at(f"attn.{n}.w_left") @ at(f"attn.{n}.w_right") + eye for n in ("w0", "w2"))
        else:
            w0, w2 = at("attn.w0"), at("attn.w2")
        values = split(v, fast)
        learned = [head((w0[j], at("attn.w1")[j], w2[j]), q[:, j], k[:, j], values[:, j], rates[:, j], shares[:, j], config)
                   for j in range(fast)]
        learned = rms_norm(torch.stack(learned, 1), at("attn.ttt_norm.weight"), ADDED)
        learned = learned * silu(linear(h, "attn.ttt_scale_proj"))[..., None]
        x = x + linear(y + learned.flatten(1), "attn.o_proj")
        h = rms_norm(x, at("mlp_norm.weight"))
        x = x + linear(silu(linear(h, "mlp.gate_proj")) * linear(h, "mlp.up_proj"), "mlp.down_proj")
    table = t["model.embeddings.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, t["model.norm.weight"]) @ table.T


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        make(name, logits, TARGETS)
