"""A file of MiniMind's as a source."""

from __future__ import annotations

from pathlib import Path

from convert import minimind
from convert.minimind import Hints
from convert.source import Source, words_of
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.model.layout import InMemory


def opened(named: str, hints: Hints | None, words: Path | None) -> Source:
    """Return the model in a .pth file; `hints` tell what it does not."""
    file = Path(named)
    found = minimind.read(file, hints)
    if found.assumed:
        taken = ", ".join(f"{key}={value}" for key, value in found.assumed.items())
        say(f"{file}: generation {found.generation}; not told by its tensors, so as usual: {taken}")
    if found.lora:
        raise UserError(
            f"{file}: holds a model and an adapter beside it", "the finished weights, or the adapter"
        )
    beside = file.parent.parent / "model"  # where MiniMind's own checkout keeps its words
    dtypes = {found.dtype: sum(tensor.numel() for tensor in found.state.values())}
    return Source(
        named,
        file,
        f"MiniMind, generation {found.generation}",
        found.cfg,
        InMemory(found.state),
        dtypes,
        words_of(words or beside, found.cfg, required=words is not None),
        {"assumed": found.assumed},
    )
