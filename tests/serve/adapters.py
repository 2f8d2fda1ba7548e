"""Small adapters in PEFT's format, with factors that change what a model says."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from danlu.model.decoder import Decoder

RANK = 4


def made(model: Decoder, folder: Path, seed: int = 0) -> Path:
    """Write an adapter of every layer's query and output products."""
    generator = torch.Generator().manual_seed(seed)
    cfg = model.cfg
    tensors = {}
    for layer in range(cfg.num_hidden_layers):
        for name in ("q_proj", "o_proj"):
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            for which, shape in (("A", (RANK, cfg.hidden_size)), ("B", (cfg.hidden_size, RANK))):
                tensors[f"{module}.lora_{which}.weight"] = torch.randn(shape, generator=generator)
    folder.mkdir(parents=True)
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["q_proj", "o_proj"],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
