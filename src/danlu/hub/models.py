"""Models of a hub by name: first what describes one, then its weights.

    hf://owner/name               a model with its tokenizer
    ms://owner/name@v1.0          the same of the other hub, at a revision
    owner/name                    of the hub that DANLU_HUB names, hf unless it is ms; a path here wins
    hf://owner/name:config.json   what describes it, without the weights

The two steps are apart so that a model that cannot be used is refused before its weights are fetched. Of
the many files such a place may hold, those are taken that say what the model is and how it reads, and one
set of weights; no code, and no format that is not read here.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from danlu.base.errors import UserError, nearest
from danlu.hub.fetch import HUBS, folder_of, obtained
from danlu.hub.names import File, Name, parse

PLAIN = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.json)(?<!\.yaml)(?<!\.yml)(@[^:\s]+)?(:config\.json)?")
SHAPE = "config.json"
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
DESCRIBING = {
    SHAPE, "generation_config.json", "run.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
    *INDEXES,
}  # fmt: skip
OURS = ("out", "runs")
"""Folders that runs write: a name in them that is not there is a slip, and no owner of a hub."""
# Ways of writing one set of weights, best first; other files beside it are the same weights once more.
WHOLE = [
    re.compile(pattern)
    for pattern in (
        r"model\.safetensors",
        r"(?!consolidated|adapter)[^/]+\.safetensors",
        r"pytorch_model\.bin",
        r"pytorch_model-\d+-of-\d+\.bin",
    )
]


def named(text: str) -> Name | None:
    """Return the model of a hub that a text names, None where it is something else: a path wins."""
    if re.match(r"(hf|ms):/", text):
        return _checked(parse(re.sub(r"^(hf|ms):/{1,2}(?=[^/])", r"\1://", text), "model"))
    if not PLAIN.fullmatch(text) or text.split("/")[0] in OURS or Path(text).exists():
        return None
    hub = os.environ.get("DANLU_HUB") or "hf"
    if hub not in HUBS:
        raise UserError(f"DANLU_HUB: there is no hub '{hub}'", nearest(hub, HUBS))
    return _checked(parse(f"{hub}://{text}", "model"))


def _checked(name: Name) -> Name:
    if name.inside not in ("", SHAPE):
        raise UserError(f"{name}: a model is taken whole, or by its {SHAPE}", str(name._replace(inside="")))
    return name


def folder(text: str) -> str:
    """Return the folder with the configuration and tokenizer of a hub's model; other text as it is."""
    name = named(text)
    return str(described(name)) if name else text


def spelt(text: str) -> str:
    """Return the name of a hub's model with hub and revision, so that it means the same elsewhere."""
    name = named(text)
    return str(name) if name else text


def described(name: Name) -> Path:
    """Return the folder of a model with everything but its weights."""
    obtained(name._replace(inside=""), "describing", lambda files: (_describing(name, files), ""))
    return folder_of(name)


def whole(name: Name) -> Path:
    """Return the folder of a model with its weights."""
    there = described(name)
    index = next((there / file for file in INDEXES if (there / file).is_file()), None)
    listed = _indexed(index) if index else None
    obtained(name, ["weights", listed], lambda files: (_weights(name, files, listed), ""))
    return there


def _describing(name: Name, files: list[File]) -> list[File]:
    found = [file for file in files if file.path in DESCRIBING]
    if not any(file.path == SHAPE for file in found):
        raise UserError(f"{name}: there is no {SHAPE} in it", f"a model; there are: {_some(files)}")
    safe = any(pattern.fullmatch(file.path) for file in files for pattern in WHOLE[:2])
    return [file for file in found if not (safe and file.path == INDEXES[1])]


def _weights(name: Name, files: list[File], listed: list[str] | None) -> list[File]:
    if listed is not None:
        found = [file for file in files if file.path in listed]
        if lacking := set(listed) - {file.path for file in found}:
            raise UserError(f"{name}: {min(lacking)} is in its index and not there", "another revision")
        return found
    for pattern in WHOLE:
        if found := [file for file in files if pattern.fullmatch(file.path)]:
            return found
    raise UserError(
        f"{name}: has no weights that are read here",
        f".safetensors or pytorch_model.bin; there are: {_some(files)}",
    )


def _indexed(index: Path) -> list[str]:
    try:
        weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({str(file) for file in weights.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: cannot be read: {error!r}", "remove it to fetch it again") from None


def _some(files: list[File]) -> str:
    return ", ".join(sorted(file.path for file in files)[:5]) or "none"
