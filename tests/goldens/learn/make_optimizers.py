"""Optimizers on one sequence of gradients: PyTorch's AdamW and SGD, Muon from its published formula in float64, and AdamW with 8-bit moments
from the paper's description of dynamic blockwise quantization.

    python3 tests/goldens/learn/make_optimizers.py      # numpy, torch
"""
import json
import pathlib

import numpy as np
import torch

STEPS = 6


def inputs(rows, columns, seed):
    random = np.random.default_rng(seed)
    start = random.normal(size=(rows, columns)).astype(np.float32)
    # A direction that lasts, noise, and numbers of very different size.
    size = 10.0 ** random.uniform(-3, 0, size=(rows, columns))
    steady = random.normal(size=(rows, columns))
    return start, [((steady + 0.5 * random.normal(size=(rows, columns))) * size).astype(np.float32) for _ in range(STEPS)]


def with_torch(make, start, gradients):
    parameter = torch.nn.Parameter(torch.tensor(start.copy()))
    optimizer = make([parameter])
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy()


def muon(start, gradients, lr, momentum, decay):
    value, velocity = start.astype(np.float64), np.zeros_like(start, dtype=np.float64)
    for gradient in gradients:
        velocity = momentum * velocity + (1 - momentum) * gradient
        x = (1 - momentum) * gradient + momentum * velocity
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        x = x.T if tall else x
        value = value * (1 - lr * decay) - lr * max(1, start.shape[0] / start.shape[1]) ** 0.5 * x
    return value


def dynamic_map(signed):
    """256 levels: in each decade the middles between evenly spaced numbers from 0.1 to 1."""
    levels = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2 ** (decade + (0 if signed else 1)) + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        levels += middles.tolist() + ((-middles).tolist() if signed else [])
    return np.sort(np.float32(levels))


def rounded(values, levels):
    """Blocks of 256 as their largest magnitude times the nearest level."""
    out = np.zeros_like(values)
    for i in range(0, len(values), 256):
        block = values[i : i + 256]
        scale = np.abs(block).max()
        nearest = np.abs(block[:, None] / scale - levels[None]).argmin(axis=1)
        out[i : i + 256] = levels[nearest] * scale
    return out


def adamw8(start, gradients, lr, betas, eps, decay):
    f = np.float32
    value = start.ravel().astype(f)
    m, v = np.zeros_like(value), np.zeros_like(value)
    signed, unsigned = dynamic_map(True), dynamic_map(False)
    for t, gradient in enumerate(gradients, 1):
        g = gradient.ravel()
        m = m + f(1 - f(betas[0])) * (g - m)
        v = f(betas[1]) * v + f(1 - f(betas[1])) * g * g
        value = value * f(1 - f(lr) * f(decay))
        value = value - f(lr / (1 - betas[0] ** t)) * m / (np.sqrt(v.astype(float) / (1 - betas[1] ** t)).astype(f) + f(eps))
        m, v = rounded(m, signed), rounded(v, unsigned)
    return value


def entry(start, gradients, lr, end):
    numbers = lambda a: [float(f"{v:.9g}") for v in np.asarray(a, dtype=np.float64).ravel()]
    return {"rows": start.shape[0], "columns": start.shape[1], "lr": lr, "start": numbers(start),
            "gradients": [numbers(g) for g in gradients], "end": numbers(end)}


def main():
    out = {}
    start, gradients = inputs(3, 100, 1)
    adamw = lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)
    out["adamw"] = entry(start, gradients, 0.01, with_torch(adamw, start, gradients))
    out["adamw8"] = entry(start, gradients, 0.01, adamw8(start, gradients, 0.01, (0.9, 0.99), 1e-8, 0.05))
    start, gradients = inputs(4, 5, 2)
    sgd = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.05)
    out["sgd"] = entry(start, gradients, 0.01, with_torch(sgd, start, gradients))
    for name, rows, columns in [("muon", 4, 12), ("muon_tall", 15, 3)]:
        start, gradients = inputs(rows, columns, 3)
        out[name] = entry(start, gradients, 0.02, muon(start, gradients, 0.02, 0.95, 0.05))
    path = pathlib.Path(__file__).with_name("optimizers.json")
    path.write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
