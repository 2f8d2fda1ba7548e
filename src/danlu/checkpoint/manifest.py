"""The manifest of a checkpoint: its step, its ranks, and the size and SHA-256 of every file in it.

    step-000500/
        manifest.json              written last; a folder without it is not a checkpoint
        index.json                 which tensor lies where
        rank-00000.safetensors     what rank 0 wrote; opens as any safetensors file
        rank-00000.json            plain state of rank 0

The manifest holds its own SHA-256 and is compared with its one possible spelling, so a byte changed
anywhere in the folder is found. A file the manifest does not name is never opened.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.paths import sha256

FORMAT = 1
FILE = "manifest.json"
_HINT = "use another checkpoint"


def render(about: dict[str, Any]) -> str:
    """Return the one spelling of a manifest."""
    seal = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return json.dumps({**about, "seal": seal}, indent=1, sort_keys=True) + "\n"


def read(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's manifest says, or say why it cannot be trusted."""
    file = folder / FILE
    try:
        text = file.read_text(encoding="utf-8")
        about: dict[str, Any] = json.loads(text)
        about.pop("seal", None)
        whole = text == render(about)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {FILE}: not a whole checkpoint", "choose another step-...") from None
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read: {error}", _HINT) from None
    if not whole:
        raise UserError(f"{file}: is not as it was written", _HINT)
    if about["format"] != FORMAT:
        raise UserError(f"{file}: format {about['format']}, {FORMAT} is read here", "use a newer version")
    return about


def damage(folder: Path, rank: int = 0, ranks: int = 1) -> str | None:
    """Return what is wrong with a checkpoint, None when nothing is.

    Of `ranks` processes each reads its share of the files.
    """
    try:
        files = read(folder)["files"]
        for name, file in files.items():
            found = (folder / name).stat().st_size
            if found != file["size"]:
                return f"{name}: {found:,} bytes, {file['size']:,} were written"
        for name in sorted(files)[rank::ranks]:
            if sha256(folder / name) != files[name]["sha256"]:
                return f"{name}: its content is not what was written"
    except UserError as error:
        return error.problem
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def checked(folder: Path, name: str) -> str:
    """Return the text of one small file of a checkpoint, once it is what was written."""
    listed = read(folder)["files"].get(name)
    try:
        raw = (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"{folder / name}: cannot be read: {error.strerror}", _HINT) from None
    if listed is None or hashlib.sha256(raw).hexdigest() != listed["sha256"]:
        raise UserError(f"{folder / name}: its content is not what was written", _HINT)
    return raw.decode()
