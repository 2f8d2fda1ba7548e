"""One answer held to a grammar, word by word, so that it always ends in time.

The grammar library says which words the grammar allows. Of these only such stay as leave enough words for
the shortest ending that follows them:

    words left: 4      {"a": 1           "}" -> 0 more     ", " -> 6 more, too many     "2" -> 1 more

A stop string may still cut it short: that is for whoever set it to know.

What each word would cost is looked up once a state and kept there (`Outlook`). Of the thousands that just
continue a string no list is made: all of them together have a bound. Where room is so short that the bound
does not let them pass, those looked at one by one are what may be said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import llguidance
import numpy as np

from danlu.generate.grammar.vocabulary import NEVER, Vocabulary
from danlu.generate.grammar.walk import Place, State, Walk

ONE_BY_ONE = 4096
"""Words of a string's inside that are looked at one by one."""


@dataclass
class Outlook:
    """What the words allowed in a state would cost."""

    tokens: np.ndarray
    """Words looked at one by one."""
    costs: np.ndarray
    inside: np.ndarray | None
    """Which words just continue a string, as bits; None where none does."""
    far: int
    """No word of these costs more,"""
    near: int
    """and no plain one of these costs more than this."""
    most: int = 0
    single: tuple[np.ndarray, np.ndarray] | None = field(default=None)
    """Words of the inside and what they cost, looked at when room got short."""

    @property
    def size(self) -> int:
        """Bytes it takes to remember."""
        return self.tokens.nbytes + self.costs.nbytes + (0 if self.inside is None else self.inside.nbytes)


class Constraint:
    """One request's way through a grammar; it never leaves it, and it always ends."""

    def __init__(
        self, walk: Walk, matcher: llguidance.LLMatcher, words: Vocabulary, left: int, loose: bool
    ) -> None:
        self.left = left
        """Words that may still be said."""
        self._walk, self._matcher, self._words = walk, matcher, words
        self._state = walk.start
        self._loose = loose
        self._row = np.zeros(-(-words.size // 32), dtype=np.int32)

    @property
    def finished(self) -> bool:
        """Say whether the answer is whole and nothing may follow."""
        state = self._state
        return state.ends and (not state.places or (self.left <= 0 and not self._loose))

    def fill(self, row_bits: np.ndarray) -> None:
        """Write which words may come next: bit w % 32 of number w // 32."""
        row = self._row
        self._matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
        room = self.left - 1
        outlook = self._outlook(row)
        if room < outlook.most:
            row = self._packed(self._affordable(row, outlook, room))
        known = min(len(row), len(row_bits))  # a model may have fewer words than its tokenizer, or more
        row_bits[:known] = row[:known]
        row_bits[known:] = 0

    def accept(self, token: int) -> None:
        """Go on by the word chosen."""
        self.left -= 1
        if token in self._words.ends:
            return
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} may not follow here")
        self._state = self._walk.after(self._state, self._words.symbols[token])
        assert self._state.ends or self._state.places, f"token {token} leads out of the grammar"

    def _outlook(self, row: np.ndarray) -> Outlook:
        if self._state.outlook is None:
            self._state.outlook = outlook = self._looked(self._state, self._unpacked(row))
            self._walk.remember(self._state, outlook.size)
        assert isinstance(self._state.outlook, Outlook)
        return self._state.outlook

    def _looked(self, state: State, allowed: np.ndarray) -> Outlook:
        words = self._words
        allowed[list(words.ends)] = False
        wide = [place for place in state.places if place.lexeme.firsts(place.state) is None]
        inside = allowed & ~self._telling(state, wide) if wide else np.zeros_like(allowed)
        tokens = np.flatnonzero(allowed & ~inside)
        costs = self._costs(state, tokens)
        far = near = 0
        if inside.any():
            far = max(_ahead(place, place.lexeme.farthest) for place in wide)
            settled = all(place.lexeme.settled(place.state) for place in wide)
            near = max(_ahead(place, len(place.lexeme.rest(place.state))) for place in wide)
            near = near if settled else NEVER
        if self._loose and state.ends:
            far = near = 0  # free text may be cut anywhere
        most = max(far, int(costs.max(initial=0)))
        held = np.packbits(inside, bitorder="little") if inside.any() else None
        return Outlook(tokens.astype(np.int32), costs, held, far, near, most)

    def _telling(self, state: State, wide: list[Place]) -> np.ndarray:
        """Return the words that may do more than continue a string."""
        words = self._words
        symbols = set().union(*(place.lexeme.closers for place in wide))
        telling = np.zeros(words.size, dtype=bool)
        for symbol in symbols:
            telling |= words.containing(symbol)
        for place in state.places:
            for symbol in place.lexeme.firsts(place.state) or ():
                telling |= words.starting(symbol)
        return telling

    def _costs(self, state: State, tokens: np.ndarray) -> np.ndarray:
        walk, words = self._walk, self._words
        symbols = words.symbols
        return np.array(
            [walk.after(state, symbols[token]).cost(words) for token in tokens.tolist()], dtype=np.int32
        )

    def _affordable(self, row: np.ndarray, outlook: Outlook, room: int) -> np.ndarray:
        """Return the words after which an ending still fits."""
        words = self._words
        keep = np.zeros(words.size, dtype=bool)
        keep[outlook.tokens[outlook.costs <= room]] = True
        if outlook.inside is not None:
            self._keep_inside(keep, outlook, self._unpacked(outlook.inside), room)
        ends = list(words.ends)
        keep[ends] = self._unpacked(row)[ends]
        return keep

    def _keep_inside(self, keep: np.ndarray, outlook: Outlook, inside: np.ndarray, room: int) -> None:
        words = self._words
        if room >= outlook.far:
            keep |= inside
            return
        if room >= outlook.near:
            keep |= inside & words.plain
        if outlook.single is None:
            few = np.flatnonzero(inside)
            if len(few) > ONE_BY_ONE:
                few = np.flatnonzero(inside & words.shortest)
            outlook.single = few, self._costs(self._state, few)
        few, costs = outlook.single
        keep[few[costs <= room]] = True

    def _unpacked(self, row: np.ndarray) -> np.ndarray:
        spread = np.unpackbits(row.view(np.uint8), count=self._words.size, bitorder="little")
        return spread.view(bool)

    def _packed(self, keep: np.ndarray) -> np.ndarray:
        packed = np.zeros(len(self._row) * 4, dtype=np.uint8)
        bits = np.packbits(keep, bitorder="little")
        packed[: len(bits)] = bits
        return packed.view(np.int32)


def _ahead(place: Place, symbols: int) -> int:
    """Return a bound on the words from a place on, a word for each symbol of its lexeme's rest."""
    return symbols + place.tail.best[0]
