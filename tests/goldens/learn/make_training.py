"""LoRA on tiny models with PyTorch: the gradient of every factor, and ten steps of AdamW.

    python3 tests/goldens/learn/make_training.py      # numpy, torch, transformers

The base is a committed folder; factors are drawn here (B is not zero, so that A has a gradient) and stored beside the results.
"""
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
RANK, ALPHA, STEPS = 4, 6.0, 10
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Lora(torch.nn.Module):
    """A linear layer with factors beside it."""

    def __init__(self, base, generator):
        super().__init__()
        self.base = base
        rows, columns = base.weight.shape
        self.a = torch.nn.Parameter(torch.randn(RANK, columns, generator=generator) / columns**0.5)
        self.b = torch.nn.Parameter(torch.randn(rows, RANK, generator=generator) * 0.05)

    def forward(self, x):
        return self.base(x) + ALPHA / RANK * (x @ self.a.T @ self.b.T)


def adapted(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager")
    for p in model.parameters():
        p.requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name in MODULES:
                if hasattr(block, name):
                    setattr(block, name, Lora(getattr(block, name), generator))
    return model


def factors(model):
    for name, module in model.named_modules():
        if isinstance(module, Lora):
            yield f"base_model.model.{name}.lora_A.weight", module.a
            yield f"base_model.model.{name}.lora_B.weight", module.b


def loss_of(model, tokens, counts):
    logits = model(torch.tensor([tokens])).logits[0, :-1]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none")
    return (nats * torch.tensor(counts[1:], dtype=torch.float32)).sum(), sum(counts[1:])


def main():
    for name in ["tiny-llama", "tiny-qwen3"]:
        folder = HERE.parent / name
        model = adapted(folder)
        random = np.random.default_rng(3)
        vocab = model.config.vocab_size
        examples = []
        for length in (37, 20, 64):
            tokens = random.integers(3, vocab, size=length).tolist()
            # Half of the second example is a prompt, whose tokens do not count.
            counts = [i >= length // 2 if length == 20 else i > 0 for i in range(length)]
            examples.append({"tokens": tokens, "counts": counts})
        out = HERE / name
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": MODULES, "bias": "none",
                  "base_model_name_or_path": name, "task_type": "CAUSAL_LM"}

        def save(part, tensors):
            (out / part).mkdir(parents=True, exist_ok=True)
            save_file(tensors, out / part / "adapter_model.safetensors", metadata={"format": "pt"})
            (out / part / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")

        def gradient():
            model.zero_grad()
            parts = [loss_of(model, e["tokens"], e["counts"]) for e in examples]
            loss = sum(p[0] for p in parts) / sum(p[1] for p in parts)
            loss.backward()
            return loss.item(), [p[0].item() for p in parts]

        save("adapter", {n: p.detach().clone() for n, p in factors(model)})
        loss, nats = gradient()
        save("gradient", {n: p.grad.clone() for n, p in factors(model)})
        optimizer = torch.optim.AdamW([p for _, p in factors(model)], lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        losses = []
        for _ in range(STEPS):
            losses.append(gradient()[0])
            optimizer.step()
        golden = {"examples": examples, "rank": RANK, "alpha": ALPHA, "loss": loss, "nats": nats, "lr": 1e-2, "losses": losses}
        (out / "training.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, loss, losses[-1])


if __name__ == "__main__":
    main()
