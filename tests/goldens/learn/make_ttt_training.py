"""LoRA on tiny TTT models with PyTorch in float64: the gradient of every factor, and ten steps of AdamW.

    python3 tests/goldens/learn/make_ttt_training.py [NAME...]      # torch, safetensors

The published recurrence (arXiv 2407.04620, primal form) is written out and differentiated by autograd, with nothing detached: the
outer gradient goes through the inner gradient, which is made by autograd as well, and through weights from one mini-batch to the next.
"""
import json
import pathlib
import random
import sys

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
NAMES = ["tiny-ttt-gated", "tiny-ttt-mlp-conv"]
RANK, ALPHA, STEPS = 4, 6.0, 10
EPS = 1e-6
TARGETS = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "g_proj": "attn_gate",
           "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def rms_norm(x, w):
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * w


def layer_norm(x, w, b):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, EPS)


def rotate(x, place, theta):
    f = x.shape[-1]
    angle = place * theta ** (-torch.arange(0, f, 2, dtype=x.dtype) / f)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
    return torch.stack(turned, -1).flatten(-2)


def inner(x, layers):
    """The inner model: weights and biases of its only layer, or of two."""
    y = x @ layers[0] + layers[1]
    return torch.nn.functional.gelu(y, approximate="tanh") @ layers[2] + layers[3] if layers[2:] else y


def inner_loss(k, v, layers, norm):
    return 0.5 * (layer_norm(inner(k, layers), *norm) - (v - k)).square().sum()


def head(layers, norm, shares, q, k, v, rates, theta):
    """Outputs of one head; rows of q, k and v are tokens."""
    out, batch = [], len(shares)
    for t in range(len(q)):
        place = t % batch
        if place == 0:
            sums = [torch.zeros_like(p) for p in layers]
        turned_q, turned_k = rotate(q[t], place, theta), rotate(k[t], place, theta)
        grads = torch.autograd.grad(inner_loss(turned_k, v[t], layers, norm), layers, create_graph=True)
        sums = [s + rates[t] * g for s, g in zip(sums, grads)]
        share = shares[place].clamp(min=0)
        now = [p - share * s for p, s in zip(layers, sums)]
        if place + 1 == batch:
            layers = now
        out.append(turned_q + layer_norm(inner(turned_q, now), *norm))
    return torch.stack(out)


def convolve(x, weight, bias):
    """Every channel by itself, over rows that have come."""
    rows = weight.shape[-1]
    padded = torch.nn.functional.pad(x.T[None], (rows - 1, 0))
    return torch.nn.functional.conv1d(padded, weight, bias, groups=len(weight))[0].T


