#!/usr/bin/env python3
"""How fast plain LoRA training in PyTorch is on the shape of SmolLM2-135M: rank 8 on all matrices of the layers, one example per step.

    lora.py [--tokens 256] [--threads 2] [--compile] [--steps 6]

Needs torch and transformers. Beside it: `cargo run --release -p tern --example training_speed -- MODEL`.
"""
import argparse
import resource
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


class Lora(torch.nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.a = torch.nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + 2.0 * ((x @ self.a.T) @ self.b.T)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True, use_cache=False)
    model = LlamaForCausalLM(config).requires_grad_(False)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, module in list(block.named_children()):
                if isinstance(module, torch.nn.Linear):
                    setattr(block, name, Lora(module, 8))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    run = torch.compile(model) if args.compile else model
    ids = torch.randint(0, config.vocab_size, (1, args.tokens))
    best = float("inf")
    for step in range(args.steps):
        start = time.perf_counter()
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        best = min(best, seconds)
        print(f"step {step}: {seconds:.3f} s, {args.tokens / seconds:.0f} tokens/s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"best: {args.tokens / best:.0f} tokens/s, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
