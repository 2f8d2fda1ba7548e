"""Who loads what our models leave as: transformers, vLLM and vLLM-Ascend, as pinned in configs/matrix.yaml.

A row is about the architecture itself, whoever trained it. transformers has a class for it or has none. vLLM
serves it by code of its own ("native"), through transformers' ("transformers"), or not at all ("no").
vLLM-Ascend tells of its release what its pull requests and nightly tests run, and which models its list calls
supported or experimental. What is not listed may work there, for it takes vLLM's models as they are: try it
on a card before relying on it.

`docs/models.md` shows this table; tests hold its cells against the installed libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from danlu.model.shape import ModelConfig


class Served(NamedTuple):
    """One family's row."""

    leaves_as: str
    """The model_type of its exports."""
    transformers4: bool
    transformers5: bool
    vllm: str
    ascend: str
    remark: str = ""


TESTED, NIGHTLY = "pull requests", "nightly"
SUPPORTED, EXPERIMENTAL, UNLISTED = "supported", "experimental", "not listed"

AS_LLAMA = "without windows it leaves as llama"
SERVED: dict[str, Served] = {
    "qwen3": Served("qwen3", True, True, "native", TESTED),
    "llama": Served("llama", True, True, "native", TESTED),
    "qwen2": Served("qwen2", True, True, "native", SUPPORTED),
    "internlm": Served("llama", False, False, "no", EXPERIMENTAL, "vLLM dropped it after 0.23"),
    "internlm2": Served("llama", False, False, "native", UNLISTED, "transformers wants its remote code"),
    "baichuan": Served(
        "llama", False, False, "no", EXPERIMENTAL, "7B; 13B is read and trained, and cannot leave"
    ),
    "glm": Served("glm", True, True, "transformers", UNLISTED),
    "glm4": Served("glm4", True, True, "native", UNLISTED),
    "olmoe": Served("olmoe", True, True, "native", TESTED),
    "mistral": Served("mistral", True, True, "native", EXPERIMENTAL, AS_LLAMA),
    "phi3": Served("phi3", True, True, "native", EXPERIMENTAL, AS_LLAMA),
    "phi": Served("phi", True, True, "transformers", UNLISTED),
    "gpt2": Served("gpt2", True, True, "native", UNLISTED),
    "gpt_neo": Served("gpt_neo", True, True, "no", UNLISTED),
    "gpt_neox": Served("gpt_neox", True, True, "transformers", UNLISTED),
    "falcon": Served("falcon", True, True, "native", UNLISTED),
    "bloom": Served("bloom", True, True, "native", UNLISTED),
    "gemma": Served("gemma", True, True, "native", UNLISTED),
    "gemma2": Served(
        "gemma2",
        True,
        True,
        "native",
        EXPERIMENTAL,
        "transformers 4.57 caps scores in eager attention only",
    ),
    "gemma3_text": Served("gemma3_text", True, True, "native", EXPERIMENTAL),
    "qwen3_moe": Served(
        "qwen3_moe", True, True, "native", TESTED, "an odd number of experts may miss Ascend's fused gate"
    ),
    "mixtral": Served("mixtral", True, True, "native", NIGHTLY),
    "qwen2_moe": Served(
        "qwen2_moe", True, True, "native", UNLISTED, "tensor parallel at most as wide as there are experts"
    ),
    "deepseek": Served("qwen2_moe", False, False, "native", UNLISTED, "transformers wants its remote code"),
    "deepseek_v2": Served(
        "deepseek_v2", True, True, "native", TESTED, "transformers 4.57 passes over yarn's mscale_all_dim"
    ),
    "deepseek_v3": Served("deepseek_v3", True, True, "native", SUPPORTED),
    "glm4_moe": Served("glm4_moe", True, True, "native", SUPPORTED),
}


class Limit(NamedTuple):
    """What the pinned vLLM does not do as the architecture's authors and transformers do."""

    families: tuple[str, ...]
    """Empty: all of them."""
    concerns: Callable[[ModelConfig], bool]
    says_so: bool
    """Whether it refuses; else it answers something else without a word."""
    words: str


def _has_a_head_of_its_own(cfg: ModelConfig) -> bool:
    return not cfg.tie_word_embeddings


OWN_HEAD = ("deepseek_v2", "deepseek_v3", "glm4_moe", "olmoe")
"""Families whose tied head vLLM leaves unfilled; their exports have one of their own."""

LIMITS = (
    Limit(
        OWN_HEAD,
        lambda cfg: cfg.tie_word_embeddings,
        False,
        "tied embeddings: it scores with a head of noise",
    ),
    Limit(
        ("qwen3", "qwen3_moe"),
        lambda cfg: cfg.output_bias,
        False,
        "a bias on attention's output: passed over",
    ),
    Limit(("gemma",), lambda cfg: cfg.qkv_bias or cfg.output_bias, False, "biases in attention: passed over"),
    Limit(
        (),
        lambda cfg: cfg.rope_scaling is not None and cfg.rope_scaling.rope_type == "longrope",
        False,
        "longrope: max_model_len, not the text's length, chooses between its factors",
    ),
    Limit(
        (),
        lambda cfg: cfg.rope_scaling is not None and cfg.rope_scaling.rope_type == "dynamic",
        True,
        "dynamic scaling: it reads no further than max_position_embeddings",
    ),
    Limit(
        ("qwen2", "qwen3"),
        lambda cfg: len(set(cfg.windowed)) > 1,
        True,
        "windows in some layers: it wants them in all or in none",
    ),
    Limit(
        ("gemma2", "bloom"), _has_a_head_of_its_own, True, "a head of its own: it knows the embeddings alone"
    ),
    Limit(
        ("falcon",),
        lambda cfg: cfg.intermediate_size != 4 * cfg.hidden_size,
        True,
        "an MLP that is not four times as wide as the model",
    ),
)


def limits(model_type: str, cfg: ModelConfig) -> list[Limit]:
    """Return what the pinned vLLM would do otherwise with a model like this; empty: nothing that is known."""
    return [
        limit for limit in LIMITS if model_type in (limit.families or [model_type]) and limit.concerns(cfg)
    ]
