#!/usr/bin/env python3
"""Makes tests/goldens/tiny-*: small random models of the llama family, each with what transformers computes for it.

    $(tests/peers/setup --goldens) tests/goldens/make_tiny.py

Each folder is a Hugging Face model folder, and beside it lie
  golden.json   `prompt`, its `tokens`, `greedy` (16 tokens; `gaps` from the best to the second-best logit), and
                `texts`: more texts with their tokens
  logits.bin    logits after every token of `tokens`: little-endian f32 [tokens, vocabulary], all arithmetic in F32
  model.gguf    in some folders, the same weights as GGUF, compared here with llama.cpp

Weights are drawn larger than a fresh model's, so that wrong attention, positions or norms show, and rounded to what
BF16 and F16 both hold, so that files of any type hold the same numbers. The tokenizers are trained on texts.py; their
special tokens come last.
"""

import copy
import json
import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import fixtures
import llama
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from texts import TEXTS
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PROMPT = "The fox counted 17 stars; Größe, дом!\n  if x < 10:"
SAMPLES = ["contractions", "digits", "spaces", "emoji", "russian", "case"]
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

# name: (what it covers, config, stored as, tokenizer, GGUF type or None)
MODELS = {
    "tiny-llama": (
        "grouped heads, tied embeddings",
        dict(
            hidden_size=96,
            num_attention_heads=6,
            num_key_value_heads=2,
            intermediate_size=24,
            num_hidden_layers=2,
            tie_word_embeddings=True,
        ),
        "F32",
        "gpt-2",
        None,
    ),
    "tiny-untied": (
        "an output head of its own, one key-value head",
        dict(
            hidden_size=48,
            num_attention_heads=3,
            num_key_value_heads=1,
            intermediate_size=20,
            num_hidden_layers=2,
            tie_word_embeddings=False,
        ),
        "F32",
        "gpt-2",
        "F32",
    ),
    "tiny-llama3": (
        "Llama 3: its RoPE scaling, its pre-tokenizer, BOS",
        dict(
            hidden_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=72,
            num_hidden_layers=2,
            tie_word_embeddings=True,
            rope_theta=500000.0,
            rope_scaling=LLAMA3_ROPE,
        ),
        "F16",
        "llama-bpe",
        "F16",
    ),
    "tiny-head-dim": (
        "heads wider than hidden / heads",
        dict(
            hidden_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=20,
            intermediate_size=20,
            num_hidden_layers=2,
            tie_word_embeddings=False,
        ),
        "F32",
        "gpt-2",
        "F16",
    ),
    "tiny-bias": (
        "biases in attention",
        dict(
            hidden_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=28,
            num_hidden_layers=2,
            tie_word_embeddings=True,
            attention_bias=True,
        ),
        "F32",
        "smollm",
        "F16",
    ),
    "tiny-mistral": (
        "Mistral: a sliding window of 8",
        dict(
            hidden_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=56,
            num_hidden_layers=3,
            tie_word_embeddings=False,
            sliding_window=8,
        ),
        "BF16",
        "gpt-2",
        None,
    ),
    "tiny-sharded": (
        "BF16 weights in two files with an index",
        dict(
            hidden_size=56,
            num_attention_heads=7,
            num_key_value_heads=7,
            intermediate_size=48,
            num_hidden_layers=2,
            tie_word_embeddings=True,
            rms_norm_eps=1e-6,
        ),
        "BF16",
        "smollm",
        None,
    ),
    "tiny-q4-k-m": (
        "K-quants on rows of 256: Q4_K and Q6_K as llama.cpp mixes them; logits are those of the dequantized weights",
        dict(
            hidden_size=256,
            num_attention_heads=8,
            num_key_value_heads=2,
            intermediate_size=256,
            num_hidden_layers=2,
            tie_word_embeddings=True,
        ),
        None,
        "gpt-2",
        "Q4_K_M",
    ),
}

SEEDS = {"tiny-head-dim": 40, "tiny-mistral": 60}  # their numbers in the list gave near-ties


