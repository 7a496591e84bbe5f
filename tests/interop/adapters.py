"""LoRA adapters between Tern, llama.cpp and Hugging Face's layout: the same greedy tokens.

Argument: the program `tern`. Models are goldens, converted to F32, since llama.cpp rounds what goes into matrices of half precision.

1. `tern adapt` learns an adapter and writes it as GGUF: llama.cpp goes on with the same tokens as Tern.
2. The golden adapter of PyTorch (tests/goldens/learn) is written as GGUF by gguf-py, with the rows of q and k as llama.cpp's converter has
   them: llama.cpp, Tern with this file, and Tern with the PEFT folder go on with the same tokens.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
GOLDENS = HERE / "../goldens"
sys.path.insert(0, str(HERE / "../lib"))
MODULES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
COUNT = 24


def tern(*args):
    done = subprocess.run([sys.argv[1], "--threads", "1", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"
    return done.stdout


def of_tern(model, prompt, *adapters):
    """The prompt's tokens, and those that follow."""
    flags = [flag for adapter in adapters for flag in ("--adapter", adapter)]
    answer = json.loads(
        tern("run", model, "--prompt", prompt, "-n", COUNT, "--temperature", 0, "--ignore-eos", "--json", "--kv", "f32", *flags)
    )
    return answer["prompt_tokens"], answer["tokens"]


def of_llama_cpp(model, tokens, adapter=None, scale=1.0):
    import ctypes

    import llama_cpp as c
    from llama import Llama

    peer = Llama(model, context=256, batch=256, threads=1, flash=0, kv="F32", all_logits=True)
    if adapter:
        lora = c.llama_adapter_lora_init(peer.model, str(adapter).encode())
        assert lora, f"llama.cpp refuses {adapter}"
        adapters = (c.llama_adapter_lora_p_ctypes * 1)(ctypes.cast(lora, c.llama_adapter_lora_p_ctypes))
        assert c.llama_set_adapters_lora(peer.context, adapters, 1, (ctypes.c_float * 1)(scale)) == 0
    tokens, start = list(tokens), len(tokens)
    for _ in range(COUNT):
        tokens.append(int(peer.logits(tokens)[-1].argmax()))
    peer.close()
    return tokens[start:]


def with_gguf_py(folder, target, heads):
    """A PEFT folder of architecture llama as llama.cpp's converter writes it."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        parts = name.split(".")
        layer, module, side = parts[4], parts[-3], parts[-2][-1]
        if module in heads and side == "B":
            rows, rank = tensor.shape
            count = heads[module]
            tensor = tensor.reshape(count, 2, rows // count // 2, rank).swapaxes(1, 2).reshape(rows, rank)
        writer.add_tensor(f"blk.{layer}.{MODULES[module]}.weight.lora_{side.lower()}", np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        text = (HERE / "../../README.md").resolve()
        for name in ["tiny-llama", "tiny-qwen3"]:
            model = temporary / f"{name}.gguf"
            tern("convert", GOLDENS / name, model, "--type", "F32")
            learned = temporary / f"{name}-learned.gguf"
            tern("adapt", model, "--data", text, "--out", learned, "--steps", 12, "--lr", 0.01, "--rank", 4, "--context", 64)
            prompt, plain = of_tern(model, "The quick brown fox")
            _, ours = of_tern(model, "The quick brown fox", learned)
            theirs = of_llama_cpp(model, prompt, learned)
            assert ours == theirs, f"{name}: Tern {ours}, llama.cpp {theirs}"
            assert ours != plain, f"{name}: the adapter changes nothing"
            _, half = of_tern(model, "The quick brown fox", f"{learned}:0.5")
            assert half == of_llama_cpp(model, prompt, learned, 0.5), f"{name}: at half weight"
            print(f"equal: {name}, {COUNT} greedy tokens with an adapter of ours, whole and at half weight")
        folder = GOLDENS / "learn/tiny-llama/adapter"
        model, golden = temporary / "tiny-llama.gguf", temporary / "golden.gguf"
        config = json.loads((GOLDENS / "tiny-llama/config.json").read_text())
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        with_gguf_py(folder, golden, heads)
        prompt, ours = of_tern(model, "The quick brown fox", golden)
        assert ours == of_llama_cpp(model, prompt, golden), "an adapter of gguf-py's"
        assert ours == of_tern(model, "The quick brown fox", folder)[1], "the PEFT folder with a GGUF model"
        assert ours == of_tern(GOLDENS / "tiny-llama", "The quick brown fox", golden)[1], "the file with a folder"
        print("equal: tiny-llama, an adapter of PyTorch's as GGUF and as PEFT folder, on a file and on a folder")


main()
