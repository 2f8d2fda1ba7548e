"""Names of data sets and models on a hub, and which files of a data set are meant.

hf://owner/name                   the training part of a data set
hf://owner/name@v1.0              at a revision
hf://owner/name:data/train        a folder or a file in it
ms://owner/name@master:a.jsonl    the same of the other hub
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from danlu.base.errors import UserError

FORM = re.compile(
    r"(?P<hub>hf|ms)://(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<inside>.+))?"
)
DEFAULT_REVISION = {"hf": "main", "ms": "master"}
KINDS = {"dataset": "data set", "model": "model"}
"""As the hubs' clients call them, and as people do."""
# What files and folders of each part are called; a word counts between the marks that separate words.
PARTS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev", "eval"},
    "test": {"test", "testing", "heldout"},
}


class Name(NamedTuple):
    """A data set or a model on a hub."""

    hub: str
    repo: str
    revision: str
    inside: str
    """A file or folder in it; empty for the training part of all, or for a model."""
    kind: str = "dataset"

    def __str__(self) -> str:
        return f"{self.hub}://{self.repo}@{self.revision}" + (f":{self.inside}" if self.inside else "")


class File(NamedTuple):
    """One file, as its hub lists it."""

    path: str
    size: int
    sha256: str = ""
    """Of its bytes; empty if the hub does not say."""
    git: str = ""
    """Its SHA-1 as a git blob, for small files."""


def parse(text: str, kind: str = "dataset") -> Name:
    """Return what a name means.

    >>> parse("hf://a/b@v1:data/train")
    Name(hub='hf', repo='a/b', revision='v1', inside='data/train', kind='dataset')
    """
    found = FORM.fullmatch(text.strip())
    inside = (found["inside"] or "").strip("/") if found else ""
    if not found or ".." in inside.split("/") or {found["owner"], found["name"]} & {".", ".."}:
        raise UserError(
            f"'{text}' names no {KINDS[kind]} of a hub",
            "hf://owner/name or ms://owner/name, then @revision, then :path",
        )
    hub = found["hub"]
    revision = found["revision"] or DEFAULT_REVISION[hub]
    return Name(hub, f"{found['owner']}/{found['name']}", revision, inside, kind)


def part_of(path: str) -> str:
    """Return which part of a data set a file belongs to, by its folders and its name; empty if none says.

    >>> part_of("data/train-00000-of-00002.parquet"), part_of("dev/a.jsonl"), part_of("contest.csv")
    ('train', 'validation', '')
    """
    for word in reversed(re.split(r"[/\\._\-]+", path.lower())):
        for part, words in PARTS.items():
            if word in words:
                return part
    return ""


def chosen(name: Name, files: Iterable[File], endings: tuple[str, ...]) -> tuple[list[File], str]:
    """Return the files that a name means, in order, and a line that says what was left out, if any."""
    readable = sorted(file for file in files if _is_data(file.path, endings))
    if name.inside:
        inside = [f for f in readable if f.path == name.inside or f.path.startswith(name.inside + "/")]
        if not inside:
            there = ", ".join(sorted({file.path for file in readable})[:5]) or "none that can be read"
            raise UserError(f"{name}: there is no such file or folder of data", f"there are: {there}")
        readable = inside
    if not readable:
        raise UserError(f"{name}: no files of data in it", f"one of: {', '.join(endings)}")
    parts = {part: [f for f in readable if part_of(f.path) == part] for part in PARTS}
    told = [part for part, inside in parts.items() if inside]
    if name.inside or not told:
        return readable, ""
    if not parts["train"]:
        folder = parts[told[0]][0].path
        raise UserError(
            f"{name}: has the parts {', '.join(told)}, no 'train'", f"name a file or folder: {name}:{folder}"
        )
    left = [file for file in readable if file not in parts["train"]]
    words = f"{name}: the training files are taken, {len(parts['train'])} of {len(readable)}"
    return parts["train"], words if left else ""


def _is_data(path: str, endings: tuple[str, ...]) -> bool:
    """Return whether a file holds rows, by its name; what describes the data set does not."""
    parts = path.lower().split("/")
    plain = parts[-1].removesuffix(".gz").removesuffix(".zst")
    about = (
        "readme",
        "license",
        "dataset_info",
        "dataset_dict",
        "state.json",
        "configuration.json",
        "requirements",
    )
    hidden = any(part.startswith(".") for part in parts)
    return plain.endswith(endings) and not hidden and not plain.startswith(about)
