"""The files that some words mean: files, folders, patterns, and names on a hub.

data/sft.jsonl        a file
data/                 every file below that can be read, in order of names
data/part-*.csv       a pattern
saved/                what `save_to_disk` wrote: its shards in their order
hf://owner/name       a data set of a hub, fetched into the cache (danlu/hub)
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.formats import FORMATS
from danlu.data.formats.opening import ending

HUB = re.compile(r"^(hf|ms):/{1,2}(?=[^/])")
PASSED = re.compile(
    r"^(readme|license|licence|notice|citation|changelog)(\.|$)|\.md$|^dataset_(infos?|dict)\.json$|^state\.json$"
    r"|_imgs\.tsv$",  # pictures beside texts, as Chinese-CLIP has them
    re.IGNORECASE,
)


def files(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files that some paths mean, each once."""
    found: dict[str, Path] = {}
    for path in paths:
        for file in meant(path):
            known = found.setdefault(os.path.realpath(file), file)
            if known is not file:
                say(f"{file}: given twice, or linked; read once")
    return list(found.values())


def meant(path: str | Path) -> list[Path]:
    """Return the files that one path means."""
    name = str(path)
    if HUB.match(name):
        from danlu.hub.fetch import fetched

        return fetched(HUB.sub(r"\1://", name), tuple(FORMATS))
    path = Path(path).expanduser()
    if path.is_dir():
        return _folder(path)
    if not path.exists() and not path.is_symlink() and glob.has_magic(name):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise UserError(f"{path}: no file is like this", "check the pattern")
        return [file for match in matches for file in (_folder(match) if match.is_dir() else [match])]
    return [path]


def _folder(folder: Path) -> list[Path]:
    """Return the files of a folder that hold rows, and say which others there are."""
    if (folder / "dataset_dict.json").is_file():
        return _splits(folder)
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _saved(folder)
    right: list[Path] = []
    others: list[Path] = []
    for file in _below(folder):
        if PASSED.search(file.name):
            continue
        (right if ending(file) else others).append(file)
    if not right:
        seen = f"; there is {', '.join(file.name for file in others[:5])}" if others else ""
        raise UserError(f"{folder}: no file in it can be read{seen}", f"one of: {', '.join(FORMATS)}")
    if others:
        names = ", ".join(str(file.relative_to(folder)) for file in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        say(f"{folder}: passed over, not files of rows: {names}{more}")
    return right


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order, hidden ones passed over."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}", "check its permissions") from None
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path


def _saved(folder: Path) -> list[Path]:
    """Return the shards of a data set that `save_to_disk` wrote, in its order."""
    state = _object(folder / "state.json")
    names = [
        str(entry.get("filename")) for entry in state.get("_data_files") or [] if isinstance(entry, dict)
    ]
    if not names:
        raise UserError(f"{folder / 'state.json'}: names no files of data", "save the data set again")
    return [folder / name for name in names]


def _splits(folder: Path) -> list[Path]:
    """Return the training part of a data set in parts."""
    splits = [str(name) for name in _object(folder / "dataset_dict.json").get("splits") or []]
    if "train" not in splits:
        known = ", ".join(splits) or "none"
        raise UserError(
            f"{folder}: has the parts {known}, no 'train'", f"name one: {folder}/{(splits or ['NAME'])[0]}"
        )
    if len(splits) > 1:
        say(f"{folder}: has the parts {', '.join(splits)}; 'train' is taken ({folder}/NAME for another)")
    return _folder(folder / "train")


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}", "save the data set again") from None
    return found if isinstance(found, dict) else {}
