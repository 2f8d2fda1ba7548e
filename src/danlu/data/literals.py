"""Values that were printed by Python where JSON was meant: {'name': 'tide', 'arguments': {'now': True}}.

Data sets of calls are full of them. Read are literals alone; nothing is run, and what JSON has no word for
is refused as it would be in JSON.
"""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any

from danlu.data.rows import BadRow
from danlu.data.values import parsed


def literal(field: str, value: Any) -> Any:
    """Return what a text of JSON, or of literals of Python, holds; other values as they are.

    >>> literal("calls", "{'name': 'tide', 'now': True}")
    {'name': 'tide', 'now': True}
    """
    try:
        return parsed(field, value)
    except BadRow:
        found = printed(value)
        if found is None:
            raise
        return found


def printed(text: str) -> Any:
    """Return the value that Python printed as this text; None if there is none, or none in JSON."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            found = ast.literal_eval(text.strip())
        return json.loads(json.dumps(found, allow_nan=False))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