def logits(t, factors, config, tokens):
    def linear(x, name):
        y = x @ t[name + ".weight"].T
        if name in factors:
            a, b = factors[name]
            y = y + ALPHA / RANK * (x @ a.T @ b.T)
        return y

    heads, batch, theta = config["num_attention_heads"], config["mini_batch_size"], config["rope_theta"]
    x = t["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        block = layer + "seq_modeling_block."
        conv = lambda x, name: convolve(x, t[name + ".weight"], t[name + ".bias"])  # noqa: E731
        if config["pre_conv"]:
            x = x + conv(rms_norm(x, t[layer + "conv.norm.weight"]), layer + "conv.conv")
        h = rms_norm(x, t[layer + "seq_norm.weight"])
        q = linear(h, block + "q_proj")
        if config["share_qk"]:
            q, k = conv(q, block + "conv_q"), conv(q, block + "conv_k")
        else:
            k = linear(h, block + "k_proj")
        q, k, v = (m.unflatten(-1, (heads, -1)) for m in (q, k, linear(h, block + "v_proj")))
        shares = 1 / torch.arange(1, batch + 1, dtype=x.dtype) + t[block + "learnable_token_idx"]
        raw = h @ t[block + "learnable_ttt_lr_weight"][:, 0].T + t[block + "learnable_ttt_lr_bias"][:, 0]
        rates = config["ttt_base_lr"] * raw.sigmoid() / q.shape[-1]
        part = []
        for j in range(heads):
            norm = (t[block + "ttt_norm_weight"][j], t[block + "ttt_norm_bias"][j])
            numbers = "12" if config["ttt_layer_type"] == "mlp" else "1"
            layers = [p for n in numbers for p in (t[f"{block}W{n}"][j], t[f"{block}b{n}"][j, 0])]
            layers = [p.requires_grad_() for p in layers]
            part.append(head(layers, norm, shares, q[:, j], k[:, j], v[:, j], rates[:, j], theta))
        y = layer_norm(torch.cat(part, -1), t[block + "post_norm.weight"], t[block + "post_norm.bias"])
        if config["use_gate"]:
            y = torch.nn.functional.gelu(linear(h, block + "g_proj"), approximate="tanh") * y
        x = x + linear(y, block + "o_proj")
        h = rms_norm(x, t[layer + "ffn_norm.weight"])
        y = torch.nn.functional.silu(linear(h, layer + "mlp.gate_proj")) * linear(h, layer + "mlp.up_proj")
        x = x + linear(y, layer + "mlp.down_proj")
    table = t["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, t["model.norm.weight"]) @ table.T


def make(name, logits=logits, targets=TARGETS):
    """Writes the golden of a model, whose logits are made by `logits`; linear layers with names of `targets` get factors."""
    folder, out = HERE.parent / name, HERE / name
    config = json.loads((folder / "config.json").read_text())
    t = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(7)
    factors = {}
    for key, tensor in sorted(t.items()):
        module = key.removesuffix(".weight")
        if module.rsplit(".")[-1] in targets:
            rows, columns = tensor.shape
            a = torch.randn(RANK, columns, generator=generator) / columns**0.5
            b = torch.randn(rows, RANK, generator=generator) * 0.05
            factors[module] = [f.double().requires_grad_() for f in (a, b)]
    found = [n for n in targets if any(module.endswith("." + n) for module in factors)]
    chance, examples = random.Random(3), []
    for length in (37, 20, 64):
        tokens = [chance.randrange(3, config["vocab_size"]) for _ in range(length)]
        # Half of the second example is a prompt, whose tokens do not count.
        counts = [i >= length // 2 if length == 20 else i > 0 for i in range(length)]
        examples.append({"tokens": tokens, "counts": counts})

    def save(part, which):
        (out / part).mkdir(parents=True, exist_ok=True)
        tensors = {f"base_model.model.{module}.lora_{side}.weight": which(f).float().contiguous()
                   for module, pair in factors.items() for side, f in zip("AB", pair)}
        save_file(tensors, out / part / "adapter_model.safetensors", metadata={"format": "pt"})
        peft = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": found, "bias": "none",
                "base_model_name_or_path": name, "task_type": "CAUSAL_LM"}
        (out / part / "adapter_config.json").write_text(json.dumps(peft, indent=1) + "\n")

    def gradient():
        parts = []
        for e in examples:
            nats = torch.nn.functional.cross_entropy(logits(t, factors, config, e["tokens"])[:-1],
                                                     torch.tensor(e["tokens"][1:]), reduction="none")
            parts.append((nats * torch.tensor(e["counts"][1:])).sum())
        loss = sum(parts) / sum(sum(e["counts"][1:]) for e in examples)
        for pair in factors.values():
            for f in pair:
                f.grad = None
        loss.backward()
        return loss.item(), [p.item() for p in parts]

    save("adapter", lambda f: f.detach().clone())
    loss, nats = gradient()
    save("gradient", lambda f: f.grad.clone())
    every = [f for pair in factors.values() for f in pair]
    optimizer = torch.optim.AdamW(every, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        losses.append(gradient()[0])
        optimizer.step()
    golden = {"examples": examples, "rank": RANK, "alpha": ALPHA, "targets": [targets[n] for n in found], "loss": loss, "nats": nats,
              "lr": 1e-2, "losses": losses}
    (out / "training.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(name, loss, losses[-1])


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        make(name)
