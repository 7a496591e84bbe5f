"""The comparisons of tests/interop/run. Argument: the example `interop` of tern-formats."""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

TOOL = sys.argv[1]
TINY = pathlib.Path(__file__).parent / "../goldens/tiny-untied/model.gguf"
RNG = np.random.default_rng(1)


def tool(*args):
    done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"
    return [line.split("\t") for line in done.stdout.splitlines()]


def fnv(data):
    hash = 0xCBF29CE484222325
    for byte in bytes(data):
        hash = (hash ^ byte) * 0x100000001B3 % 2**64
    return f"{hash:016x}"


def listed(path):
    """What tern-formats reads: name -> (dtype, shape, hash)."""
    return {name: (dtype, shape, hash) for name, dtype, shape, hash in tool("list", path)}


def shape(dims):
    return "[" + ", ".join(str(int(d)) for d in dims) + "]"


def by_gguf_py(*paths):
    """What gguf-py reads from a model's parts, in the same form."""
    tensors = itertools.chain(*(gguf.GGUFReader(p).tensors for p in paths))
    return {t.name: (t.tensor_type.name, shape(reversed(t.shape)), fnv(t.data.tobytes())) for t in tensors}


def keys(path):
    """Keys and values by gguf-py, without its own framing and without those of splitting."""
    fields = gguf.GGUFReader(path).fields
    own = ("GGUF.", "split.")
    return [(k, [t.name for t in f.types], f.contents()) for k, f in fields.items() if not k.startswith(own)]


def same(what, found, expected):
    assert found == expected, f"{what}:\n{found}\nexpected\n{expected}"
    print(f"equal: {what}")


def parts(prefix):
    return sorted(prefix.parent.glob(prefix.name + "-*-of-*.gguf"))


