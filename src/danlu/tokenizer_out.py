"""Where `danlu tokenizer` writes: what --force may replace, and what it never touches.

A folder is replaced only if every file in it is one that is written again: a folder of finished weights by
`extend` and `trim`, a tokenizer's by `train`. What is read from, and where one stands, is safe from both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from danlu.base.errors import UserError

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
WEIGHTS = (
    *TOKENIZER,
    "config.json",
    "generation_config.json",
    "run.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
LEFT = re.compile(r"\.(?P<name>.+)\.writing-\d+")
"""What a writer that was killed leaves beside a file."""


def refuse_there(out: Path, model: Path, read: Iterable[Path], force: bool) -> None:
    """Refuse an --out that is in the way of the model or of a file that is read, or that holds anything else.

    With `force` finished weights are replaced, and nothing but those.
    """
    if out.is_symlink():
        raise UserError(f"{out}: is a link", "another --out, or the folder it leads to")
    there = out.resolve()
    if there == model.resolve():
        raise UserError(f"{out}: is the model itself", "another --out")
    if _holds(model, there):
        raise UserError(f"{out}: lies inside the model {model}", "another --out")
    for what, kept in (("the model", model), *(("what is read:", path) for path in read)):
        if kept.exists() and _holds(there, kept):
            raise UserError(f"{out}: holds {what} {kept}", "another --out")
    if _holds(there, Path.cwd()):
        raise UserError(f"{out}: is or holds the current folder", "another --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force or not out.is_dir():
        hint = ", or --force to replace it" if out.is_dir() else ""
        raise UserError(f"{out}: is there already", f"another --out{hint}")
    _refuse_unknown(out, WEIGHTS, "finished weights")
    if not ((out / "config.json").is_file() and any(out.glob("*.safetensors"))):
        raise UserError(f"{out}: holds no finished weights to replace", "another --out")


def refuse_more(out: Path) -> None:
    """Refuse a folder that holds more than a tokenizer: a model's, or one of other work."""
    if out.is_dir():
        _refuse_unknown(out, TOKENIZER, "a tokenizer")


def _holds(folder: Path, path: Path) -> bool:
    """Return whether a path is a folder or lies in it, whatever they are called."""
    return path.resolve().is_relative_to(folder.resolve())


def _refuse_unknown(folder: Path, known: Iterable[str], what: str) -> None:
    """Refuse a folder with anything in it that is not one of the known files."""
    for file in sorted(folder.iterdir()):
        left = LEFT.fullmatch(file.name)
        name = Path(left["name"] if left else file.name)
        if not (file.is_file() and any(name.match(pattern) for pattern in known)):
            raise UserError(f"{folder}: holds {file.name}, which is no part of {what}", "another --out")
