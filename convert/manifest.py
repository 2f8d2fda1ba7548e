"""manifest.json of an export: what it was made from, as what, and the size and SHA-256 of every file.

Written last: a folder without one is no finished export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convert.reading import read_json
from danlu.base.paths import sha256

FILE = "manifest.json"
FORMAT = 1


def write(folder: Path, about: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """Write the manifest of a folder; `known` holds the hashes that were taken while writing."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": known.get(path.name) or sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != FILE
    }
    whole = {"format": FORMAT, **about, "files": files}
    (folder / FILE).write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return whole


def read(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest, nothing where there is none."""
    return read_json(folder / FILE)


def is_ours(folder: Path) -> bool:
    """Return whether a folder was made by a conversion, and made anew; a checkpoint has a manifest too."""
    return "made_by" in read(folder)


def faults(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (file, what is wrong with it) for every file that is not as it was written."""
    listed = read(folder).get("files")
    if not isinstance(listed, dict) or not all(isinstance(one, dict) for one in listed.values()):
        yield FILE, "does not list its files"
        return
    there = {path.name for path in folder.iterdir()} - {FILE}
    for name in sorted(listed.keys() - there):
        yield name, "is missing"
    for name in sorted(there - listed.keys()):
        yield name, "was not there when the folder was made"
    for name in sorted(listed.keys() & there):
        size = (folder / name).stat().st_size
        if size != listed[name].get("size"):
            yield name, f"has {size:,} bytes, {listed[name].get('size')} were written"
        elif not (folder / name).is_file() or sha256(folder / name) != listed[name].get("sha256"):
            yield name, "is not what was written: its SHA-256 differs"
