#!/usr/bin/env python3
"""Makes the tests/goldens/tiny-* of model families beside Llama: small random models and what transformers computes for them.

    $(tests/peers/setup --goldens) tests/goldens/make_families.py [NAME...]

Each folder is a Hugging Face model folder as make_tiny.py describes it, without a GGUF file: the tests convert it with Tern
itself, and tests/interop/run passes the result to llama.cpp. Settings are written as published models have them. Sizes are odd
and every feature of a family is on; heads, windows and scales differ from what defaults would give.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import torch
import transformers
from make_tiny import PROMPT, SAMPLES, make_tokenizer, write
from safetensors.torch import load_file, save_file
from texts import TEXTS

# What a model has unless it says otherwise.
COMMON = dict(
    hidden_size=48,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=40,
    num_hidden_layers=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-6,
    rope_theta=10000.0,
    hidden_act="silu",
    tie_word_embeddings=False,
)
LONG = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.6, 1.9, 2.5],
    "long_factor": [1.0, 1.5, 2.5, 4.0, 6.0, 9.0],
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

BITNET = dict(model_type="bitnet", hidden_act="relu2", rope_theta=500000.0, rms_norm_eps=1e-5, tie_word_embeddings=True)

QWEN35 = dict(attention_bias=False, attn_output_gate=True, mtp_num_hidden_layers=1, rope_theta=1000000.0)
# The part of Qwen 3.5 that sees, which is not run.
SEES = dict(
    image_token_id=250, video_token_id=251, vision_start_token_id=252, vision_end_token_id=253,
    vision_config=dict(depth=1, hidden_size=16, num_heads=2, intermediate_size=12, in_channels=3, patch_size=2,
                       spatial_merge_size=2, temporal_patch_size=2, out_hidden_size=48, num_position_embeddings=16,
                       hidden_act="gelu_pytorch_tanh"),
)

# name: (what it covers, class, configuration; "nested": what is around it in config.json)
MODELS = {
    "tiny-qwen2": (
        "Qwen 2: biases on query, key and value, halves rotated in GGUF too, tied embeddings",
        "Qwen2ForCausalLM",
        dict(model_type="qwen2", use_sliding_window=False, sliding_window=64, max_window_layers=1, rope_theta=1000000.0,
             tie_word_embeddings=True),
    ),
    "tiny-qwen2-yarn": (
        "Qwen 2.5 with YaRN, an output head of its own",
        "Qwen2ForCausalLM",
        dict(model_type="qwen2", use_sliding_window=False, rope_theta=1000.0, rope_scaling=YARN),
    ),
    "tiny-qwen3": (
        "Qwen 3: a norm on every query and key head, heads wider than hidden / heads",
        "Qwen3ForCausalLM",
        dict(model_type="qwen3", head_dim=20, attention_bias=False, use_sliding_window=False, rope_theta=1000000.0),
    ),
    "tiny-smollm3": (
        "SmolLM 3: every fourth layer without rotation, pairs side by side in GGUF",
        "SmolLM3ForCausalLM",
        dict(model_type="smollm3", num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0], no_rope_layer_interval=4,
             use_sliding_window=False, attention_bias=False, rope_theta=5000000.0, intermediate_size=28,
             tie_word_embeddings=True),
    ),
    "tiny-granite": (
        "Granite: factors on embedding, residual, scores and logits",
        "GraniteForCausalLM",
        dict(model_type="granite", embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.35,
             logits_scaling=0.3, attention_bias=False, mlp_bias=False, rms_norm_eps=0.01, tie_word_embeddings=True),
    ),
    "tiny-olmo2": (
        "OLMo 2: norms after the blocks, norms over whole queries and keys",
        "Olmo2ForCausalLM",
        dict(model_type="olmo2", attention_bias=False, num_hidden_layers=3, rope_theta=500000.0),
    ),
    # llama.cpp expects certain tokens of a model with "phi3" in its name.
    "tiny-phi": (
        "Phi 3: fused matrices, a window of 20, all of a head rotated",
        "Phi3ForCausalLM",
        dict(model_type="phi3", sliding_window=20, original_max_position_embeddings=256, rope_scaling=None),
    ),
    "tiny-phi4": (
        "Phi 4 mini: three quarters of a head rotated, LongRoPE beyond its original length, tied embeddings",
        "Phi3ForCausalLM",
        dict(model_type="phi3", sliding_window=None, partial_rotary_factor=0.75, original_max_position_embeddings=32,
             rope_scaling=LONG, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True),
    ),
    "tiny-phi4-short": (
        "Phi 4 mini within its original length",
        "Phi3ForCausalLM",
        dict(model_type="phi3", sliding_window=None, partial_rotary_factor=0.75, max_position_embeddings=512,
             original_max_position_embeddings=256,
             rope_scaling=LONG, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True),
    ),
    "tiny-dynamic": (
        "dynamic NTK scaling at the length of the prompt",
        "LlamaForCausalLM",
        dict(model_type="llama", max_position_embeddings=24, tie_word_embeddings=True,
             rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
    ),
    "tiny-gemma2": (
        "Gemma 2: norms before and after the blocks, soft caps on scores and logits, every other layer with a window of 8",
        "Gemma2ForCausalLM",
        dict(model_type="gemma2", head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=3.0,
             final_logit_softcapping=9.0, sliding_window=8, num_hidden_layers=3, hidden_act="gelu_pytorch_tanh",
             hidden_activation="gelu_pytorch_tanh", attention_bias=False, tie_word_embeddings=True),
    ),
    "tiny-gemma2-scale": (
        "Gemma 2 whose scores are not divided by the root of the head's width",
        "Gemma2ForCausalLM",
        dict(model_type="gemma2", head_dim=16, query_pre_attn_scalar=40, attn_logit_softcapping=None,
             final_logit_softcapping=None, sliding_window=8, hidden_act="gelu_pytorch_tanh",
             hidden_activation="gelu_pytorch_tanh", attention_bias=False, tie_word_embeddings=True),
    ),
    "tiny-gemma3": (
        "Gemma 3: norms on query and key heads, every sixth layer without a window and with a rotation of its own",
        "Gemma3ForCausalLM",
        dict(model_type="gemma3_text", head_dim=12, hidden_size=32, intermediate_size=28, query_pre_attn_scalar=12,
             attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window=8, sliding_window_pattern=6,
             num_hidden_layers=7, hidden_act=..., hidden_activation="gelu_pytorch_tanh", attention_bias=False,
             rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0},
             tie_word_embeddings=True),
    ),
    "tiny-gpt2": (
        "GPT-2: layer norms, learned positions, transposed matrices, an MLP without a gate",
        "GPT2LMHeadModel",
        dict.fromkeys(COMMON, ...)
        | dict(model_type="gpt2", n_embd=48, n_head=3, n_layer=2, n_positions=128, n_ctx=128, n_inner=100,
               activation_function="gelu_new", layer_norm_epsilon=1e-5),
    ),
    "tiny-mixtral": (
        "Mixtral: two of five experts, their weights divided by their sum, pairs side by side in GGUF",
        "MixtralForCausalLM",
        dict(model_type="mixtral", num_local_experts=5, num_experts_per_tok=2, sliding_window=None, intermediate_size=28),
    ),
    "tiny-qwen2-moe": (
        "Qwen 2 MoE: three of seven experts, weights as they are, and one with a gate that all tokens take",
        "Qwen2MoeForCausalLM",
        dict(model_type="qwen2_moe", num_experts=7, num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=False,
             shared_expert_intermediate_size=36, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False),
    ),
    "tiny-qwen3-moe": (
        "Qwen 3 MoE: norms of heads, four of nine experts, weights divided by their sum",
        "Qwen3MoeForCausalLM",
        dict(model_type="qwen3_moe", head_dim=20, num_experts=9, num_experts_per_tok=4, moe_intermediate_size=12,
             norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False),
    ),
    "tiny-qwen3-moe-layers": (
        "Qwen 3 MoE with plain layers between mixtures, weights as they are",
        "Qwen3MoeForCausalLM",
        dict(model_type="qwen3_moe", head_dim=12, num_experts=5, num_experts_per_tok=1, moe_intermediate_size=20,
             norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[3], use_sliding_window=False,
             num_hidden_layers=4, intermediate_size=28, tie_word_embeddings=True),
    ),
    "tiny-olmoe": (
        "OLMoE: norms over whole queries and keys, three of six experts, weights as they are",
        "OlmoeForCausalLM",
        # As many key heads as query heads, since llama.cpp knows no others here.
        dict(model_type="olmoe", num_key_value_heads=4, num_experts=6, num_experts_per_tok=3, norm_topk_prob=False,
             clip_qkv=None, intermediate_size=20),
    ),
    "tiny-gpt-oss": (
        "gpt-oss: sinks, every other layer with a window, biases, YaRN without rounding, three of five experts, another bound",
        "GptOssForCausalLM",
        dict(model_type="gpt_oss", head_dim=20, num_local_experts=5, num_experts_per_tok=3, sliding_window=8,
             num_hidden_layers=3, attention_bias=True, rope_theta=1000.0, swiglu_limit=1.5, intermediate_size=28,
             rope_scaling=YARN | {"beta_fast": 2.0, "beta_slow": 0.3, "truncate": False}),
    ),
    "tiny-gpt-oss-mxfp4": (
        "gpt-oss with experts in MXFP4, and a rotation that rounding does not change",
        "GptOssForCausalLM",
        dict(model_type="gpt_oss", hidden_size=64, head_dim=16, num_local_experts=4, num_experts_per_tok=2, sliding_window=8,
             num_hidden_layers=2, attention_bias=True, swiglu_limit=7.0, intermediate_size=96,
             # The ramp of 16 dimensions is from 1.001 to 3.999; llama.cpp has no other frequencies for its ends.
             rope_theta=10389.0, max_position_embeddings=2560,
             rope_scaling=YARN | {"original_max_position_embeddings": 640, "beta_fast": 32.0, "beta_slow": 1.0,
                                  "truncate": False},
             quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}),
    ),
    "tiny-bitnet": (
        "BitNet b1.58 with packed weights whose scales divide, rows that are whole ternary blocks",
        "BitNetForCausalLM",
        BITNET | dict(hidden_size=256, intermediate_size=256, num_attention_heads=4,
                      quantization_config=dict(quant_method="bitnet", linear_class="bitlinear", quantization_mode="offline",
                                               modules_to_not_convert=["lm_head"])),
    ),
    "tiny-bitnet-auto": (
        "BitNet b1.58 with packed weights whose scales multiply, odd sizes, an ordinary matrix among them",
        "BitNetForCausalLM",
        BITNET | dict(hidden_size=48, intermediate_size=100, hidden_act="silu",
                      quantization_config=dict(quant_method="bitnet", linear_class="autobitlinear",
                                               quantization_mode="offline",
                                               modules_to_not_convert=["lm_head", "model.layers.1.self_attn.k_proj"])),
    ),
    "tiny-bitnet-online": (
        "BitNet b1.58 with the weights that training adjusts, rounded when opened, and a layer of ordinary matrices",
        "BitNetForCausalLM",
        BITNET | dict(hidden_size=128, intermediate_size=256, num_hidden_layers=3,
                      quantization_config=dict(quant_method="bitnet", linear_class="autobitlinear",
                                               quantization_mode="online",
                                               modules_to_not_convert=["lm_head", "model.layers.2"])),
    ),
    "tiny-llama-bitnet": (
        "Llama with packed matrices, which GGUF has with rotated pairs side by side",
        "LlamaForCausalLM",
        dict(model_type="llama", hidden_size=256, intermediate_size=256, num_attention_heads=4,
             quantization_config=dict(quant_method="bitnet", linear_class="bitlinear", quantization_mode="offline",
                                      modules_to_not_convert=["lm_head"])),
    ),
    "tiny-qwen3-next": (
        "Qwen 3 Next: gated delta rule with convolutions, fewer heads of keys than of values and other sizes, every third layer a gated"
        " attention of partial rotation, three of seven experts and one that all tokens take",
        "Qwen3NextForCausalLM",
        dict(model_type="qwen3_next", num_hidden_layers=3, head_dim=20, partial_rotary_factor=0.4, attention_bias=False,
             full_attention_interval=3, linear_conv_kernel_dim=4, linear_key_head_dim=12, linear_value_head_dim=12,
             linear_num_key_heads=2, linear_num_value_heads=6, num_experts=7, num_experts_per_tok=3, moe_intermediate_size=20,
             shared_expert_intermediate_size=28, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]),
    ),
    "tiny-qwen3-next-wide": (
        "Qwen 3 Next: values wider than keys, a convolution over three rows, plain layers between mixtures, weights as they are",
        "Qwen3NextForCausalLM",
        dict(model_type="qwen3_next", num_hidden_layers=4, head_dim=12, partial_rotary_factor=0.5, attention_bias=False,
             full_attention_interval=2, linear_conv_kernel_dim=3, linear_key_head_dim=10, linear_value_head_dim=18,
             linear_num_key_heads=3, linear_num_value_heads=3, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=12,
             shared_expert_intermediate_size=20, norm_topk_prob=False, decoder_sparse_step=2, mlp_only_layers=[],
             tie_word_embeddings=True),
    ),
    "tiny-qwen35": (
        "Qwen 3.5 as published, with what sees and what guesses in the file: gated delta rule, three heads of values for one of keys,"
        " every third layer a gated attention of partial rotation, pairs of it in turns",
        "Qwen3_5ForConditionalGeneration",
        QWEN35 | dict(nested=SEES | dict(model_type="qwen3_5"), num_hidden_layers=3, head_dim=20, full_attention_interval=3,
                      layer_types=["linear_attention", "linear_attention", "full_attention"],
                      linear_conv_kernel_dim=4, linear_key_head_dim=12, linear_value_head_dim=12, linear_num_key_heads=2,
                      linear_num_value_heads=6, rope_theta=...,
                      rope_parameters={"rope_type": "default", "rope_theta": 1000000.0, "partial_rotary_factor": 0.4,
                                       "mrope_interleaved": True, "mrope_section": [2, 1, 1]}),
    ),
    "tiny-qwen35-text": (
        "Qwen 3.5 by itself: a convolution over three rows, two heads of values for one of keys, a quarter of each head rotated"
        " without being told to, tied embeddings",
        "Qwen3_5ForCausalLM",
        QWEN35 | dict(model_type="qwen3_5_text", num_hidden_layers=4, head_dim=24, full_attention_interval=2,
                      linear_conv_kernel_dim=3, linear_key_head_dim=10, linear_value_head_dim=10, linear_num_key_heads=3,
                      linear_num_value_heads=6, tie_word_embeddings=True),
    ),
    "tiny-qwen35-moe": (
        "Qwen 3.5 MoE as published, with what sees: experts together, four of nine, and one that all tokens take",
        "Qwen3_5MoeForConditionalGeneration",
        QWEN35 | dict(nested=SEES | dict(model_type="qwen3_5_moe"), num_hidden_layers=2, head_dim=12, full_attention_interval=2,
                      partial_rotary_factor=0.5, linear_conv_kernel_dim=4, linear_key_head_dim=8, linear_value_head_dim=8,
                      linear_num_key_heads=2, linear_num_value_heads=4, num_experts=9, num_experts_per_tok=4,
                      moe_intermediate_size=12, shared_expert_intermediate_size=20, intermediate_size=...),
    ),
    "tiny-qwen35-moe-text": (
        "Qwen 3.5 MoE by itself: experts apart, two of five, values wider than keys",
        "Qwen3_5MoeForCausalLM",
        QWEN35 | dict(model_type="qwen3_5_moe_text", num_hidden_layers=3, head_dim=12, full_attention_interval=3,
                      partial_rotary_factor=0.5, linear_conv_kernel_dim=2, linear_key_head_dim=10, linear_value_head_dim=14,
                      linear_num_key_heads=2, linear_num_value_heads=4, num_experts=5, num_experts_per_tok=2,
                      moe_intermediate_size=20, shared_expert_intermediate_size=12, intermediate_size=...,
                      tie_word_embeddings=True),
    ),
}
# Settings that transformers makes by itself as texts grow: the tests open the model for texts of this length.
LENGTHS = {"tiny-dynamic": None}  # None: that of the prompt, and nothing is generated
# What GGUF or llama.cpp has no key for, and the window of Phi 3, which llama.cpp reads and leaves out.
ALONE = {"tiny-dynamic", "tiny-gemma2-scale", "tiny-phi", "tiny-qwen3-moe-layers", "tiny-gpt-oss"}
# llama.cpp has values as wide as keys.
ALONE |= {"tiny-qwen3-next-wide", "tiny-qwen35-moe-text"}
ALONE |= {name for name in MODELS if "bitnet" in name}
# Families that take the embedding as it is.
PLAIN = {"llama", "qwen2", "qwen3", "smollm3", "olmo2", "phi3", "gpt2", "bitnet", "mixtral", "qwen2_moe",
         "qwen3_moe", "olmoe", "gpt_oss", "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"}
SEEDS = {}
# Steps that activations which the model itself rounds keep away from ties.
MARGIN = 5e-5
# Logits that experts which are chosen keep away from those of others, where half-precision keys and values would move a tie: they
# change logits by some thousandths. (The first draw of this model had a gap of 0.00003 in one row, and transformers with rounded keys and
# values was 0.113 off there, as we were.)
CLEAR = {"tiny-qwen3-next-wide": 0.02, "tiny-qwen35-moe": 0.02, "tiny-qwen35-moe-text": 0.02}


def draw(model, generator):
    """Larger than a fresh model's, as in make_tiny.py."""
    # Norms of some have what is added to 1.
    around_one = any(part in model.config.model_type for part in ("gemma", "qwen3_next", "qwen3_5"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or ".ln_" in name and name.endswith("weight"):
                value = (0 if around_one and "linear_attn" not in name else 1) + 0.2 * noise
            elif name.endswith("bias") or "sinks" in name:
                value = 0.3 * noise
            elif any(part in name for part in ("embed", "wte", "wpe")):
                # A quarter where the model itself makes them larger.
                value = (0.4 if model.config.model_type in PLAIN else 0.1) * noise
            else:
                # Conv1D is transposed, gpt-oss's experts are.
                transposed = "c_" in name or parameter.dim() == 3 and model.config.model_type == "gpt_oss"
                inputs = parameter.shape[-2 if transposed else -1]
                value = 1.5 * noise / math.sqrt(inputs)
            parameter.copy_(value.to(torch.bfloat16).to(torch.float16).float())


def draw_mxfp4(model, generator):
    """Experts' matrices of random codes and exponents, in the model and as the checkpoint has them."""
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    levels, packed = torch.cat([levels, -levels]), {}
    for name, parameter in model.named_parameters():
        if "experts" in name and not name.endswith("bias"):
            experts, inner, rows = parameter.shape
            codes = torch.randint(0, 16, (experts, rows, inner // 32, 32), generator=generator)
            exponents = torch.randint(122, 126, (experts, rows, inner // 32), generator=generator)
            values = levels[codes] * torch.exp2(exponents[..., None].float() - 127)
            with torch.no_grad():
                parameter.copy_(values.reshape(experts, rows, inner).transpose(1, 2))
            packed[f"{name}_blocks"] = (codes[..., ::2] + codes[..., 1::2] * 16).to(torch.uint8).contiguous()
            packed[f"{name}_scales"] = exponents.to(torch.uint8).contiguous()
    return packed


def published(model):
    """Tensors under the names of published checkpoints: experts apart, where transformers holds them together."""
    if not any(f".experts.{part}" in name for name in model.state_dict() for part in ("gate_up_proj",)):
        return model.state_dict()
    if "ForConditionalGeneration" in type(model).__name__:
        # These are published as they are held.
        return model.state_dict()
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        return load_file(Path(temporary, "model.safetensors"))


def packed_codes(model, settings):
    """A model's matrices as an offline checkpoint has them: codes, four to a byte, and a scale."""
    linears = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    kept = settings["modules_to_not_convert"]
    tensors = {}
    for name, tensor in model.state_dict().items():
        module = name.removesuffix(".weight")
        if module not in linears or any(module.endswith(entry) for entry in kept):
            tensors[name] = tensor
            continue
        mean = tensor.abs().mean()
        codes = (tensor / mean).round().clamp(-1, 1)
        tensors[name] = transformers.integrations.bitnet.pack_weights(codes)
        # The one is divided by, the other is a factor; both are stored with the rest of the numbers.
        scale = 1 / mean if settings["linear_class"] == "bitlinear" else mean
        tensors[name + "_scale"] = scale.reshape(1)
    return tensors


def guessing(width, generator):
    """Some of the tensors of layers that guess a token more, which no program here runs."""
    shapes = {"fc.weight": (width, 2 * width), "norm.weight": (width,), "layers.0.input_layernorm.weight": (width,)}
    return {f"mtp.{name}": torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}


def farthest(model, tokens):
    """How far the rounded activation that is nearest to a tie is from it, in steps: where the last bits of a sum decide, no two
    programs agree."""
    least = []

    def look(_module, inputs):
        codes = inputs[0] * 127 / inputs[0].abs().amax(-1, keepdim=True)
        least.append(float(((codes - codes.floor()) - 0.5).abs().min()))

    for module in model.modules():
        if "BitLinear" in type(module).__name__:
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        model(torch.tensor([tokens]), use_cache=False)
    return min(least)


def narrowest(model, tokens):
    """How near the choice of experts is to another one."""
    least = []

    def look(module, inputs):
        logits = inputs[0].reshape(-1, inputs[0].shape[-1]) @ module.weight.T
        best = logits.sort(-1, descending=True).values
        count = model.config.num_experts_per_tok
        least.append(float((best[:, count - 1] - best[:, count]).min()))

    for name, module in model.named_modules():
        if name.endswith("mlp.gate"):
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        model(torch.tensor([tokens]), use_cache=False)
    return min(least)


def save(folder, model, packed):
    settings = getattr(model.config, "quantization_config", None)
    if settings and settings.get("quantization_mode") == "offline":
        tied = model.config.tie_word_embeddings
        tensors = {
            name: (tensor if tensor.dtype == torch.uint8 else tensor.to(torch.bfloat16)).contiguous()
            for name, tensor in packed_codes(model, settings).items()
            if not (name == "lm_head.weight" and tied)
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    tied = getattr(model.config, "tie_word_embeddings", True)
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in published(model).items()
        if not (name == "lm_head.weight" and tied) and f"{name}_blocks" not in packed
    } | packed
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make(name, seed, made_by):
    covers, kind, settings = MODELS[name]
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    tokenizer, specials = make_tokenizer("gpt-2")
    ids = [tokenizer.token_to_id(token) for token in specials]
    settings, nested = dict(settings), settings.get("nested")
    settings.pop("nested", None)
    config = {"architectures": [kind], **COMMON, **settings, "vocab_size": tokenizer.get_vocab_size(),
              "bos_token_id": ids[0], "eos_token_id": ids[-1], "pad_token_id": None, "torch_dtype": "bfloat16"}
    config = {key: value for key, value in config.items() if value is not ...}
    if nested:
        outer = {key: config.pop(key) for key in ("architectures", "torch_dtype")}
        config["model_type"] = nested["model_type"] + "_text"
        # Published ones say it in both places.
        outer["tie_word_embeddings"] = config["tie_word_embeddings"]
        config = {**outer, **nested, "text_config": config}
    write(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": specials[0],
                                             "eos_token": specials[-1], "model_max_length": 256})
    loaded = transformers.AutoConfig.from_pretrained(folder)
    loaded._attn_implementation = "eager"
    fast = transformers.AutoTokenizer.from_pretrained(folder)
    encode = lambda text: fast(text)["input_ids"]  # noqa: E731
    method = config.get("quantization_config", {}).get("quant_method")
    rounds, mxfp4 = method == "bitnet", method == "mxfp4"
    prompt = PROMPT[: len(PROMPT) // 2] if rounds else PROMPT
    tokens = encode(prompt)
    for attempt in range(2000):
        model = getattr(transformers, kind)(loaded).eval()
        generator = torch.Generator().manual_seed(SEEDS.get(name, seed) + 1000 * attempt)
        draw(model, generator)
        beside = draw_mxfp4(model, generator) if mxfp4 else {}
        save(folder, model, beside | (guessing(COMMON["hidden_size"], generator) if nested else {}))
        # What was written is what is computed.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager",
            **({"quantization_config": transformers.Mxfp4Config(dequantize=True)} if mxfp4 else {}),
        ).eval()
        # Packed matrices come in the type of the configuration.
        torch.nn.Module.float(model)
        if name in CLEAR and narrowest(model, tokens) <= CLEAR[name]:
            continue
        if not rounds or farthest(model, tokens) > MARGIN:
            break
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0].numpy()
        greedy, gaps = list(tokens), []
        for _ in range(16 if LENGTHS.get(name, 1) and not rounds else 0):
            best = torch.topk(model(torch.tensor([greedy]), use_cache=False).logits[0, -1], 2)
            greedy.append(int(best.indices[0]))
            gaps.append(round(float(best.values[0] - best.values[1]), 5))
    (folder / "logits.bin").write_bytes(logits.astype("<f4").tobytes())
    golden = {
        "made_by": made_by,
        "covers": covers,
        "prompt": prompt,
        "tokens": tokens,
        "greedy": greedy[len(tokens) :] or None,
        "gaps": gaps,
        "length": LENGTHS.get(name, 128) or len(tokens),
        "rounds": rounds,
        "llama_cpp": name not in ALONE,
        "texts": [{"text": TEXTS[sample], "tokens": encode(TEXTS[sample])} for sample in SAMPLES[:2]],
    }
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in golden.items())
    (folder / "golden.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {len(tokens)} tokens, smallest gap {min(gaps, default=0):.3f}, logits {logits.min():.2f} to {logits.max():.2f},"
          f" {size / 1000:.0f} kB")


def main():
    torch.set_num_threads(1)
    versions = {"transformers": transformers, "torch": torch}
    made_by = "tests/goldens/make_families.py; " + ", ".join(f"{name} {it.__version__}" for name, it in versions.items())
    for seed, name in enumerate(MODELS, start=100):
        if not sys.argv[1:] or name in sys.argv[1:]:
            make(name, seed, made_by)


if __name__ == "__main__":
    main()
