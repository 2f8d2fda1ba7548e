"""What a family is made of, and the parts that nearly all of them share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from danlu.model.families.rules import Reason
from danlu.model.shape import ModelConfig, RopeScaling

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
FROM_HF = {name: ours for ours, name in ACTIVATIONS.items()} | {"swish": "silu", "gelu_new": "gelu_tanh"}


class Unknown(ValueError):
    """A setting of a config.json that changes what the model computes and is not known here."""


def only(described: dict[str, Any], **known: Any) -> None:
    """Refuse a config.json that sets one of these keys, and to something else."""
    for key, value in known.items():
        found = described.get(key)
        if found is not None and found != value:
            raise Unknown(f"{key}: {json.dumps(found)} is not known here, only {json.dumps(value)}")


class Fused(NamedTuple):
    """Where a part lies in a tensor on disk that holds others too, or holds it in another order.

    It is disk.reshape(view).permute(axes)[inside], of the part's own shape once reshaped.
    """

    shape: tuple[int, ...]
    """Of the whole tensor on disk."""
    view: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    inside: tuple[Any, ...] = ()

    def of(self, disk: Tensor) -> Tensor:
        """Return the part, a view of the tensor on disk."""
        seen = disk.reshape(self.view or self.shape)
        return (seen.permute(self.axes) if self.axes else seen)[self.inside]


class Part(NamedTuple):
    """One tensor on disk, or a piece of it, and where it belongs in one of ours."""

    name: str
    place: tuple[Any, ...] = ()
    factor: float = 1.0
    """What is on disk is ours times this; a power of two, so that nothing is rounded."""
    fused: Fused | None = None
    """How it lies in the tensor on disk; None: it is that tensor."""
    form: tuple[int, ...] = ()
    """Shape of ours in which `place` counts; empty: as it is."""

    def of(self, ours: Tensor) -> Tensor:
        """Return the part, a view of our tensor."""
        return (ours.view(self.form) if self.form else ours)[self.place]


@dataclass(frozen=True)
class Family:
    """One published architecture."""

    model_type: str
    architecture: str
    is_moe: bool
    why_not: Callable[[ModelConfig], list[Reason]]
    to_hf: Callable[[ModelConfig], dict[str, Any]]
    from_hf: Callable[[dict[str, Any]], dict[str, Any]]
    renames: tuple[tuple[str, str], ...] = ()
    """Parts of our weights' names and what they are called on disk."""
    experts: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    """Names of an expert's three matrices on disk."""
    doubled: Callable[[ModelConfig], str] = lambda cfg: ""
    """Weights whose name holds this lie on disk times two; empty: none do."""
    zeros: Callable[[ModelConfig], dict[str, tuple[int, ...]]] = lambda cfg: {}
    """Names on disk, and shapes, of weights that we do not have and that must be zero."""

    fused: Callable[[str, ModelConfig], list[Part]] = lambda name, cfg: []
    """The parts of a weight that lies otherwise than whole under another name; empty: it does not."""
    leaves: bool = True
    """Whether models leave as this; else they are read, and leave as another family."""
    read: Callable[[str, Tensor, ModelConfig], Tensor] = lambda name, disk, cfg: disk
    """What a tensor on disk means, given its name; for families that do more than rename."""
    unread: tuple[str, ...] = (r"(.+\.)?rotary_emb\.inv_freq",)
    """What tensors are called, as whole regular expressions, that lie in published files and say nothing:
    early versions saved tables that follow from the configuration."""
    left_out: Callable[[str, ModelConfig], str] = lambda name, cfg: ""
    """Why a tensor on disk is passed over, which is then said; empty: it is not."""
    prefix: str = ""
    """First component of names that old published files leave out, with its dot."""

    @property
    def reads_otherwise(self) -> bool:
        """Whether a tensor on disk may mean something else than its numbers."""
        return self.read is not Family.read

    def parts(self, name: str, cfg: ModelConfig) -> Iterator[Part]:
        """Yield the tensors on disk that one of our weights is made of."""
        if lies := self.fused(name, cfg):
            yield from lies
            return
        on_disk = name
        for ours, theirs in self.renames:
            on_disk = on_disk.replace(ours, theirs)
        prefix, found, last = on_disk.rpartition(".experts.")
        if not found:
            doubled = self.doubled(cfg)
            yield Part(on_disk, (), 2.0 if doubled and doubled in on_disk else 1.0)
            return
        assert cfg.moe
        gate, up, down = self.experts
        width = cfg.moe.moe_intermediate_size
        for expert in range(cfg.moe.num_experts):
            own = f"{prefix}.experts.{expert}"
            if last == "down_proj":
                yield Part(f"{own}.{down}.weight", (expert,))
            else:
                yield Part(f"{own}.{gate}.weight", (expert, slice(0, width)))
                yield Part(f"{own}.{up}.weight", (expert, slice(width, 2 * width)))


# config.json


