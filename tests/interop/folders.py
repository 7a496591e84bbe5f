"""Folders that Tern writes of GGUF files, read by transformers and by sentencepiece: the same tokens, conversation and logits.

Argument: the program `tern`. A small random model of each kind of tokenizer is made by transformers, becomes GGUF and a folder again:
SentencePiece's BPE and Unigram (architecture llama), byte-level BPE (llama, qwen2).
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "../lib/parity"))
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}"
MESSAGES = [{"role": "user", "content": " Hello, naïve café?\n"}, {"role": "assistant", "content": "Съешь ещё 12 булок. 🫠"}]
COUNT, LONGEST = 200, 400
# Of 200 texts; Hugging Face's Unigram sums in double precision, which now and then decides otherwise between cuts that are equally good.
MAY_DIFFER = {"unigram": 2}


def tern(*args):
    done = subprocess.run([sys.argv[1], *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"
    return done.stdout


def small(architecture, vocab):
    """A random model."""
    import torch
    import transformers

    torch.manual_seed(1)
    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    config = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config}[architecture]
    config = config(vocab_size=vocab, max_position_embeddings=256, tie_word_embeddings=False, **sizes)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def of_sentencepiece(folder, kind):
    import trained

    model = trained.sentence_piece(kind, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False)
    (folder / "tokenizer.model").write_bytes(model)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | {"add_bos_token": True, "chat_template": TEMPLATE}))
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()


def of_merges(folder, _):
    import trained
    from tokenizers import Regex, pre_tokenizers, decoders, normalizers

    qwen2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(qwen2), "isolated"), byte_level])
    trained.finish, finish = (lambda tokenizer, umlaut: tokenizer), trained.finish
    tokenizer = trained.bpe(pre, decoders.ByteLevel(), normalizers.NFC(), alphabet=byte_level.alphabet())
    trained.finish = finish
    spec = json.loads(tokenizer.to_str())
    spec["model"]["unk_token"] = None
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    names = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | {"chat_template": TEMPLATE}))
    return tokenizer.get_vocab_size()


def check(name, folder, architecture, make, kind):
    import torch
    from strings import Strings
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, file, target = folder / "source", folder / "model.gguf", folder / "target"
    source.mkdir()
    model = small(architecture, make(source, kind))
    model.save_pretrained(source)
    tern("convert", source, file, "--type", "F32")
    tern("convert", file, target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    strings = Strings(name)
    texts = [t for t in (strings.text() for _ in range(COUNT)) if 0 < len(t) < LONGEST and "<" not in t]
    listed, different, processor = folder / "texts.txt", 0, None
    if (target / "tokenizer.model").exists():
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(target / "tokenizer.model"))
    for text in texts:
        listed.write_bytes(text.encode())
        ours = json.loads(tern("tokenize", file, "--file", listed, "--json"))["tokens"]
        theirs = tokenizer.encode(text)
        again = None if processor is None else [processor.bos_id(), *processor.encode(text)]
        assert again in (None, ours), f"{name}: {text!r}\n  ours {ours}\n  sentencepiece {again}"
        if ours != theirs:
            different += 1
            print(f"{name}: {text!r}\n  ours {ours}\n  transformers {theirs}")
    assert different <= MAY_DIFFER.get(kind, 0), f"{name}: {different} texts differ"
    conversation = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    import jinja2

    expected = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    assert conversation == expected.render(messages=MESSAGES, add_generation_prompt=True), conversation
    loaded = AutoModelForCausalLM.from_pretrained(target).eval()
    tokens = torch.tensor([tokenizer.encode(" ".join(m["content"] for m in MESSAGES))])
    with torch.no_grad():
        distance = (loaded(tokens).logits - model(tokens).logits).abs().max().item()
    assert distance == 0, f"{name}: logits are {distance} away"
    print(f"equal: {name}, {len(texts)} texts ({different} differ), a conversation, logits")


def main():
    cases = {
        "SentencePiece BPE": ("llama", of_sentencepiece, "bpe"),
        "SentencePiece Unigram": ("llama", of_sentencepiece, "unigram"),
        "byte-level BPE": ("llama", of_merges, None),
        "byte-level BPE of qwen2": ("qwen2", of_merges, None),
    }
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            check(name, pathlib.Path(folder), *case)


main()
