"""The model that is served: its words, its profile, its names, and what its author advises.

Defaults of a request come from `generation_config.json` where it says any, as vLLM does it; else they are
OpenAI's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.evaluate.load import load_model, profile_of
from danlu.generate.adapters import Adapters
from danlu.generate.engine import Engine
from danlu.generate.load import ends, served_dtype
from danlu.generate.profile import Profile
from danlu.generate.prompt import context
from danlu.generate.settings import Sampling
from danlu.model.decoder import Decoder
from danlu.serve.problems import unknown_model
from danlu.serve.spelling import Spelling
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tools.formats import format_of

ADVISED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass
class Served:
    """One model and the adapters beside it."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    profile: Profile
    ends: frozenset[int]
    max_len: int
    advised: dict[str, Any] = field(default_factory=dict)
    adapters: Adapters | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.spelling = Spelling(self.tokenizer)

        self.vocabulary = self.model.cfg.vocab_size

    def hidden(self, tool_parser: str | None, reasoning_parser: str | None) -> bool:
        """Say whether marks that tell what is what in an answer are control tokens, not shown otherwise."""
        marks = [*format_of(tool_parser).opens, *format_of(tool_parser).first] if tool_parser else []
        marks += ["<think>", "</think>"] if reasoning_parser else []
        return any(mark in self.tokenizer.control for mark in marks)

    @property
    def names(self) -> list[str]:
        """Return what may be asked for by name, the model itself first."""
        return [self.name, *(self.adapters.names if self.adapters else ())]

    def adapter(self, name: str | None) -> str:
        """Return the adapter a name means, "" for the model itself."""
        if name is None or name == self.name:
            return ""
        if name not in self.names:
            raise unknown_model(name, self.names)
        return name


def load(
    folder: Path, name: str, device: str, dtype: str, max_len: int | None, adapters: Mapping[str, Path]
) -> Served:
    """Return what a folder holds, ready to be served."""
    model, tokenizer = load_model(folder, device, served_dtype(folder, dtype, device))
    profile = profile_of(folder, model, tokenizer)
    most = min(profile.max_model_len, context(model))
    if max_len is not None and max_len > most:
        raise UserError(
            f"--max-model-len: {max_len} is more than the model's {most}", "leave it out, or lower it"
        )
    finish = frozenset(ends(folder, tokenizer)) | frozenset(profile.stop_token_ids)
    beside = Adapters(model, folder if (folder / "config.json").is_file() else None) if adapters else None
    for other, place in adapters.items():
        assert beside is not None
        if other == name:
            raise UserError(f"--adapter: '{other}' is the model's own name", "give it another, or set --name")
        beside.load(other, place)
    return Served(name, model, tokenizer, profile, finish, max_len or most, _advised(folder), beside)


def engine_maker(served: Served, slots: int) -> Callable[[], Engine]:
    """Return what makes an engine for a model."""

    def make() -> Engine:
        return Engine(
            served.model, served.tokenizer, slots, served.max_len, served.ends, adapters=served.adapters
        )

    return make


def _advised(folder: Path) -> dict[str, Any]:
    file = folder / "generation_config.json"
    if not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        values = {key: said[key] for key in ADVISED if said.get(key) is not None}
        floats = {key: value if key == "top_k" else float(value) for key, value in values.items()}
        return Sampling.model_validate(floats).model_dump(include=set(floats))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: cannot be used: {error}", "mend it or delete it") from None
