"""Where the test models lie, and what is in them."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
STEM = "SmolLM2-135M-Instruct"
SHIPPED = "Q4_1"  # the only type that a package carries; all others are made from it
VARIANTS = ["F32", "F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "Q4_K_M", "Q6_K"]


def cache() -> Path:
    if explicit := os.environ.get("TERN_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tern"


def models() -> Path:
    return cache() / "models"


def fetch() -> Path:
    """The shipped model; fetched where it is missing."""
    done = subprocess.run([TESTS / "fixtures" / "fetch"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return Path(done.stdout.strip())


def shape(name: str) -> Path:
    """Where fixtures/shapes.py puts a model of random weights, SHAPE:TYPE."""
    return models() / f"random-{name.replace(':', '-')}.gguf"


def model(type_name: str) -> Path:
    """The GGUF file of one type, or of a SHAPE:TYPE; says how to make it where it is missing."""
    if ":" in type_name:
        path = shape(type_name)
        return path if path.is_file() else sys.exit(f"no {path}\nmake it: $(tests/peers/setup) tests/fixtures/shapes.py {type_name}")
    path = models() / f"{STEM}-{type_name}.gguf"
    if path.is_file():
        return path
    if type_name == SHIPPED:
        return fetch()
    sys.exit(f"no {path}\nmake it: $(tests/peers/setup) tests/fixtures/variants.py {type_name}")


def read_gguf(path):
    """(metadata, tensors) of a GGUF file; tensors as float32 arrays, dequantized by the gguf package, which shares no
    code with llama.cpp's kernels."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape[::-1]]
        tensors[tensor.name] = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(
            shape
        )
    return metadata, tensors


def hugging_face(metadata, tensors):
    """(config, tensors) of a llama GGUF file under Hugging Face's names and layout."""
    import numpy as np

    def key(name):
        return metadata[f"llama.{name}"]

    def f32(x):  # GGUF stores 1e-5 as the float32 nearest to it: write the shortest text of that
        return float(str(np.float32(x)))

    hidden, heads, kv_heads = key("embedding_length"), key("attention.head_count"), key("attention.head_count_kv")
    head_dim = metadata.get("llama.attention.key_length", hidden // heads)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": key("feed_forward_length"),
        "max_position_embeddings": key("context_length"),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": key("block_count"),
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": f32(key("attention.layer_norm_rms_epsilon")),
        "rope_scaling": None,
        "rope_theta": f32(key("rope.freq_base")),
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": "float32",
        "vocab_size": tensors["token_embd.weight"].shape[0],
    }
    return config, hugging_face_tensors(tensors, heads, kv_heads)


def hugging_face_tensors(tensors, heads, kv_heads):
    """A llama GGUF file's tensors under Hugging Face's names.

    GGUF keeps the rows of each query and key head interleaved for the adjacent-pairs RoPE; Hugging Face keeps the two
    halves one after the other.
    """
    import numpy as np

    def halves(weight, n):
        rows, columns = weight.shape
        return np.ascontiguousarray(weight.reshape(n, rows // n // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns))

    top = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    inner = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    renamed = {}
    for name, tensor in tensors.items():
        if name in top:
            renamed[top[name]] = tensor
            continue
        _, layer, part, _ = name.split(".")  # blk.N.part.weight
        if part == "attn_q":
            tensor = halves(tensor, heads)
        if part == "attn_k":
            tensor = halves(tensor, kv_heads)
        renamed[f"model.layers.{layer}.{inner[part]}.weight"] = tensor
    return renamed
