"""Small files that may be missing or broken."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, nothing where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise
            raise UserError(f"{path}: cannot be read: {error}", "mend it, or convert anew") from None
        return found if isinstance(found, dict) else {}
    return {}