def write_with_gguf_py(path, **options):
    """Every type of value; tensors of plain and block types."""
    w = gguf.GGUFWriter(path, "test", **options)
    for name, value in [("u8", 255), ("u16", 65535), ("u32", 2**32 - 1), ("u64", 2**64 - 1)]:
        getattr(w, f"add_{name.replace('u', 'uint')}")(f"k.{name}", value)
    for name, value in [("i8", -128), ("i16", -2), ("i32", -(2**31)), ("i64", -(2**63))]:
        getattr(w, f"add_{name.replace('i', 'int')}")(f"k.{name}", value)
    w.add_float32("k.f32", 1e-5)
    w.add_float64("k.f64", 1e-300)
    w.add_bool("k.bool", True)
    w.add_string("k.string", "Grüße 😀\n")
    w.add_array("k.strings", ["a", "", "ü"])
    w.add_array("k.ints", [1, -2, 3])
    w.add_array("k.floats", [0.5, -1.5])
    w.add_array("k.bools", [True, False])
    w.add_array("k.bytes", b"\x00\xff")
    if not options:
        w.add_custom_alignment(64)
    kinds = [np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64]
    for i, kind in enumerate(kinds):
        w.add_tensor(f"plain.{i}", (RNG.standard_normal((3, i + 1)) * 50).astype(kind))
    q = gguf.GGMLQuantizationType
    for kind in [q.BF16, q.Q8_0, q.Q4_0, q.Q4_1, q.Q5_0, q.Q5_1, q.TQ1_0, q.TQ2_0, q.MXFP4]:
        try:
            data = gguf.quants.quantize(RNG.standard_normal((5, 512)).astype(np.float32), kind)
        except NotImplementedError:
            print(f"gguf-py does not encode {kind.name}")
            continue
        w.add_tensor(f"blocks.{kind.name}", data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def gguf_files(folder):
    theirs = folder / "theirs.gguf"
    write_with_gguf_py(theirs)
    expected = by_gguf_py(theirs)
    same("a file of gguf-py, read here", listed(theirs), expected)
    tool("gguf", theirs, folder / "ours.gguf")
    same("written again, byte for byte", (folder / "ours.gguf").read_bytes(), theirs.read_bytes())
    tool("split", theirs, folder / "split", 3)
    ours = parts(folder / "split")
    same("split here, read by gguf-py", by_gguf_py(*ours), expected)
    same("its keys", keys(ours[0]), keys(theirs))
    for part in ours:
        same(f"read here from {part.name}", listed(part), expected)
    tool("gguf", ours[1], folder / "merged.gguf")
    same("merged here, byte for byte", (folder / "merged.gguf").read_bytes(), theirs.read_bytes())

    write_with_gguf_py(folder / "shards.gguf", split_max_tensors=4)
    shards = parts(folder / "shards")
    assert len(shards) > 2
    for part in shards:
        same(f"split by gguf-py, read here from {part.name}", listed(part), by_gguf_py(*shards))


def safetensors_files(folder):
    kinds = [np.float32, np.float16, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
             np.uint64, np.bool_]
    tensors = {f"t.{np.dtype(k).name}": (RNG.standard_normal((4, i + 1)) * 50).astype(k) for i, k in enumerate(kinds)}
    tensors |= {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(7, np.int64), 'näme "q"': np.ones(3, np.float32)}
    theirs = folder / "theirs.safetensors"
    save_file(tensors, theirs, metadata={"format": "pt"})
    expected = {n: (shape(t.shape), fnv(t.tobytes())) for n, t in tensors.items()}
    read = {name: rest[1:] for name, rest in listed(theirs).items()}
    same("a file of safetensors, read here", read, expected)
    tool("copy", theirs, folder / "ours.safetensors")
    same("written again, byte for byte", (folder / "ours.safetensors").read_bytes(), theirs.read_bytes())
    tool("shard", theirs, folder / "model", 100)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    loaded = {}
    for shard in sorted(set(index["weight_map"].values())):
        loaded |= load_file(folder / shard)
        with safe_open(folder / shard, "np") as f:
            assert f.metadata() == {"format": "pt"}
            assert all(index["weight_map"][name] == shard for name in f.keys())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())
    same("sharded here, read by safetensors", {n: (shape(t.shape), fnv(t.tobytes())) for n, t in loaded.items()}, expected)
    again = {name: rest[1:] for name, rest in listed(folder / "model.safetensors.index.json").items()}
    same("and read here", again, expected)

    halves = [dict(list(tensors.items())[i::2]) for i in range(2)]
    weight_map = {}
    for i, half in enumerate(halves):
        save_file(half, folder / f"half-{i}.safetensors")
        weight_map |= dict.fromkeys(half, f"half-{i}.safetensors")
    (folder / "half.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    read = {name: rest[1:] for name, rest in listed(folder / "half.index.json").items()}
    same("shards of safetensors, read here", read, expected)


def llama_cpp(folder):
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "../lib"))
    import ctypes

    import llama_cpp as c
    from llama import Llama

    def answers(path):
        model = Llama(path, context=64, batch=32)
        batch = (c.llama_token * 5)(*range(1, 6))
        assert c.llama_decode(model.context, c.llama_batch_get_one(batch, 5)) == 0
        logits = np.ctypeslib.as_array(c.llama_get_logits(model.context), (model.n_vocab,)).copy()
        return fnv(logits.tobytes()), [c.llama_vocab_get_text(model.vocab, i) for i in range(model.n_vocab)]

    expected = answers(TINY)
    tool("gguf", TINY, folder / "again.gguf")
    same("written here, logits and tokens of llama.cpp", answers(folder / "again.gguf"), expected)
    tool("split", TINY, folder / "tiny", 5)
    first = parts(folder / "tiny")[0]
    same("split here, logits and tokens of llama.cpp", answers(first), expected)

    params = c.llama_model_quantize_default_params()
    params.ftype, params.keep_split, params.only_copy = 0, True, True
    assert c.llama_model_quantize(str(first).encode(), str(folder / "theirs").encode(), ctypes.byref(params)) == 0
    theirs = parts(folder / "theirs")
    assert len(theirs) > 2
    for part in theirs[:3]:
        same(f"split by llama.cpp, read here from {part.name}", listed(part), listed(TINY))

    (name, (_, dims, _)) = next((n, t) for n, t in listed(TINY).items() if n == "blk.0.attn_q.weight")
    outputs, inputs = json.loads(dims)
    tool("lora", folder / "lora.gguf", "llama", name, inputs, outputs)
    same("an adapter of ours, read here", tool("adapter", folder / "lora.gguf"),
         [[name, "2", str(inputs), str(outputs), "2"]])
    model = Llama(TINY, context=64, batch=32)
    assert c.llama_adapter_lora_init(model.model, str(folder / "lora.gguf").encode()), "llama.cpp refuses our adapter"
    print("equal: an adapter of ours is accepted by llama.cpp")


with tempfile.TemporaryDirectory() as temporary:
    for check in [gguf_files, safetensors_files, llama_cpp]:
        folder = pathlib.Path(temporary, check.__name__)
        folder.mkdir()
        try:
            check(folder)
        except ImportError as error:
            print(f"skipped {check.__name__}: {error} (tests/peers/setup builds it)")