def shape_to_hf(cfg: ModelConfig) -> dict[str, Any]:
    """Return the keys that nearly every family writes alike."""
    scaling = _scaling_to_hf(cfg)
    rope = (scaling or {"rope_type": "default"}) | {"rope_theta": cfg.rope_theta}
    if cfg.partial_rotary_factor != 1.0:
        rope |= {"partial_rotary_factor": cfg.partial_rotary_factor}
    outside = ("original_max_position_embeddings",) if rope["rope_type"] == "longrope" else ()
    return {key: rope[key] for key in outside} | {  # where transformers 4 looks for it
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.hidden_size,
        "intermediate_size": cfg.intermediate_size,
        "num_hidden_layers": cfg.num_hidden_layers,
        "num_attention_heads": cfg.num_attention_heads,
        "num_key_value_heads": cfg.num_key_value_heads,
        "head_dim": cfg.head_dim,
        "hidden_act": ACTIVATIONS[cfg.activation],
        "max_position_embeddings": cfg.max_position_embeddings,
        "initializer_range": cfg.initializer_range,
        "rms_norm_eps": cfg.norm_eps,
        "tie_word_embeddings": cfg.tie_word_embeddings,
        "attention_dropout": 0.0,
        "use_cache": True,
        "rope_parameters": rope,  # transformers 5
        "rope_theta": cfg.rope_theta,  # transformers 4, with rope_scaling
        "rope_scaling": scaling,
    }


def _scaling_to_hf(cfg: ModelConfig) -> dict[str, Any] | None:
    scaling = cfg.rope_scaling
    if scaling is None:
        return None
    written = scaling.model_dump(mode="json", exclude_none=True)
    if scaling.factor is None:  # transformers 4 wants it spelt out
        assert scaling.original_max_position_embeddings
        written["factor"] = cfg.max_position_embeddings / scaling.original_max_position_embeddings
    return written


def shape_from_hf(described: dict[str, Any]) -> dict[str, Any]:
    """Return our keys for what `shape_to_hf` writes."""
    rope = dict(described.get("rope_parameters") or {})
    scaling = described.get("rope_scaling") or {key: rope[key] for key in rope if key not in NOT_SCALING}
    theta = rope.get("rope_theta", described.get("rope_theta", 10000.0))
    partial = rope.get("partial_rotary_factor", described.get("partial_rotary_factor", 1.0))
    heads = described["num_attention_heads"]
    keys = {
        key: described[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    } | {
        "num_attention_heads": heads,
        "num_key_value_heads": described.get("num_key_value_heads") or heads,
        "max_position_embeddings": described["max_position_embeddings"],
        "initializer_range": described.get("initializer_range", 0.02),
        "norm_eps": described["rms_norm_eps"],
        "activation": FROM_HF.get(described["hidden_act"], described["hidden_act"]),
        "tie_word_embeddings": described.get("tie_word_embeddings", False),
        "rope_theta": float(theta),
        "partial_rotary_factor": float(partial),
    }
    if described.get("head_dim"):
        keys["head_dim"] = described["head_dim"]
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        known = {key: value for key, value in scaling.items() if key in RopeScaling.model_fields}
        if described.get("original_max_position_embeddings"):
            known["original_max_position_embeddings"] = described["original_max_position_embeddings"]
        elif kind in ("yarn", "llama3", "longrope"):
            known.setdefault("original_max_position_embeddings", described["max_position_embeddings"])
        keys["rope_scaling"] = known | {"rope_type": kind}
    return keys


NOT_SCALING = ("rope_theta", "partial_rotary_factor")


def moe_from_hf(described: dict[str, Any]) -> dict[str, Any]:
    """Return our keys for a mixture of experts of Qwen's kind."""
    only(described, decoder_sparse_step=1)
    layers = described.get("mlp_only_layers") or []
    first = len(layers)
    if layers != list(range(first)):
        raise Unknown(f"mlp_only_layers: {layers}: only dense layers that lead are known here")
    return {
        "num_experts": described.get("num_experts", described.get("num_local_experts")),
        "num_experts_per_tok": described["num_experts_per_tok"],
        "moe_intermediate_size": described["moe_intermediate_size"],
        "norm_topk_prob": described.get("norm_topk_prob", False),
        "first_dense_layers": first,
        "balance_coef": described.get("router_aux_loss_coef", 0.001),
    }


def moe_to_hf(cfg: ModelConfig) -> dict[str, Any]:
    """Return the keys of a mixture of experts of Qwen's kind, which other families share in part."""
    moe = cfg.moe
    assert moe
    return {
        "num_experts": moe.num_experts,
        "num_local_experts": moe.num_experts,
        "num_experts_per_tok": moe.num_experts_per_tok,
        "moe_intermediate_size": moe.moe_intermediate_size,
        "norm_topk_prob": moe.norm_topk_prob,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(range(moe.first_dense_layers)),
        "output_router_logits": False,
        "router_aux_loss_coef": moe.balance_coef,
    }


# Windows, as Qwen and Gemma write them


def windows_to_hf(cfg: ModelConfig) -> dict[str, Any]:
    """Return the keys for windows in the last layers only, or in none."""
    first = cfg.windowed.index(True) if any(cfg.windowed) else cfg.num_hidden_layers
    return {
        "use_sliding_window": any(cfg.windowed),
        "sliding_window": cfg.sliding_window if any(cfg.windowed) else None,
        "max_window_layers": first,
        "layer_types": layer_types(cfg),
    }


def layer_types(cfg: ModelConfig) -> list[str]:
    """Return one word a layer."""
    return ["sliding_attention" if windowed else "full_attention" for windowed in cfg.windowed]


def windows_from_hf(described: dict[str, Any]) -> dict[str, Any]:
    """Return our keys for what `windows_to_hf` writes."""
    if not described.get("use_sliding_window", False) or not described.get("sliding_window"):
        return {}
    layers = described["num_hidden_layers"]
    first = described.get("max_window_layers", layers)
    kinds = described.get("layer_types") or [
        "full_attention" if layer < first else "sliding_attention" for layer in range(layers)
    ]
    return {"sliding_window": described["sliding_window"], "layer_types": tuple(kinds)}
