"""Finished weights with more or fewer words: rows of the embedding and the head, and nothing else.

    extend    every old row stays, bit for bit; new rows begin as the mean of the pieces they replace
    trim      row i is what row kept[i] was, bit for bit

Both copy a folder file by file, in its own number format and under its own names, whatever its family;
tensors that are not rows of words are not touched. (A family that is only read is written as the one it
leaves as.) What is added to reach a multiple (sizes that kernels
and sharding like) is no word: its rows are the mean of all, which is never the likeliest.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from danlu import __version__
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.config import ModelConfig, read_hf, read_type
from danlu.model.disk import INDEX
from danlu.model.families import OURS, get
from danlu.tokenizer.tokenizer import Tokenizer

HELD = ("model.embed_tokens.weight", "lm_head.weight", "head_bias")
"""Our names of what has a row for every word."""
INITS = ("mean", "noise", "average")
NOISE = 0.1  # of the rows' own spread: enough to tell two words of the same pieces apart
SEED = 42


class Words(NamedTuple):
    """A new vocabulary for a model."""

    tokenizer: Tokenizer
    rows: int
    """Rows of the embedding and the head, padding included."""
    change: Callable[[Tensor], Tensor]
    """From the old rows [V, C] to the new ones."""
    numbers: Mapping[int, int] | None = None
    """The new id of each old one, where they changed."""


def padded(size: int, multiple: int) -> int:
    """Return the number of rows for `size` words.

    >>> padded(50279, 64)
    50304
    """
    return -(-size // multiple) * multiple


def checked(folder: Path) -> tuple[ModelConfig, Tokenizer]:
    """Return the configuration and the tokenizer of finished weights, or say what is wrong with them."""
    if not (folder / "config.json").is_file():
        what = "no such folder" if not folder.is_dir() else "holds no finished weights (no config.json)"
        raise UserError(f"{folder}: {what}", "a folder of finished weights, out/NAME for instance")
    cfg, tokenizer = read_hf(folder), Tokenizer.load(folder)
    if tokenizer.size > cfg.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens, the model {cfg.vocab_size}",
            "put the tokenizer.json there that the model was trained with",
        )
    return cfg, tokenizer


def larger(
    old: Tokenizer, new: Tokenizer, pieces: Sequence[Sequence[int]], rows: int, init: str = "mean"
) -> Words:
    """Return what gives a model the tokens from the old size on, each told by the old ids it replaces."""

    def change(rows_VC: Tensor) -> Tensor:
        known_VC = rows_VC[: old.size].float()
        average_C = known_VC.mean(0)
        new_VC = torch.empty(rows, *rows_VC.shape[1:], dtype=rows_VC.dtype)
        new_VC[: len(rows_VC)] = rows_VC
        new_VC[len(rows_VC) :] = average_C.to(rows_VC.dtype)
        chance = torch.Generator().manual_seed(SEED)
        for number, ids in enumerate(pieces, old.size):
            row_C = average_C if init == "average" else known_VC[list(ids)].mean(0)
            if init == "noise":
                row_C = row_C + known_VC.std() * NOISE * torch.randn(row_C.shape, generator=chance)
            new_VC[number] = row_C.to(rows_VC.dtype)
        return new_VC

    return Words(new, rows, change)


def smaller(new: Tokenizer, kept: Sequence[int], rows: int) -> Words:
    """Return what leaves a model the words `kept`, in that order."""

    def change(rows_VC: Tensor) -> Tensor:
        kept_VC = rows_VC[list(kept)]
        filling_VC = kept_VC.float().mean(0).to(rows_VC.dtype).expand(rows - len(kept), *rows_VC.shape[1:])
        return torch.cat([kept_VC, filling_VC])

    return Words(new, rows, change, {old: number for number, old in enumerate(kept)})


@torch.no_grad()
def write(folder: Path, out: Path, words: Words, told: Mapping[str, Any]) -> None:
    """Write the model of a folder with other words to `out`; `told` goes into its run.json."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: there is no .safetensors file in it", "a folder of finished weights")
    paths.need_writable(out)
    paths.need_space(out, sum(file.stat().st_size for file in files))
    with paths.whole_folder(out) as aside:
        family = get(read_type(folder))
        if family.leaves:
            _copy_all(files, aside, words)
        else:
            _write_anew(folder, aside, words)
        if (folder / "generation_config.json").is_file():
            generation = renumbered(_read(folder / "generation_config.json"), words.numbers)
            _write(aside / "generation_config.json", generation)
        words.tokenizer.save(aside)
        _write(aside / "run.json", _provenance(folder, out, words, told))


