"""llama.cpp's tokens: `python llama_cpp.py KEYS.JSON < texts`, with the interpreter that `tests/peers/setup` made.

Texts come as JSON strings, one per line; a line of ids answers each. The file has the keys of a GGUF file by name. A model of that
tokenizer and nothing else is written to a temporary file and opened for its vocabulary only.
"""

import ctypes
import json
import pathlib
import sys
import tempfile

sys.path.remove(str(pathlib.Path(__file__).resolve().parent))  # This file has the package's name.

import gguf
import llama_cpp as c


@c.llama_log_callback
def quiet(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(errors="replace"), end="", file=sys.stderr)


def write(keys, path):
    """A GGUF file with these keys and no tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(0)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, value in keys.items():
        if name.endswith("precompiled_charsmap"):
            writer.add_key_value(name, bytes(value), gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT8)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif name.endswith("scores"):
            writer.add_key_value(name, [float(v) for v in value], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32)
        else:
            writer.add_array(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    c.llama_log_set(quiet, ctypes.c_void_p(0))
    c.llama_backend_init()
    with tempfile.TemporaryDirectory() as work:
        path = str(pathlib.Path(work) / "vocabulary.gguf")
        write(json.loads(pathlib.Path(sys.argv[1]).read_text()), path)
        params = c.llama_model_default_params()
        params.vocab_only = True
        model = c.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise SystemExit("llama.cpp could not open the vocabulary")
        vocab = c.llama_model_get_vocab(model)
        for line in sys.stdin:
            text = json.loads(line).encode()
            room = 2 * len(text) + 16
            ids = (c.llama_token * room)()
            count = c.llama_tokenize(vocab, text, len(text), ids, room, False, True)
            print(" ".join(map(str, ids[:count])))


main()
