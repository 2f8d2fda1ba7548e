"""Small random models for tests: opinionated enough that greedy answers are not all alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from danlu.base.paths import whole_folder
from danlu.model import weights
from danlu.model.build import build
from danlu.model.config import ModelConfig
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load("starter")

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "qk_norm": {"qk_norm": True, "num_key_value_heads": 2},
    "moe": {
        "moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "balance": "none"}
    },
    "yarn": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        "num_key_value_heads": 1,
    },
}


def tiny(kind: str = "qk_norm", seed: int = 0, **keys: Any) -> Decoder:
    """Return a model of two layers; weights of std 0.2 make its opinions strong."""
    base = {
        "vocab_size": TOKENIZER.size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    return build(ModelConfig.model_validate(base | KINDS[kind] | keys), seed=seed).eval()


def words(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Return one random prompt of each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, TOKENIZER.size, (n,), generator=generator).tolist() for n in lengths]


def finished(folder: Path, model: Decoder, stage: str = "sft") -> Path:
    """Write what a training run leaves in out/."""
    with whole_folder(folder) as aside:
        weights.save(model.state_dict(), model.cfg, aside)
        TOKENIZER.save(aside)
        (aside / "run.json").write_text(json.dumps({"stage": stage}))
    return folder
