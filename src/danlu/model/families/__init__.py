"""Families: each published architecture as data, in a file of its own.

A family says which decoders it can represent, how its config.json reads, and under which names its
weights lie on disk. What is new about a family goes into its file, and its name into `FAMILIES`.

    choose(cfg)       the family a model leaves as, or an error with the reasons
    laid_out_as(cfg)  the same, or our own layout for a model that may stay here
    to_hf(cfg)        the content of config.json
    from_hf(content)  the configuration, ours or a foreign model's
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from danlu.base.config import check
from danlu.base.errors import UserError
from danlu.base.log import say_once
from danlu.model.families import own
from danlu.model.families.family import Family, Unknown
from danlu.model.families.rules import Reason
from danlu.model.shape import ModelConfig

__all__ = ["FAMILIES", "Family", "choose", "from_hf", "get", "laid_out_as", "to_hf"]

FAMILIES = {
    "qwen3": "danlu.model.families.qwen3",
    "llama": "danlu.model.families.llama",
    "qwen2": "danlu.model.families.qwen2",
    "internlm": "danlu.model.families.internlm",
    "internlm2": "danlu.model.families.internlm2",
    "baichuan": "danlu.model.families.baichuan",
    "glm": "danlu.model.families.glm",
    "glm4": "danlu.model.families.glm4",
    "olmoe": "danlu.model.families.olmoe",
    "mistral": "danlu.model.families.mistral",
    "phi3": "danlu.model.families.phi3",
    "phi": "danlu.model.families.phi",
    "gpt2": "danlu.model.families.gpt2",
    "gpt_neo": "danlu.model.families.gpt_neo",
    "gpt_neox": "danlu.model.families.gpt_neox",
    "falcon": "danlu.model.families.falcon",
    "bloom": "danlu.model.families.bloom",
    "gemma": "danlu.model.families.gemma",
    "gemma2": "danlu.model.families.gemma2",
    "gemma3_text": "danlu.model.families.gemma3_text",
    "qwen3_moe": "danlu.model.families.qwen3_moe",
    "mixtral": "danlu.model.families.mixtral",
    "qwen2_moe": "danlu.model.families.qwen2_moe",
    "deepseek": "danlu.model.families.deepseek",
    "deepseek_v2": "danlu.model.families.deepseek_v2",
    "deepseek_v3": "danlu.model.families.deepseek_v3",
    "glm4_moe": "danlu.model.families.glm4_moe",
}
"""By Hugging Face's model_type, best choice first: what serves it most widely."""

OURS = "danlu"
"""Key of config.json under which our own configuration lies whole; other readers pass over it."""


def get(model_type: str) -> Family:
    """Return a family by its model_type."""
    if model_type == own.FAMILY.model_type:
        return own.FAMILY
    return importlib.import_module(FAMILIES[model_type]).FAMILY


def choose(cfg: ModelConfig) -> Family:
    """Return the family a model leaves as, or refuse it with what keeps it from the nearest ones."""
    refusals = []
    for model_type in FAMILIES:
        family = get(model_type)
        if not family.leaves or family.is_moe != (cfg.moe is not None):
            continue
        reasons = family.why_not(cfg)
        if not reasons:
            return family
        refusals.append((family, reasons))
    refusals.sort(key=lambda refusal: len(refusal[1]))
    nearest_two = [reasons for _, reasons in refusals[:2] if len(reasons) == len(refusals[0][1])]
    words = "; ".join(_words(family, reasons) for family, reasons in refusals[:2])
    ways = (" ".join(dict.fromkeys(reason.remedy for reason in reasons)) for reasons in nearest_two)
    raise UserError(
        f"model: no published architecture is like this: {words}", ", or ".join(dict.fromkeys(ways))
    )


def laid_out_as(cfg: ModelConfig) -> Family:
    """Return the family in whose layout a model's weights are kept: its own, or ours if it may stay."""
    try:
        return choose(cfg)
    except UserError as refusal:
        if cfg.may_stay:
            return own.FAMILY
        hint = f"{refusal.hint}, or model.may_stay=true: train it here and never export it"
        raise UserError(refusal.problem, hint) from None


def _words(family: Family, reasons: list[Reason]) -> str:
    return f"{family.architecture} {' and '.join(reason.problem for reason in reasons)}"


def to_hf(cfg: ModelConfig, family: Family | None = None) -> dict[str, Any]:
    """Return the content of config.json, readable by transformers 4 and 5, as the family it is kept as."""
    family = family or laid_out_as(cfg)
    ours = cfg.model_dump(mode="json", exclude_none=True)
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **family.to_hf(cfg),
        OURS: ours,
    }


def from_hf(described: dict[str, Any], source: str = "config.json") -> ModelConfig:
    """Return the configuration that a config.json describes."""
    kind = str(described.get("model_type"))
    if kind not in FAMILIES and kind != own.FAMILY.model_type:
        raise _unknown(kind, source)
    ours = _ours(described, source)
    if ours is not None:
        return ours
    family = get(kind)
    try:
        keys = family.from_hf(described)
    except KeyError as error:
        raise UserError(
            f"{source}: {error.args[0]}: is missing", "a complete config.json is wanted"
        ) from None
    except Unknown as error:
        hint = "another model: these weights were trained with it, so config.json alone must not change"
        raise UserError(f"{source}: {error}", hint) from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        problem = f"{source}: a value is of another kind than it must be: {error}"
        raise UserError(problem, "the config.json that came with the weights") from None
    cfg = check(ModelConfig, keys, source)
    return cfg if family.leaves else _may_stay(cfg, source)


def _unknown(kind: str, source: str) -> UserError:
    (close,) = difflib.get_close_matches(kind, FAMILIES, n=1, cutoff=0.0)
    problem = f"{source}: model_type: '{kind}' is not a family known here; the nearest is '{close}'"
    return UserError(problem, f"one of: {', '.join(sorted(FAMILIES))}")


def _may_stay(cfg: ModelConfig, source: str) -> ModelConfig:
    """Return a model that is only read, marked, and said to be so, where it can never be exported."""
    try:
        choose(cfg)
    except UserError as refusal:
        reason = refusal.problem.removeprefix("model: ")
        say_once(f"{source}: this model can be trained here and never exported: {reason}")
        return cfg.model_copy(update={"may_stay": True})
    return cfg


def _ours(described: dict[str, Any], source: str) -> ModelConfig | None:
    """Return the configuration we wrote into it ourselves, unless the rest was changed since."""
    if not isinstance(described.get(OURS), dict):
        return None
    cfg = check(ModelConfig, described[OURS], f"{source}: {OURS}")
    written = to_hf(cfg)
    same = all(described.get(key) == written[key] for key in ("model_type", *SHAPE) if key in written)
    return cfg if same else None


SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_experts",
    "tie_word_embeddings",
)
