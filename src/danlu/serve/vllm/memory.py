"""How much memory attention's cache gets on a processor, and what length it holds.

vLLM takes a part of a card's memory by itself. On a processor it must be told, in whole GiB: enough for
`TOGETHER` texts of full length, but no more than half of what the weights leave free; or what the user says.
"""

from __future__ import annotations

import math
import os

from danlu.device import host
from danlu.device.hosting import Kind
from danlu.generate.profile import Profile
from danlu.serve.vllm.model import Model

GIB = 1 << 30
TOGETHER = 16
VARIABLE = "VLLM_CPU_KVCACHE_SPACE"


def room(kind: Kind, model: Model, wanted: Profile) -> tuple[int, dict[str, str], str]:
    """Return the length that can be served, the environment that makes room for it, and a remark."""
    if kind.pattern:
        return wanted.max_model_len, {}, ""
    if os.environ.get(VARIABLE):
        return wanted.max_model_len, {VARIABLE: os.environ[VARIABLE]}, ""
    free = max(0, host.memory() - 2 * model.weight_bytes()) // 2
    length, gib, remark = fitted(free, model.cache_bytes(1, wanted.dtype), wanted.max_model_len)
    return length, {VARIABLE: str(gib)}, remark


def fitted(free: int, token: int, length: int) -> tuple[int, int, str]:
    """Return the length of which at least one text fits into `free` bytes, the GiB to take, and a remark.

    >>> fitted(free=8 * GIB, token=16384, length=32768)
    (32768, 8, '')
    >>> fitted(free=GIB, token=65536, length=32768)
    (16384, 1, 'memory holds 16384 of 32768 tokens of a text; so long a text is served')
    """
    most = max(1, free // GIB)
    gib = min(most, max(1, math.ceil(TOGETHER * length * token / GIB)))
    holds = gib * GIB // token // 128 * 128  # vLLM hands it out in blocks of 128
    if holds >= length:
        return length, gib, ""
    return holds, gib, f"memory holds {holds} of {length} tokens of a text; so long a text is served"
