"""Finished weights from a folder, ready to answer.

    out/full_sft_512/    config.json, *.safetensors, tokenizer.json, chat_template.jinja, run.json

Any folder of a known architecture in that layout will do, ours or one from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from danlu.base.errors import UserError, nearest
from danlu.device import api
from danlu.generate import packed, profile
from danlu.generate.prompt import end_tokens
from danlu.model import build, weights
from danlu.model.config import ModelConfig
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(folder: str | Path, device: str = "auto", dtype: str = "auto") -> tuple[Decoder, Tokenizer]:
    """Return the model and the tokenizer of finished weights."""
    folder = Path(folder)
    check_folder(folder)
    cfg = weights.read_config(folder)
    model = empty(cfg, device, dtype)
    weights.load(folder, model)
    packed.pack(model)
    return model, checked(Tokenizer.load(folder), cfg, folder)


def empty(cfg: ModelConfig, device: str, dtype: str) -> Decoder:
    """Return a model on its device, in its number format, about to be filled; it will not be trained."""
    here = api.choose(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UserError(f"there is no dtype '{dtype}'", nearest(dtype, ["auto", *DTYPES]))
    chosen = here.default_dtype() if dtype == "auto" else DTYPES[dtype]
    model = build.build_empty(cfg, here.torch, chosen)
    return model.requires_grad_(False).eval()


def served_dtype(folder: Path, dtype: str, device: str) -> str:
    """Return the number format asked for; of "auto" the one in serve.json, where the device has it."""
    if dtype != "auto" or not (folder / profile.FILE).is_file():
        return dtype
    told = profile.read(folder).dtype
    return "auto" if told == "bfloat16" and not api.choose(device).traits.bf16 else told


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds no finished weights, naming those that do."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", suggestion(folder))
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no finished weights (no config.json)", suggestion(folder))


def suggestion(folder: Path) -> str:
    """Return what to write instead of a folder that does not serve."""
    places = {Path("out"), folder, folder.parent}
    found = sorted({str(path.parent) for place in places for path in place.glob("*/config.json")})
    if not found:
        return "train some first: danlu train pretrain data.train=FILE.jsonl"
    return nearest(str(folder), found)


def checked(tokenizer: Tokenizer, cfg: ModelConfig, folder: Path) -> Tokenizer:
    """Return the tokenizer if the model knows all its tokens."""
    if tokenizer.size > cfg.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens, the model {cfg.vocab_size}",
            "put the tokenizer.json there that the model was trained with",
        )
    return tokenizer


def ends(folder: str | Path, tokenizer: Tokenizer) -> set[int]:
    """Return the tokens that end an answer: the tokenizer's, and those generation_config.json adds."""
    file = Path(folder) / "generation_config.json"
    more = _read(file).get("eos_token_id") if file.is_file() else None
    return end_tokens(tokenizer) | set(more if isinstance(more, list) else [] if more is None else [more])


def provenance(folder: str | Path) -> dict[str, Any]:
    """Return what run.json tells of how the weights came about; nothing where there is none."""
    file = Path(folder) / "run.json"
    return _read(file) if file.is_file() else {}


def lineage(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json will tell of a run with these settings, as far as it matters to serving."""
    begun = str(settings.get("from") or "")
    return {
        "stage": settings.get("stage", ""),
        "config": dict(settings),
        "from": (provenance(begun) or None) if begun else None,
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "mend it or delete it") from None
    return data if isinstance(data, dict) else {}
