"""Keys and values of tokens already read, so that each is computed once.

One slot a request. A slot's tokens lie at their own positions, from 0, whatever the other slots
hold; a shorter row has free room on its right, never padding on its left:

    slot 0   a a a a a . . .     lengths 5 3 7
    slot 1   b b b . . . . .
    slot 2   c c c c c c c .     one block after another is added when the longest needs it

A forward over rows 0..B-1 goes

    cache.begin(rows, counts, width)    where each row's new tokens go: behind those it has
    model(tokens_BT, cache.positions(), layout=cache.layout(), cache=cache)
    cache.end()                         now they count

and the decoder calls `append` in each layer. Rows with fewer new tokens than `width` are filled up
on the right; what is written for the filling lies beyond the row's length and is written over.
The first `append` decides dtype, device and shape of a layer, so any decoder can use it.

A slot's tokens lie head by head, [R, K, S, D]: whoever asks sees [R, S, K, D] all the same.

Letters: B rows, T new tokens, S tokens seen, K key/value heads, D their width, R slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from danlu.device.ops import Layout


class Cache:
    """Slots of keys and values, growing together by whole blocks up to `max_len` tokens."""

    def __init__(self, slots: int, max_len: int, block: int = 256) -> None:
        self.slots = slots
        self.max_len = max_len
        self.block = block
        self.lengths = [0] * slots
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._written = [0] * slots
        """Tokens of each slot that hold something, fillings included."""
        self._rows: list[int] = []
        self._place: slice | Tensor = slice(0, 0)
        """The same, as a store is indexed by."""
        self._counts: list[int] = []
        self._starts: list[int] = []
        self._width = 0
        self._index: tuple[slice | Tensor, slice | Tensor] = (slice(0, 0), slice(0, 0))
        """Where a store takes the new tokens: slots, and places in them."""
        self._texts: list[int] = []
        self._positions_BT = torch.empty(0, 0, dtype=torch.int64)

    def begin(
        self,
        rows: int | Sequence[int],
        counts: Sequence[int],
        width: int,
        device: torch.device | str = "cpu",
        texts: Sequence[int] | None = None,
    ) -> None:
        """Announce a forward of `counts[i]` new tokens in slot `rows[i]`, filled up to `width`.

        One number stands for the slots from it on. `texts` says how long each row's text is where more of
        it is known than is read by now.
        """
        self._rows = list(range(rows, rows + len(counts))) if isinstance(rows, int) else list(rows)
        first = self._rows[0]
        in_a_run = self._rows == list(range(first, first + len(counts)))
        self._place = (
            slice(first, first + len(counts)) if in_a_run else torch.tensor(self._rows, device=device)
        )
        self._counts = list(counts)
        self._starts = [self.lengths[row] for row in self._rows]
        self._width = width
        ends = [start + count for start, count in zip(self._starts, counts)]
        self._texts = list(texts or ends)
        longest = max(ends)
        assert longest <= self.max_len, f"{longest} tokens in a cache of {self.max_len}"
        for row, start in zip(self._rows, self._starts):
            self._written[row] = max(self._written[row], start + width)
        starts_B = torch.tensor(self._starts, device=device)
        self._positions_BT = starts_B[:, None] + torch.arange(width, device=device)
        start = self._starts[0]
        if all(other == start for other in self._starts):
            self._index = self._place, slice(start, start + width)
        else:
            self._index = torch.tensor(self._rows, device=device)[:, None], self._positions_BT

    def end(self) -> None:
        """Count the tokens of the forward just done."""
        for row, start, count in zip(self._rows, self._starts, self._counts):
            self.lengths[row] = start + count

    def positions(self) -> Tensor:
        """Return each new token's place in its own sequence.

        Of the filling none lies beyond `max_len`: a model may have no place there.
        """
        return self._positions_BT.clamp(max=self.max_len - 1)

    def layout(self) -> Layout:
        """Return what each new token may see: everything in its row up to itself."""
        if not any(self._starts):
            return Layout(longest=self._width, lengths=self._texts)
        seen = torch.arange(self._seen(), device=self._positions_BT.device)
        mask_BTS = seen <= self._positions_BT[:, :, None]
        return Layout(longest=len(seen), mask_BTS=mask_BTS, lengths=self._texts)

    def append(self, layer: int, k_BTKD: Tensor, v_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's new keys and values; return all that its rows have had, new ones included."""
        keys_RSKD = self._keys[layer] = self._roomy(self._keys.get(layer), k_BTKD)
        values_RSKD = self._values[layer] = self._roomy(self._values.get(layer), v_BTKD)
        seen = self._put(keys_RSKD, k_BTKD), self._put(values_RSKD, v_BTKD)
        return seen if any(self._starts) else (k_BTKD, v_BTKD)

    def swap(self, one: int, other: int) -> None:
        """Let two slots exchange their sequences."""
        size = max(self._written[one], self._written[other])
        for held_RSKD in self._stores():
            kept_SKD = held_RSKD[one, :size].clone()
            held_RSKD[one, :size] = held_RSKD[other, :size]
            held_RSKD[other, :size] = kept_SKD
        for told in (self.lengths, self._written):
            told[one], told[other] = told[other], told[one]

    def copy(self, source: int, target: int, length: int) -> None:
        """Give a slot the first tokens of another one's sequence; its own is forgotten."""
        for held_RSKD in self._stores():
            held_RSKD[target, :length] = held_RSKD[source, :length]
        self.lengths[target] = length
        self._written[target] = max(self._written[target], length)

    def keep(self, slot: int, length: int) -> None:
        """Forget a slot's sequence but for its first tokens.

        Zeros in place of the rest keep a number that overflowed in it from reaching the next sequence.
        """
        for held_RSKD in self._stores():
            held_RSKD[slot, length : self._written[slot]] = 0
        self.lengths[slot] = self._written[slot] = length

    def reset(self, slot: int) -> None:
        """Forget a slot's sequence."""
        self.keep(slot, 0)

    def _stores(self) -> Iterator[Tensor]:
        yield from self._keys.values()
        yield from self._values.values()

    def _seen(self) -> int:
        return max(self._starts) + self._width

    def _put(self, held_RSKD: Tensor, new_BTKD: Tensor) -> Tensor:
        held_RSKD[self._index] = new_BTKD
        return held_RSKD[self._place, : self._seen()]

    def _roomy(self, held_RSKD: Tensor | None, like_BTKD: Tensor) -> Tensor:
        """Return a layer's store with room for the forward announced, grown if it must be."""
        need, have = self._seen(), 0 if held_RSKD is None else held_RSKD.shape[1]
        if held_RSKD is not None and need <= have:
            return held_RSKD
        # Growing by half keeps the copying linear in the length reached.
        room = max(need, min(have + have // 2, self.max_len))
        room = -(-room // self.block) * self.block
        K, D = like_BTKD.shape[2:]
        grown_RSKD = like_BTKD.new_zeros(self.slots, K, room, D).transpose(1, 2)
        if held_RSKD is not None:
            grown_RSKD[:, :have] = held_RSKD
        return grown_RSKD
