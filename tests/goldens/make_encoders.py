#!/usr/bin/env python3
"""Makes the tests/goldens/encoder-* of models that embed texts: small random ones and what transformers computes for them; and
encoder-minilm.json, what it computes for a real one.

    TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 $(tests/peers/setup --goldens) tests/goldens/make_encoders.py [NAME...]

Each folder is a Hugging Face model folder with the files of sentence-transformers beside it, and has a golden.json: `texts` with
their `tokens`, and for each pooling a vector per text, not scaled, computed in float64. Tokenizers are trained on texts.py: WordPiece that
lowercases and takes accents off, byte-level BPE, or Unigram, as the published models of a family have it. Sizes are odd, weights
larger than a fresh model's.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
import torch
import transformers
from safetensors.torch import save_file
from texts import TEXTS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

BERT = dict(
    model_type="bert", hidden_act="gelu", layer_norm_eps=1e-12, type_vocab_size=2, position_embedding_type="absolute",
    attention_probs_dropout_prob=0.1, hidden_dropout_prob=0.1, pad_token_id=0,
)
ROBERTA = BERT | dict(model_type="roberta", layer_norm_eps=1e-5, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
# name: (what it covers, class, configuration, pooling, are vectors scaled, stored as)
# The model type chooses the tokenizer, see `make_tokenizer`.
MODELS = {
    "encoder-bert": (
        "heads of an odd width, three kinds of tokens, the mean",
        "BertModel",
        BERT | dict(hidden_size=45, num_attention_heads=3, intermediate_size=70, num_hidden_layers=3,
                    max_position_embeddings=150, type_vocab_size=3, layer_norm_eps=1e-5),
        "mean", True, torch.float32,
    ),
    "encoder-bert-mlm": (
        "a head for guessing words, which embeddings leave out; the first token, not scaled; half precision",
        "BertForMaskedLM",
        BERT | dict(hidden_size=64, num_attention_heads=4, intermediate_size=100, num_hidden_layers=2,
                    max_position_embeddings=130, tie_word_embeddings=True),
        "cls", False, torch.float16,
    ),
    "encoder-roberta": (
        "RoBERTa: positions behind that of padding, byte-level BPE, one kind of tokens",
        "RobertaModel",
        ROBERTA | dict(hidden_size=36, num_attention_heads=3, intermediate_size=50, num_hidden_layers=2,
                       max_position_embeddings=152),
        "mean", True, torch.float32,
    ),
    "encoder-roberta-mlm": (
        "RoBERTa with a head for guessing words, another number for padding",
        "RobertaForMaskedLM",
        ROBERTA | dict(hidden_size=32, num_attention_heads=2, intermediate_size=40, num_hidden_layers=1,
                       max_position_embeddings=145, pad_token_id=3, tie_word_embeddings=True),
        "mean", True, torch.float16,
    ),
    "encoder-xlm-roberta": (
        "XLM-R: Unigram, the mean",
        "XLMRobertaModel",
        ROBERTA | dict(model_type="xlm-roberta", hidden_size=30, num_attention_heads=3, intermediate_size=44,
                       num_hidden_layers=2, max_position_embeddings=140),
        "mean", False, torch.float32,
    ),
    "encoder-xlm-roberta-mlm": (
        "XLM-R: Unigram, a head for guessing words, half precision, the first token",
        "XLMRobertaForMaskedLM",
        ROBERTA | dict(model_type="xlm-roberta", hidden_size=40, num_attention_heads=2, intermediate_size=56,
                       num_hidden_layers=2, max_position_embeddings=142, tie_word_embeddings=True),
        "cls", True, torch.float16,
    ),
    "encoder-nomic": (
        "Nomic BERT: rotated positions, a gated feed-forward block, the names of its own code",
        "NomicBertModel",
        dict(model_type="nomic_bert", vocab_size=0, n_embd=36, n_head=3, n_inner=52, n_layer=2, n_positions=8192,
             max_trained_positions=2048, layer_norm_epsilon=1e-12, type_vocab_size=2, activation_function="swiglu",
             rotary_emb_base=1000, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None,
             rotary_scaling_factor=None, prenorm=False, qkv_proj_bias=False, mlp_fc1_bias=False, mlp_fc2_bias=False, causal=False,
             use_rms_norm=False, parallel_block=False, pad_token_id=0),
        "mean", True, torch.float32,
    ),
    "encoder-nomic-names": (
        "Nomic BERT under the names of transformers",
        "NomicBertModel",
        dict(model_type="nomic_bert", hidden_size=48, num_attention_heads=4, intermediate_size=40, num_hidden_layers=3,
             hidden_act="silu", max_position_embeddings=200, type_vocab_size=2, layer_norm_eps=1e-5, pad_token_id=0,
             rope_parameters={"rope_type": "default", "rope_theta": 700.0}),
        "mean", False, torch.float16,
    ),
    "encoder-modern": (
        "ModernBERT: five layers of which the first and the fourth see everything and others three neighbours on each side",
        "ModernBertModel",
        dict(model_type="modernbert", hidden_size=40, num_attention_heads=2, intermediate_size=44, num_hidden_layers=5,
             hidden_activation="gelu", max_position_embeddings=180, norm_eps=1e-5, norm_bias=False, attention_bias=False, mlp_bias=False,
             local_attention=6, global_attn_every_n_layers=3, global_rope_theta=160000.0, local_rope_theta=10000.0, pad_token_id=1,
             bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2),
        "cls", True, torch.float32,
    ),
    "encoder-modern-mlm": (
        "ModernBERT with a head for guessing words, every second layer near-sighted, settings as transformers 5 writes them",
        "ModernBertForMaskedLM",
        dict(model_type="modernbert", hidden_size=36, num_attention_heads=3, intermediate_size=36, num_hidden_layers=3,
             hidden_activation="gelu", max_position_embeddings=170, norm_eps=1e-6, norm_bias=False, attention_bias=False, mlp_bias=False,
             local_attention=9, layer_types=["full_attention", "sliding_attention", "full_attention"],
             rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 20000.0},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}},
             pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2, tie_word_embeddings=True),
        "mean", True, torch.float16,
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


def make_tokenizer(kind):
    if kind in ("bert", "nomic_bert"):
        return word_piece()
    unigram = kind == "xlm-roberta"
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [*TEXTS.values(), *REAL]
    if unigram:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=specials, unk_token="<unk>", show_progress=False)
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    if kind == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(ids[1], ids[0], trim_offsets=True, add_prefix_space=False)
    else:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return tokenizer


def word_piece():
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
            if "norm" in name.lower() and name.endswith("weight"):
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
    body = (model if hasattr(model, "embeddings") else model.base_model).double().eval()
    pooled = {"mean": [], "cls": [], "last": []}
    for text in tokens:
        with torch.no_grad():
            hidden = body(torch.tensor([text])).last_hidden_state[0]
        for key, vector in [("mean", hidden.mean(0)), ("cls", hidden[0]), ("last", hidden[-1])]:
            pooled[key].append([float(f"{x:.7g}") for x in vector])
    return pooled


def known(folder, config):
    """The folder, or one beside it with the settings under the names that transformers has for them."""
    if "n_embd" not in config:
        return folder
    settings = dict(
        hidden_size=config["n_embd"], num_attention_heads=config["n_head"], intermediate_size=config["n_inner"],
        num_hidden_layers=config["n_layer"], max_position_embeddings=config["n_positions"],
        layer_norm_eps=config["layer_norm_epsilon"], hidden_act="silu", type_vocab_size=config["type_vocab_size"],
        rope_parameters={"rope_type": "default", "rope_theta": config["rotary_emb_base"]}, vocab_size=config["vocab_size"],
        model_type=config["model_type"], architectures=config["architectures"], pad_token_id=config["pad_token_id"])
    other = Path(tempfile.mkdtemp())
    write(other / "config.json", settings)
    return other


def own_names(tensors):
    """Nomic's tensors under the names of its own code."""
    named = {}
    for key, tensor in tensors.items():
        for other, own in [("embeddings.LayerNorm", "emb_ln"), ("self_attn.o_proj", "attn.out_proj"), ("up_proj", "fc11"),
                           ("gate_proj", "fc12"), ("down_proj", "fc2"), ("post_attention_layernorm", "norm1"),
                           ("post_mlp_layernorm", "norm2")]:
            key = key.replace(other, own)
        named["encoder." + key if key.startswith("layers.") else key] = tensor
    for key in [key for key in named if "q_proj" in key]:
        parts = [named.pop(key.replace("q_proj", f"{n}_proj")) for n in "qkv"]
        named[key.replace("self_attn.q_proj", "attn.Wqkv")] = torch.cat(parts).contiguous()
    return named


