#!/usr/bin/env python3
"""Makes the tests/goldens/encoder-* of models that embed texts: small random ones and what transformers computes for them; and
encoder-minilm.json, what it computes for a real one.

    TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 $(tests/peers/setup --goldens) tests/goldens/make_encoders.py [NAME...]

Each folder is a Hugging Face model folder with the files of sentence-transformers beside it, and has a golden.json: `texts` with
their `tokens`, and for each pooling a vector per text, not scaled, computed in float64. The tokenizer is a WordPiece one, trained
on texts.py, that lowercases and takes accents off. Sizes are odd, weights larger than a fresh model's.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
import torch
import transformers
from safetensors.torch import save_file
from texts import TEXTS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

COMMON = dict(
    model_type="bert", hidden_act="gelu", layer_norm_eps=1e-12, type_vocab_size=2, position_embedding_type="absolute",
    attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1, pad_token_id=0,
)
# name: (what it covers, class, configuration, pooling, are vectors scaled, stored as)
MODELS = {
    "encoder-bert": (
        "heads of an odd width, three kinds of tokens, the mean",
        "BertModel",
        dict(hidden_size=45, num_attention_heads=3, intermediate_size=70, num_hidden_layers=3, max_position_embeddings=150,
             type_vocab_size=3, layer_norm_eps=1e-5),
        "mean", True, torch.float32,
    ),
    "encoder-bert-mlm": (
        "a head for guessing words, which embeddings leave out; the first token, not scaled; half precision",
        "BertForMaskedLM",
        dict(hidden_size=64, num_attention_heads=4, intermediate_size=100, num_hidden_layers=2, max_position_embeddings=130,
             tie_word_embeddings=True),
        "cls", False, torch.float16,
    ),
}
# Of the real model: several languages, accents, what WordPiece cannot split, long words, more than a page of 64 tokens.
REAL = [
    "A tern is a seabird that migrates from the Arctic to the Antarctic and back each year.",
    "Arctic terns fly farther than any other bird.",
    "How do I bake sourdough bread at home?",
    "Mix flour, water and salt; let the dough rest overnight; bake it in a very hot, covered pot.",
    "Крачка — морская птица, которая каждый год улетает в Антарктику.",
    "Ёлка, мой, ў: ещё немного русского и белорусского текста.",
    "Die Küstenseeschwalbe fliegt jedes Jahr von der Arktis in die Antarktis; Größe: 35 cm.",
    "L'élève naïf à Genève a reçu un gâteau où il y avait déjà des cerises.",
    "北极燕鸥每年往返于南北两极之间。",
    "def mean(xs):\n    return sum(xs) / len(xs)  # 🐦 e-mail: a.b@example.org, 3.14159, C++",
    "Pneumonoultramicroscopicsilicovolcanoconiosis\tis" + " a long word, " * 3 + "x" * 120,
    TEXTS["harbour"],
]


def make_tokenizer():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS.values(), *REAL], trainer)
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    return tokenizer


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def sentence_files(folder, width, pooling, scaled):
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if scaled else [])
    write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ])
    keys = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width}
          | {f"pooling_mode_{key}": name == pooling for name, key in keys.items()})


def draw(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name:
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.3 * noise
            elif "embeddings" in name:
                value = 0.7 * noise
            else:
                value = 1.5 * noise / math.sqrt(parameter.shape[-1])
            parameter.copy_(value.to(torch.bfloat16).to(torch.float16).float())


def embed(model, tokens):
    """Last hidden states in float64, pooled in every way; not scaled."""
    body = getattr(model, "bert", model).double().eval()
    pooled = {"mean": [], "cls": [], "last": []}
    for text in tokens:
        with torch.no_grad():
            hidden = body(torch.tensor([text])).last_hidden_state[0]
        for key, vector in [("mean", hidden.mean(0)), ("cls", hidden[0]), ("last", hidden[-1])]:
            pooled[key].append([float(f"{x:.7g}") for x in vector])
    return pooled


def make(name, seed, made_by):
    covers, kind, settings, pooling, scaled, dtype = MODELS[name]
    folder = HERE / name
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    tokenizer = make_tokenizer()
    config = {"architectures": [kind], **COMMON, **settings, "vocab_size": tokenizer.get_vocab_size() + 3}
    write(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
        "cls_token": "[CLS]", "mask_token": "[MASK]", "model_max_length": config["max_position_embeddings"]})
    sentence_files(folder, config["hidden_size"], pooling, scaled)
    model = getattr(transformers, kind)(transformers.AutoConfig.from_pretrained(folder)).eval()
    draw(model, torch.Generator().manual_seed(seed))
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in model.state_dict().items() if not key.startswith("cls.predictions.decoder")}
    tensors["bert.embeddings.position_ids" if kind == "BertForMaskedLM" else "embeddings.position_ids"] = torch.arange(
        config["max_position_embeddings"])[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # What was written is what is computed.
    model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    texts = [text for text in REAL[:-1] if len(tokenizer.encode(text).ids) <= config["max_position_embeddings"]]
    tokens = [tokenizer.encode(text).ids for text in texts]
    golden = {"made_by": made_by, "covers": covers, "pooling": pooling, "scaled": scaled, "texts": texts, "tokens": tokens}
    finish(folder / "golden.json", golden | embed(model, tokens))


def make_real(made_by):
    folder = subprocess.run([HERE.parent / "fixtures" / "fetch-minilm"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    tokens = [tokenizer.encode(text).ids for text in REAL]
    pooled = embed(model, tokens)
    finish(HERE / "encoder-minilm.json", {"made_by": made_by, "texts": REAL, "tokens": tokens, "mean": pooled["mean"]})


def finish(path, golden):
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in golden.items())
    path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"{path.relative_to(HERE)}: {len(golden['texts'])} texts of {[len(t) for t in golden['tokens']]} tokens")


def main():
    torch.set_num_threads(1)
    made_by = f"tests/goldens/make_encoders.py; transformers {transformers.__version__}, torch {torch.__version__}"
    for seed, name in enumerate(MODELS, start=300):
        if not sys.argv[1:] or name in sys.argv[1:]:
            make(name, seed, made_by)
    if not sys.argv[1:] or "encoder-minilm" in sys.argv[1:]:
        make_real(made_by)


if __name__ == "__main__":
    main()