def _copy_all(files: Sequence[Path], aside: Path, words: Words) -> None:
    """Copy files of weights and their config.json, with other rows of words."""
    folder = files[0].parent
    cfg, family = read_hf(folder), get(read_type(folder))
    names = {part.name for name in HELD for part in family.parts(name, cfg)}
    embedding = next(iter(family.parts(HELD[0], cfg))).name
    done: set[str] = set()
    grown = sum(_copy(file, aside / file.name, names, cfg, words.change, done) for file in files)
    if embedding not in done:
        raise UserError(f"{folder}: {embedding}: is missing", "whole weights of a known family")
    if (folder / INDEX).is_file():
        index = _read(folder / INDEX)
        metadata = index.get("metadata") or {}
        index["metadata"] = metadata | {"total_size": metadata.get("total_size", 0) + grown}
        _write(aside / INDEX, index)
    _write(aside / "config.json", _resized(_read(folder / "config.json"), words))


def _write_anew(folder: Path, aside: Path, words: Words) -> None:
    """Write weights as the family they leave as, with other rows of words."""
    cfg, described = read_hf(folder), _read(folder / "config.json")
    number = str(described.get("dtype") or described.get("torch_dtype") or "float32")
    state = weights.read_state(folder, getattr(torch, number))
    state |= {name: words.change(state[name]) for name in HELD if name in state}
    ids = {key: value for key, value in described.items() if key.endswith("_token_id")}
    cfg = cfg.model_copy(update={"vocab_size": words.rows})
    weights.save(state, cfg, aside, extra=renumbered(ids, words.numbers))


def _copy(
    file: Path,
    into: Path,
    names: set[str],
    cfg: ModelConfig,
    change: Callable[[Tensor], Tensor],
    done: set[str],
) -> int:
    """Copy a file of weights, with other rows of words; return by how many bytes these grew."""
    try:
        with safe_open(file, framework="pt") as opened:
            held = set(opened.keys())
            if not names & held:
                shutil.copyfile(file, into)
                return 0
            tensors = {name: opened.get_tensor(name) for name in sorted(held)}
            metadata = opened.metadata() or {"format": "pt"}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "copy or download it again") from None
    grown = 0
    for name in sorted(names & held):
        before = tensors[name]
        if len(before) != cfg.vocab_size:
            raise UserError(
                f"{file}: {name}: has {len(before)} rows, config.json says {cfg.vocab_size}",
                "weights and config.json of the same model",
            )
        tensors[name] = change(before)
        done.add(name)
        grown += tensors[name].nbytes - before.nbytes
    save_file(tensors, into, metadata=metadata)
    return grown


def _resized(described: dict[str, Any], words: Words) -> dict[str, Any]:
    """Return a config.json for these words."""
    described = renumbered(described, words.numbers) | {"vocab_size": words.rows}
    if isinstance(described.get(OURS), dict):
        described[OURS] = described[OURS] | {"vocab_size": words.rows}
    return described


def renumbered(described: dict[str, Any], numbers: Mapping[int, int] | None) -> dict[str, Any]:
    """Return a configuration in which every `..._token_id` is what that token is called now."""
    if numbers is None:
        return described

    def new(value: Any) -> Any:
        return (
            [numbers[one] for one in value if one in numbers]
            if isinstance(value, list)
            else numbers.get(value)
        )

    return {
        key: new(value) if key.endswith("_token_id") and value is not None else value
        for key, value in described.items()
    }


def token_ids(folder: Path) -> set[int]:
    """Return every token that a model's configurations name: they must not be lost."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        for key, value in _read(folder / name).items() if (folder / name).is_file() else []:
            if key.endswith("_token_id") and value is not None:
                found |= set(value if isinstance(value, list) else [value])
    return found


def _provenance(folder: Path, out: Path, words: Words, told: Mapping[str, Any]) -> dict[str, Any]:
    parent = _read(folder / "run.json") if (folder / "run.json").is_file() else None
    return {
        "stage": (parent or {}).get("stage", ""),
        "weight": (parent or {}).get("weight", ""),
        "name": out.name,
        "vocabulary": {**told, "model": str(folder), "size": words.tokenizer.size, "rows": words.rows},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "danlu": __version__,
        "torch": torch.__version__,
        "host": platform.platform(),
        "tokenizer": words.tokenizer.fingerprint,
        "from": parent,
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "copy or download it again") from None
    return data if isinstance(data, dict) else {}


def _write(file: Path, data: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
