"""The files that some words mean: files, folders, patterns, and names on a hub.

data/sft.jsonl        a file
data/                 every file below that can be read, in order of names; no NAME.fixed.jsonl that
                      `danlu data check --fix` wrote beside its original
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
from danlu.data.formats import FORMATS, PACKED
from danlu.data.formats.opening import ending

HUB = re.compile(r"^(hf|ms):/{1,2}(?=[^/])")
FIXED = ".fixed.jsonl"  # what `danlu data check --fix` writes
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
    below = [file for file in _below(folder) if not PASSED.search(file.name)]
    others = [file for file in below if not ending(file)]
    right = [file for file in below if ending(file)]
    copies = {copy for file in right for copy in copies_of(file)} & set(right)
    right = [file for file in right if file not in copies]
    if not right:
        seen = f"; there is {', '.join(file.name for file in others[:5])}" if others else ""
        raise UserError(f"{folder}: no file in it can be read{seen}", f"one of: {', '.join(FORMATS)}")
    passed = {"not files of rows": others, "mended copies of others": sorted(copies)}
    told = [f"{what}: {_listed(some, folder)}" for what, some in passed.items() if some]
    if told:
        say(f"{folder}: passed over, {'; '.join(told)}")
    return right


def _listed(files: list[Path], folder: Path) -> str:
    """Return the first names of some files within a folder, and how many more there are."""
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return ", ".join(str(file.relative_to(folder)) for file in files[:5]) + more


def copies_of(file: Path) -> tuple[Path, Path]:
    """Return where a file is written mended, and where if that is taken.

    >>> [copy.name for copy in copies_of(Path("a.jsonl.gz"))]
    ['a.fixed.jsonl', 'a.jsonl.gz.fixed.jsonl']
    """
    inner = file.with_suffix("") if file.suffix in PACKED else file
    return inner.with_name(inner.stem + FIXED), file.with_name(file.name + FIXED)


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
