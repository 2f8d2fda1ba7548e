"""Models to be exported, exports, and ways to spoil them, for the tests of `convert`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from convert import manifest
from convert.check import BY_CHECK, found_by, open_case
from convert.export import Order, export
from danlu.base import config as yaml_config
from danlu.checkpoint.store import Store
from danlu.model import weights
from danlu.model.families import OURS
from danlu.model.shape import ModelConfig
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from model_shapes import config, model

WORDS = Tokenizer.load("starter")


def speaking(name: str = "qwen3", **changes: Any) -> ModelConfig:
    """Return a shape as large as the starter vocabulary; weights of std 0.2 make its opinions strong."""
    return config(name, **{"vocab_size": WORDS.size, "initializer_range": 0.2} | changes)


def finished(folder: Path, cfg: ModelConfig, words: Tokenizer | None = WORDS, seed: int = 0) -> Path:
    """Write what a training run leaves in out/."""
    folder.mkdir(parents=True)
    weights.save(model(cfg, seed).state_dict(), cfg, folder)
    if words:
        words.save(folder)
    (folder / "run.json").write_text(json.dumps({"stage": "sft", "step": 7}))
    return folder


def run(folder: Path, cfg: ModelConfig, steps: tuple[int, ...] = (1, 2)) -> Path:
    """Write what a training run leaves in runs/, each step with the weights of another seed."""
    described(folder, cfg)
    store = Store(folder)
    for step in steps:
        store.save(step, {"model": model(cfg, seed=step).state_dict()}, {"step": step}, wait=True)
    store.close()
    return folder


def described(folder: Path, cfg: ModelConfig, words: str | Path = "starter") -> None:
    """Write a run's config.yaml."""
    folder.mkdir(parents=True)
    settings = {"stage": "pretrain", "model": cfg.model_dump(mode="json"), "tokenizer": str(words)}
    (folder / "config.yaml").write_text(yaml_config.yaml.safe_dump(settings))


def exported(source: Path, out: Path, dtype: torch.dtype = torch.bfloat16, **more: Any) -> Path:
    """Export without a check and return where."""
    export(Order(str(source), out, dtype, **{"check": "none"} | more))
    return out


def faults(folder: Path, source: str | Path, check: str = "logits", adapter: Path | None = None) -> list[str]:
    """Return what a check finds, place and problem."""
    case = open_case(folder, str(source), adapter)
    return [f"{fault.place}: {fault.problem}" for fault in found_by(case, BY_CHECK[check])]


def chat_ids(messages: Any, tools: Any) -> list[int]:
    """Return what a chat is in training."""
    return list(encode_chat(WORDS, messages, tools).ids)


# Ways to spoil an export


@contextlib.contextmanager
def edited(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a JSON file holds and write it back."""
    content = json.loads(path.read_text(encoding="utf-8"))
    yield content
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def put(name: str, key: str, value: Any) -> Callable[[Path], None]:
    """Return what sets a key of a JSON file, `rope_parameters.rope_theta` for instance."""

    def spoil(folder: Path) -> None:
        *sections, last = key.split(".")
        with edited(folder / name) as content:
            for section in sections:
                content = content[section]
            content[last] = value

    return spoil


def tensors(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Path], None]:
    """Return what changes the tensors of the only file of weights."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        state = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(state)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, {"format": "pt"})

    return spoil


def without_manifest(folder: Path) -> None:
    (folder / manifest.FILE).unlink(missing_ok=True)


def foreign(folder: Path) -> None:
    """Make a folder look as if somebody else had written it."""
    without_manifest(folder)
    with edited(folder / "config.json") as content:
        content.pop(OURS, None)


LOOKS: dict[str, Callable[[Path], None]] = {
    "as exported": lambda folder: None,
    "without its manifest": without_manifest,
    "as if from elsewhere": foreign,
}
