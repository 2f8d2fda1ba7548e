"""Plain state as JSON text that comes back equal: numbers, text, lists, tuples, dicts, bytes, tensors.

What JSON has no word for is written as a dict of one `$` key:

    (3, None)             {"$tuple": [3, null]}
    {1: "a"}              {"$items": [[1, "a"]]}
    b"ab"                 {"$bytes": "YWI="}
    torch.zeros(2)        {"$tensor": ["F32", [2], "AAAAAAAAAAA="]}

Small things only (a random state, a cursor); a tensor written here is not sharded. Nothing is ever
unpickled.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy
import torch

from danlu.checkpoint.index import raw, word_for
from danlu.model.disk import DTYPES


def dump(value: dict[str, Any]) -> str:
    """Return JSON text for a dictionary of plain state.

    >>> dump({"step": 3, "betas": (0.9, 0.95)})
    '{"step": 3, "betas": {"$tuple": [0.9, 0.95]}}'
    """
    return json.dumps(_encode(value, "plain"))


def parse(text: str) -> dict[str, Any]:
    """Return the dictionary that `dump` wrote.

    >>> parse(dump({"betas": (0.9, 0.95), "seen": {7: [1]}}))
    {'betas': (0.9, 0.95), 'seen': {7: [1]}}
    """
    value = _decode(json.loads(text))
    if not isinstance(value, dict):
        raise ValueError(f"holds {type(value).__name__}, not a dictionary")
    return value


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, f"{where}.{key}") for key, item in value.items()}
        return {"$items": [[_encode(k, where), _encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, torch.Tensor):
        return {"$tensor": [word_for(value.dtype), list(value.shape), base64.b64encode(raw(value)).decode()]}
    raise TypeError(f"{where}: a {type(value).__name__} is not plain state")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if tag == "$items":
        return {_decode(key): _decode(item) for key, item in value[tag]}
    if tag == "$tuple":
        return tuple(_decode(item) for item in value[tag])
    if tag == "$bytes":
        return base64.b64decode(value[tag])
    if tag == "$tensor":
        word, shape, text = value[tag]
        # numpy, since torch.frombuffer refuses an empty buffer.
        flat = torch.from_numpy(numpy.frombuffer(bytearray(base64.b64decode(text)), numpy.uint8))
        return flat.view(DTYPES[word]).reshape(shape)
    return {key: _decode(item) for key, item in value.items()}