def make_tokenizer(kind):
    built = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind != "llama-bpe")
    first = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")],
    }[kind]
    built.pre_tokenizer = pre_tokenizers.Sequence(first + [bytes_of]) if first else bytes_of
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=296, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    built.train_from_iterator(TEXTS.values(), trainer)
    specials = (
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
        if kind == "llama-bpe"
        else ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    )
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if kind == "llama-bpe":
        bos = built.token_to_id(specials[0])
        built.post_processor = processors.TemplateProcessing(
            single=f"{specials[0]} $A", special_tokens=[(specials[0], bos)]
        )
    return built, specials


def draw(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.3 * noise
            elif "embed" in name:
                value = 0.4 * noise
            else:
                value = 1.5 * noise / math.sqrt(parameter.shape[1])
            parameter.copy_(value.to(torch.bfloat16).to(torch.float16).float())


def llama3_factors(config):
    """GGUF carries Llama 3's RoPE scaling as one divisor per frequency, worked out by whoever writes the file."""
    half = config.head_dim // 2
    wave = 2 * math.pi * theta(config) ** (np.arange(half) / half)
    scaling = LLAMA3_ROPE
    low, high = (
        scaling["original_max_position_embeddings"] / scaling["low_freq_factor"],
        scaling["original_max_position_embeddings"] / scaling["high_freq_factor"],
    )
    smooth = (scaling["original_max_position_embeddings"] / wave - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"]
    )
    between = 1 / ((1 - smooth) / scaling["factor"] + smooth)
    return np.where(wave < high, 1.0, np.where(wave > low, scaling["factor"], between)).astype(np.float32)


def theta(config):
    parameters = getattr(config, "rope_parameters", None) or {}
    return parameters.get("rope_theta", getattr(config, "rope_theta", None))


def write_gguf(path, model, tokenizer, specials, kind, half):
    """What llama.cpp's converter writes: rows of query and key heads interleaved, norms and biases in F32."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.parent.name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if config.head_dim != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(theta(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    content = json.loads(tokenizer.to_str())
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(kind)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in specials else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    )
    writer.add_bos_token_id(vocabulary[specials[0]])
    writer.add_eos_token_id(vocabulary[specials[-1]])
    writer.add_add_bos_token(kind == "llama-bpe")

    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
    if kind == "llama-bpe":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
            new = {
                "model.embed_tokens.weight": "token_embd.weight",
                "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight",
            }[name]
        else:
            parts = name.split(".")  # model.layers.N.(group.)part.weight
            new = f"blk.{parts[2]}.{names[parts[-2]]}.{parts[-1]}"
            if parts[-2] in ("q_proj", "k_proj"):
                heads = config.num_attention_heads if parts[-2] == "q_proj" else config.num_key_value_heads
                array = array.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(new, np.ascontiguousarray(array.astype(np.float16) if half and array.ndim == 2 else array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dequantized(model, path):
    """The same model with the numbers that the GGUF file stands for."""
    tensors = fixtures.hugging_face_tensors(
        fixtures.read_gguf(path)[1], model.config.num_attention_heads, model.config.num_key_value_heads
    )
    model.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}, strict=False)
    model.tie_weights()


def save(folder, model, stored):
    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[stored]
    tensors = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not (name == "lm_head.weight" and model.config.tie_word_embeddings)
    }
    if folder.name != "tiny-sharded":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": {}}
    for i, part in enumerate([names[: len(names) // 2], names[len(names) // 2 :]], start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= {name: file for name in part}
    write(folder / "model.safetensors.index.json", index)


def write(path, content, indent=1):
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def main():
    torch.set_num_threads(1)
    versions = {"transformers": transformers, "torch": torch, "tokenizers": tokenizers}
    made_by = "tests/goldens/make_tiny.py; " + ", ".join(f"{name} {it.__version__}" for name, it in versions.items())
    for seed, (name, (covers, sizes, stored, kind, gguf_type)) in enumerate(MODELS.items(), start=1):
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        sizes = copy.deepcopy(sizes)  # transformers writes into it
        tokenizer, specials = make_tokenizer(kind)
        ids = [tokenizer.token_to_id(token) for token in specials]
        common = dict(
            vocab_size=tokenizer.get_vocab_size(),
            max_position_embeddings=256,
            bos_token_id=ids[0],
            eos_token_id=ids[-1],
            pad_token_id=None,
        )
        if "rope_theta" not in sizes:
            common["rope_theta"] = 10000.0
        if name == "tiny-mistral":
            model = transformers.MistralForCausalLM(
                transformers.MistralConfig(**common, **sizes, attn_implementation="eager")
            )
        else:
            model = transformers.LlamaForCausalLM(
                transformers.LlamaConfig(**common, **sizes, attn_implementation="eager")
            )
        model.eval()
        draw(model, torch.Generator().manual_seed(SEEDS.get(name, seed)))

        if stored:
            save(folder, model, stored)
            # transformers 4's spelling, which the published models carry.
            config = {
                "architectures": [type(model).__name__],
                "model_type": model.config.model_type,
                "hidden_act": "silu",
                "rms_norm_eps": model.config.rms_norm_eps,
                **common,
                **MODELS[name][1],
                "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[stored],
            }
            write(folder / "config.json", config)
            (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
            write(
                folder / "tokenizer_config.json",
                {
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "bos_token": specials[0],
                    "eos_token": specials[-1],
                    "model_max_length": 256,
                },
            )
            # What was written is what is computed: everything below comes from the files.
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager"
            ).eval()
            fast = transformers.AutoTokenizer.from_pretrained(folder)
            encode = lambda text: fast(text)["input_ids"]  # noqa: E731
        else:
            encode = lambda text: tokenizer.encode(text).ids  # noqa: E731
        if gguf_type:
            path = folder / "model.gguf"
            wide = folder / "wide.gguf"  # F32, so that llama.cpp's own rounding stays out of the comparison below
            write_gguf(wide, model, tokenizer, specials, kind, half=False)
            if gguf_type == "F16":
                write_gguf(path, model, tokenizer, specials, kind, half=True)
            else:
                llama.quantize(wide, path, gguf_type, threads=1)
            if gguf_type == "Q4_K_M":
                dequantized(model, path)
                write_gguf(wide, model, tokenizer, specials, kind, half=False)

        tokens = encode(PROMPT)
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0].numpy()
            greedy, gaps = list(tokens), []
            for _ in range(16):
                best = torch.topk(model(torch.tensor([greedy])).logits[0, -1], 2)
                greedy.append(int(best.indices[0]))
                gaps.append(round(float(best.values[0] - best.values[1]), 5))
        (folder / "logits.bin").write_bytes(logits.astype("<f4").tobytes())
        texts = [{"text": TEXTS[sample], "tokens": encode(TEXTS[sample])} for sample in SAMPLES]
        golden = {
            "made_by": made_by,
            "covers": covers,
            "prompt": PROMPT,
            "tokens": tokens,
            "greedy": greedy[len(tokens) :],
            "gaps": gaps,
            "texts": texts,
        }
        lines = ",\n".join(
            f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in golden.items()
        )
        (folder / "golden.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

        note = ""
        if gguf_type:
            peer = llama.Llama(wide, context=256, batch=256, threads=1, flash=0, kv="F32", all_logits=True)
            bos = [ids[0]] if kind == "llama-bpe" else []
            assert bos + peer.tokenize(PROMPT) == tokens, "llama.cpp reads the prompt as other tokens"
            for text in texts:
                assert bos + peer.tokenize(text["text"]) == text["tokens"], "llama.cpp reads a text as other tokens"
            distance = np.abs(peer.logits(tokens) - logits).max()
            assert distance < 1e-3, f"{name}: llama.cpp is {distance} away"
            note = f", llama.cpp within {distance:.6f}"
            peer.close()
            wide.unlink()
        for file in folder.iterdir():
            file.chmod(0o644)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(
            f"{name}: {len(tokens)} tokens, smallest gap {min(gaps):.3f},"
            f" logits {logits.min():.2f} to {logits.max():.2f}{note}, {size / 1000:.0f} kB"
        )


if __name__ == "__main__":
    main()
