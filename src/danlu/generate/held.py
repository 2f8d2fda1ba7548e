"""What the slots of a cache hold, so that a prompt is not read twice.

A slot keeps its text after the answer is done. A new prompt goes on from the longest beginning it
shares with any slot, busy or not:

    slot 0   [system] [question 1] [answer 1]            done
    slot 1   [system] [question 2] [ans                  busy
    prompt   [system] [question 1] [answer 1] [more]     takes slot 0 over, and reads [more] alone
    prompt   [system] [question 3]                       gets a copy of [system] in the slot used longest ago

Only what was computed the same way is shared: with the same adapter, and turned by the same rotary
frequencies, which for some models depend on how long the text is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from danlu.generate.cache import Cache
from danlu.model.shape import ModelConfig

LEAST = 16
"""Tokens below which sharing is not worth a copy."""
ALL_BUT = 0.5
"""A slot is taken over, rather than copied from, if the prompt goes on from this share of its text."""


@dataclass(eq=False)
class Held:
    """One slot's text: as many of `tokens` as the cache has; and how it was computed."""

    tokens: Sequence[int] = field(default_factory=list)
    way: tuple[object, ...] | None = None
    """None: not to be shared."""
    used: int = 0


def way(cfg: ModelConfig, adapter: object, length: int) -> tuple[object, ...] | None:
    """Return how a text of this length is computed; texts of one way share their beginnings."""
    scaling = cfg.rope_scaling
    if scaling is not None and scaling.rope_type == "dynamic":
        return (adapter,) if length <= cfg.max_position_embeddings else None
    if scaling is not None and scaling.rope_type == "longrope":
        return adapter, length > (scaling.original_max_position_embeddings or 0)
    return (adapter,)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike.

    >>> common([1, 2, 3, 4], [1, 2, 5])
    2
    """
    same, end = 0, min(len(one), len(other))
    while same < end:
        middle = (same + end + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same


class Slots:
    """Who holds what, and which slot a new prompt gets."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.held = [Held() for _ in range(cache.slots)]
        self._clock = 0

    def place(self, prompt: Sequence[int], way: tuple[object, ...] | None, free: Collection[int]) -> int:
        """Give a prompt one of the free slots, its beginning in it where known; return which."""
        source, shared = self.find(prompt, way)
        others = [slot for slot in free if not shared or slot != source] or free
        slot = min(others, key=lambda slot: self.held[slot].used)
        if shared and source in free and shared >= ALL_BUT * self.cache.lengths[source]:
            slot = source
        elif shared and source != slot:
            self.cache.copy(source, slot, shared)
        self.cache.keep(slot, shared)
        self.take(slot, prompt, way)
        return slot

    def find(self, prompt: Sequence[int], way: tuple[object, ...] | None) -> tuple[int, int]:
        """Return the slot that shares the longest beginning with a prompt, and its length, or 0."""
        best, longest = 0, 0
        for slot, held in enumerate(self.held):
            if way is None or held.way != way:
                continue
            # The last token is always read: what the model makes of it is not kept.
            most = min(self.cache.lengths[slot], len(prompt) - 1)
            shared = min(common(held.tokens[:most], prompt[:most]), most) if most > longest else 0
            if shared > longest:
                best, longest = slot, shared
        return (best, longest) if longest >= LEAST else (0, 0)

    def take(self, slot: int, tokens: Sequence[int], way: tuple[object, ...] | None) -> None:
        """Say whose text a slot holds from now on; `tokens` may grow."""
        self._clock += 1
        self.held[slot] = Held(tokens, way, self._clock)

    def leave(self, slot: int) -> None:
        """Say that a slot's request is done."""
        self._clock += 1
        self.held[slot].used = self._clock

    def swap(self, one: int, other: int) -> None:
        """Let two slots exchange what they hold."""
        self.cache.swap(one, other)
        self.held[one], self.held[other] = self.held[other], self.held[one]