def make(name, seed, made_by):
    covers, kind, settings, pooling, scaled, dtype = MODELS[name]
    folder = HERE / name
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    word_pieces = settings["model_type"] in ("bert", "nomic_bert")
    tokenizer = make_tokenizer(settings["model_type"])
    config = {"architectures": [kind], **settings, "vocab_size": tokenizer.get_vocab_size() + 3}
    positions = config.get("max_position_embeddings", 150) - config.get("pad_token_id") - 1
    write(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    if word_pieces:
        write(folder / "tokenizer_config.json", {
            "tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]",
            "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]", "model_max_length": positions + 1})
    else:
        write(folder / "tokenizer_config.json", {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
            "sep_token": "</s>", "cls_token": "<s>", "pad_token": "<pad>", "mask_token": "<mask>", "model_max_length": positions})
    sentence_files(folder, config.get("hidden_size", config.get("n_embd")), pooling, scaled)
    model = getattr(transformers, kind)(transformers.AutoConfig.from_pretrained(known(folder, config))).eval()
    draw(model, torch.Generator().manual_seed(seed))
    left_out = ("cls.predictions.decoder", "lm_head.decoder", "decoder.weight")
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in model.state_dict().items() if not key.startswith(left_out)}
    if "n_embd" in config:
        tensors = own_names(tensors)
    if kind in ("BertModel", "BertForMaskedLM"):
        tensors["bert.embeddings.position_ids" if kind == "BertForMaskedLM" else "embeddings.position_ids"] = torch.arange(
            config["max_position_embeddings"])[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # What was written is what is computed.
    again = getattr(transformers, kind)(model.config).double()
    again.load_state_dict({key: tensor.to(dtype).double() for key, tensor in model.state_dict().items()})
    model = again
    model.config._attn_implementation = "eager"
    texts = [text for text in REAL[:-1] if len(tokenizer.encode(text).ids) <= positions]
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
