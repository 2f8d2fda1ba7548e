"""Faults to be planted in exports: in which model, how each gets there, and what a check must say of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import exports
from exports import put, tensors

Spoil = Callable[[Path], Any]
LAYER = "model.layers.1."
SOURCES = {
    "qwen3": exports.speaking("qwen3"),
    "llama, yarn": exports.speaking("llama, yarn"),
    "mistral": exports.speaking("mistral", num_key_value_heads=6),  # so that q and k are alike in shape
    "square": exports.speaking("llama", num_key_value_heads=6),
    "qwen3_moe": exports.speaking("qwen3_moe"),
    "qwen2_moe": exports.speaking("qwen2_moe from an ungated shared expert"),
    "glm4_moe": exports.speaking("glm4_moe"),
}


class Planted(NamedTuple):
    """A fault: in which model, how it gets there, and what a check must say of it."""

    model: str
    spoil: Spoil
    said: str
    """A regular expression."""
    level: str = "tensors"


def swap(one: str, other: str) -> Spoil:
    def change(state: dict[str, Tensor]) -> None:
        state[one], state[other] = state[other], state[one]

    return tensors(change)


def swap_experts(state: dict[str, Tensor]) -> None:
    for kind in ("gate_proj", "up_proj", "down_proj"):
        one, other = (f"{LAYER}mlp.experts.{expert}.{kind}.weight" for expert in (1, 3))
        state[one], state[other] = state[other], state[one]


def zero_expert(state: dict[str, Tensor]) -> None:
    for kind in ("gate_proj", "up_proj", "down_proj"):
        state[f"{LAYER}mlp.experts.2.{kind}.weight"].zero_()


def made(name: str, change: Callable[[Tensor], Tensor]) -> Spoil:
    """Return what puts another tensor in the place of one."""

    def put_there(state: dict[str, Tensor]) -> None:
        state[name] = change(state[name])

    return tensors(put_there)


def flip(at: int) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1).view(torch.uint8)[at] ^= 1
        return tensor

    return change


def remove(name: str) -> Spoil:
    return tensors(lambda state: state.__delitem__(name))


def rename(name: str, other: str) -> Spoil:
    return tensors(lambda state: state.update({other: state.pop(name)}))


def scaling(key: str, value: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        for section in ("rope_parameters", "rope_scaling"):
            put("config.json", f"{section}.{key}", value)(folder)

    return spoil


def theta(folder: Path) -> None:
    put("config.json", "rope_theta", 1e4)(folder)
    put("config.json", "rope_parameters.rope_theta", 1e4)(folder)


def template(change: Callable[[str], str]) -> Spoil:
    """Return what changes the template, in both places it is written."""

    def spoil(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        text = change(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        put("tokenizer_config.json", "chat_template", text)(folder)

    return spoil


def other_words(folder: Path) -> None:
    """Exchange two tokens of the vocabulary."""
    with exports.edited(folder / "tokenizer.json") as content:
        vocabulary = content["model"]["vocab"]
        one, other = list(vocabulary)[300], list(vocabulary)[301]
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


Q, K = f"{LAYER}self_attn.q_proj.weight", f"{LAYER}self_attn.k_proj.weight"
OUT, NORM = f"{LAYER}self_attn.o_proj.weight", f"{LAYER}input_layernorm.weight"
GATE, UP, DOWN = (f"{LAYER}mlp.{kind}_proj.weight" for kind in ("gate", "up", "down"))
EMBED, BIAS = "model.embed_tokens.weight", f"{LAYER}mlp.gate.e_score_correction_bias"
SHARED = f"{LAYER}mlp.shared_expert"
CONFIG = "config.json"

PLANTED: dict[str, Planted] = {
    "two experts exchanged": Planted(
        "qwen3_moe", tensors(swap_experts), r"experts\.1\.down_proj\.weight: .* numbers"
    ),
    "an expert zeroed": Planted("qwen3_moe", tensors(zero_expert), r"experts\.2\.gate_proj\.weight: "),
    "a router's rows exchanged": Planted(
        "qwen3_moe", made(f"{LAYER}mlp.gate.weight", lambda w: w.flip(0)), r"layers\.1\.mlp\.gate\.weight: "
    ),
    "gate and up exchanged": Planted("qwen3", swap(GATE, UP), re.escape(GATE)),
    "an expert's gate and up exchanged": Planted(
        "qwen3_moe",
        swap(f"{LAYER}mlp.experts.0.gate_proj.weight", f"{LAYER}mlp.experts.0.up_proj.weight"),
        r"experts\.0\.up_proj\.weight: ",
    ),
    "a square matrix transposed": Planted("square", made(OUT, torch.t), re.escape(OUT)),
    "queries and keys exchanged": Planted("mistral", swap(Q, K), re.escape(K)),
    "a tensor missing": Planted("qwen3", remove(NORM), f"{re.escape(NORM)}: is missing"),
    "a tensor too many": Planted(
        "qwen3", tensors(lambda s: s.update(more=torch.zeros(2))), "more: belongs to no part"
    ),
    "a tensor under another name": Planted(
        "qwen3", rename(NORM, f"{LAYER}norm.weight"), r"layers\.1\.norm\.weight: belongs to no part"
    ),
    "a tensor in another shape": Planted(
        "qwen3", made(NORM, lambda w: w[:40]), rf"{re.escape(NORM)}: is \(40,\), the model's is \(48,\)"
    ),
    "one bit flipped": Planted(
        "qwen3", made(DOWN, flip(100)), rf"{re.escape(DOWN)}: 1 of 5,376 numbers .* at \[0, 50\]"
    ),
    "the sign of a zero": Planted(
        "qwen2_moe", made(f"{LAYER}self_attn.q_proj.bias", lambda b: -b), r"q_proj\.bias: .* numbers"
    ),
    "embeddings shifted by a row": Planted("qwen3", made(EMBED, lambda w: w.roll(1, 0)), re.escape(EMBED)),
    "a norm scaled": Planted("qwen3", made(NORM, lambda w: w * 1.01), re.escape(NORM)),
    "NaN in a weight": Planted("qwen3", made(NORM, lambda w: w * float("nan")), re.escape(NORM)),
    "two layers exchanged": Planted(
        "qwen3", swap(DOWN, DOWN.replace(".1.", ".2.")), re.escape(DOWN.replace(".1.", ".2."))
    ),
    "the shared expert's gate not zero": Planted(
        "qwen2_moe", made(f"{SHARED}_gate.weight", lambda w: w + 1), r"shared_expert_gate\.weight: "
    ),
    "the shared expert not doubled": Planted(
        "qwen2_moe", made(f"{SHARED}.down_proj.weight", lambda w: w / 2), r"shared_expert\.down_proj\.weight"
    ),
    "the bias on choices zeroed": Planted("glm4_moe", made(BIAS, torch.zeros_like), re.escape(BIAS)),
    "the bias on choices rounded": Planted(
        "glm4_moe", made(BIAS, lambda b: b.bfloat16().float()), re.escape(BIAS)
    ),
    "a head that is not the embedding": Planted(
        "qwen3", tensors(lambda s: s.update({"lm_head.weight": s[EMBED] + 1})), r"lm_head\.weight: "
    ),
    "theta, wherever it is written": Planted("qwen3", theta, "config.json: rope_theta: "),
    "theta, for transformers 5 only": Planted(
        "qwen3", put(CONFIG, "rope_parameters.rope_theta", 1e4), "config.json: rope_.*theta: "
    ),
    "theta, for transformers 4 only": Planted(
        "qwen3", put(CONFIG, "rope_theta", 1e4), "config.json: rope_theta: "
    ),
    "how far positions are stretched": Planted(
        "llama, yarn", scaling("factor", 8.0), r"config.json: rope_scaling\.factor: "
    ),
    "the same, for transformers 5 only": Planted(
        "llama, yarn", put(CONFIG, "rope_parameters.factor", 8.0), r"config.json: rope_\w+\.factor: "
    ),
    "the same, for transformers 4 only": Planted(
        "llama, yarn", put(CONFIG, "rope_scaling.factor", 8.0), r"config.json: rope_scaling\.factor: "
    ),
    "beta of yarn, for transformers 5 only": Planted(
        "llama, yarn", put(CONFIG, "rope_parameters.beta_fast", 8.0), r"config.json: rope_\w+\.beta_fast: "
    ),
    "how positions are stretched": Planted(
        "llama, yarn", scaling("rope_type", "linear"), r"config.json: rope_scaling\.rope_type: "
    ),
    "what norms add": Planted("qwen3", put(CONFIG, "rms_norm_eps", 1e-5), "config.json: (rms_)?norm_eps: "),
    "tied or not": Planted("qwen3", put(CONFIG, "tie_word_embeddings", False), "config.json: tie_word_embed"),
    "the width of heads": Planted("qwen3", put(CONFIG, "head_dim", 8), "config.json: head_dim: "),
    "how many heads": Planted(
        "qwen3", put(CONFIG, "num_attention_heads", 12), "config.json: num_attention_heads: "
    ),
    "the activation": Planted("qwen3", put(CONFIG, "hidden_act", "gelu"), "config.json: (hidden_act|activ)"),
    "whether shares add up to one": Planted(
        "qwen3_moe", put(CONFIG, "norm_topk_prob", False), r"config.json: (moe\.)?norm_topk_prob: "
    ),
    "how many experts a token": Planted(
        "qwen3_moe", put(CONFIG, "num_experts_per_tok", 3), r"config.json: (moe\.)?num_experts_per_tok: "
    ),
    "two numbers of experts": Planted(
        "qwen3_moe", put(CONFIG, "num_local_experts", 4), "config.json: num_(local_)?experts: "
    ),
    "which layers have experts": Planted("qwen3_moe", put(CONFIG, "mlp_only_layers", [0]), "config.json: m"),
    "how wide windows are": Planted("mistral", put(CONFIG, "sliding_window", 11), "config.json: sliding_w"),
    "whether there are windows": Planted("mistral", put(CONFIG, "sliding_window", None), "config.json: slid"),
    "how much experts count": Planted(
        "glm4_moe", put(CONFIG, "routed_scaling_factor", 1.0), "config.json: (moe.)?routed_scaling_factor: "
    ),
    "how much of a head rotates": Planted(
        "glm4_moe", put(CONFIG, "partial_rotary_factor", 1.0), "config.json: partial_rotary_factor: "
    ),
    "how long a text may be": Planted(
        "qwen3", put(CONFIG, "max_position_embeddings", 1024), "config.json: max_position_embeddings: "
    ),
    "a sibling's name": Planted("qwen3", put(CONFIG, "model_type", "qwen2"), "config.json: model_type: "),
    "another sibling's name": Planted(
        "square", put(CONFIG, "model_type", "qwen2"), "config.json: model_type: "
    ),
    "a windowed sibling's name": Planted(
        "square", put(CONFIG, "model_type", "mistral"), "config.json: (model_type|architectures): "
    ),
    "an unknown name": Planted("qwen3", put(CONFIG, "model_type", "qwen33"), "config.json: model_type: "),
    "a class that does not fit": Planted(
        "qwen3", put(CONFIG, "architectures", ["Qwen2ForCausalLM"]), "config.json: architectures: "
    ),
    "code of its own": Planted(
        "qwen3", put(CONFIG, "auto_map", {"AutoModelForCausalLM": "x.Y"}), "config.json: auto_map"
    ),
    "quantised, it says": Planted(
        "qwen3",
        put(CONFIG, "quantization_config", {"quant_method": "fp8"}),
        "config.json: quantization_config",
    ),
    "number format, both keys": Planted(
        "qwen3",
        lambda f: (put(CONFIG, "dtype", "float16")(f), put(CONFIG, "torch_dtype", "float16")(f)),
        "config.json: dtype: ",
    ),
    "number format, one key": Planted(
        "qwen3", put(CONFIG, "torch_dtype", "float16"), "config.json: (torch_)?dtype: "
    ),
    "config.json's end token": Planted(
        "qwen3", put(CONFIG, "eos_token_id", 5), r"config.json: eos_token_id: ", "logits"
    ),
    "the end token": Planted(
        "qwen3", put("generation_config.json", "eos_token_id", 5), "generation_config.json: eos", "logits"
    ),
    "one letter of the template": Planted(
        "qwen3",
        template(lambda text: text.replace("assistant", "assistent", 1)),
        "chat_template.jinja: line [0-9]+: ",
        "logits",
    ),
    "one space at the template's end": Planted(
        "qwen3", template(lambda text: text + " "), "chat_template.jinja: ", "logits"
    ),
    "two templates": Planted(
        "qwen3",
        put("tokenizer_config.json", "chat_template", "{{ messages[0].content }}"),
        "tokenizer_config.json: chat_template: ",
        "logits",
    ),
    "another vocabulary": Planted("qwen3", other_words, "tokenizer.json: ", "logits"),
    "no vocabulary": Planted("qwen3", lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json", "logits"),
    "another token that ends a text": Planted(
        "qwen3", put("tokenizer_config.json", "eos_token", "<|im_start|>"), "tokenizer.*json: ", "logits"
    ),
    "another token that begins a text": Planted(
        "qwen3", put("tokenizer_config.json", "bos_token", "<|im_end|>"), "tokenizer.*json: ", "logits"
    ),
    "a file of weights cut short": Planted(
        "qwen3",
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors: ",
    ),
    "a file of weights missing": Planted(
        "qwen3", lambda f: (f / "model.safetensors").unlink(), "safetensors"
    ),
    "a second file of weights": Planted(
        "qwen3",
        lambda f: shutil.copy(f / "model.safetensors", f / "model-00001-of-00001.safetensors"),
        "model-00001-of-00001.safetensors: ",
    ),
}

ONLY_OURS: dict[str, Planted] = {
    "the tool parser": Planted("qwen3", put("serve.json", "tool_parser", "mistral"), "serve.json: tool_pars"),
    "the served length": Planted("qwen3", put("serve.json", "max_model_len", 9), "serve.json: max_model_len"),
    "no serve.json": Planted("qwen3", lambda f: (f / "serve.json").unlink(), "serve.json"),
    "our own section": Planted("qwen3", put(CONFIG, "danlu.norm_eps", 1e-5), "config.json: danlu.norm_eps: "),
    "one tensor's number format": Planted(
        "qwen3", made(NORM, torch.Tensor.float), rf"{re.escape(NORM)}: is torch\.float32, torch\.bfloat16 was"
    ),
    "the bias on choices in another format": Planted(
        "glm4_moe", made(BIAS, torch.Tensor.bfloat16), rf"{re.escape(BIAS)}: is torch\.bfloat16"
    ),
    "a key nobody knows": Planted("qwen3", put(CONFIG, "embedding_scale", 3.0), "config.json: embedding_sc"),
}
