"""Merges of byte pair encoding: learning more on top of a vocabulary, and telling what makes a token.

Merges apply in their order, so those appended after the old ones see exactly what the old ones leave:

    old merges      炼 丹 炉            three tokens, as ever
    appended        炼 丹  ->  炼丹     two: 炼丹 炉

A token is never undone and none reaches over its own ends. So the old merges cut what lies inside a
new token as they cut it standing alone, and writing its old pieces in its place gives back the old
ids, for any text.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

Pair = tuple[int, int]
LEAST = 2  # times a pair must be seen


def learn(
    words: Mapping[tuple[int, ...], int], texts: list[str], wanted: int, fits: Callable[[str], bool]
) -> list[Pair]:
    """Return the pairs of tokens most worth joining, in order; the first makes token len(texts).

    `words` are ids with their counts, `texts` the tokens of the vocabulary, to which the new ones are
    appended. `fits` says whether a new token is wanted.

    >>> learn({(0, 1, 2): 5, (0, 1): 1}, ["a", "b", "c"], 2, lambda text: True)
    [(0, 1), (3, 2)]
    """
    counted = _Counted(words)
    taken = set(texts)
    learned: list[Pair] = []
    while len(learned) < wanted:
        pair = counted.commonest()
        if pair is None:
            break
        text = texts[pair[0]] + texts[pair[1]]
        if text not in taken and fits(text):
            counted.join(pair, len(texts))
            texts.append(text)
            taken.add(text)
            learned.append(pair)
    return learned


class _Counted:
    """Words as ids, and how often each pair of neighbours occurs in them."""

    def __init__(self, words: Mapping[tuple[int, ...], int]) -> None:
        self.words, self.times = [list(word) for word in words], list(words.values())
        self.seen: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for number, word in enumerate(self.words):
            for pair in zip(word, word[1:]):
                self.seen[pair] += self.times[number]
                self.where[pair].add(number)
        self.heap = [(-count, pair) for pair, count in self.seen.items()]
        heapq.heapify(self.heap)

    def commonest(self) -> Pair | None:
        """Take out the pair that occurs most often, the one with the lower ids among equals."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if -count != self.seen[pair]:
                heapq.heappush(self.heap, (-self.seen[pair], pair))
            elif -count < LEAST:
                return None
            else:
                return pair
        return None

    def join(self, pair: Pair, made: int) -> None:
        """Write token `made` for a pair, in every word."""
        grown: set[Pair] = set()
        for number in self.where.pop(pair):
            before = self.words[number]
            after = self.words[number] = joined(before, pair, made)
            for old in zip(before, before[1:]):
                self.seen[old] -= self.times[number]
            for new in zip(after, after[1:]):
                self.seen[new] += self.times[number]
                if made in new:
                    self.where[new].add(number)
                    grown.add(new)
        for new in grown:
            heapq.heappush(self.heap, (-self.seen[new], new))


def joined(word: Sequence[int], pair: Pair, made: int) -> list[int]:
    """Return a word with one token for each occurrence of a pair, from the left.

    >>> joined([1, 1, 1, 2], (1, 1), 7)
    [7, 1, 2]
    """
    out: list[int] = []
    at = 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            out.append(made)
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out


def made_on_the_way(token: str, ranks: Mapping[tuple[str, str], int], ending: str = "") -> Iterator[str]:
    """Yield every token that the merges make on their way to this one, its letters too.

    `ending` is what marks the last letter of a word, if anything does. A token that the merges do not
    lead to yields nothing: a vocabulary that looks up whole words first has such.

    >>> list(made_on_the_way("abc", {("b", "c"): 0, ("a", "bc"): 1}))
    ['a', 'b', 'c', 'bc', 'abc']
    """
    body = token.removesuffix(ending) if ending else token
    parts = list(body)
    if body != token and parts:
        parts[-1] += ending
    found = list(parts)
    while len(parts) > 1:
        ranked = [(ranks[pair], at) for at, pair in enumerate(zip(parts, parts[1:])) if pair in ranks]
        if not ranked:
            return
        _, at = min(ranked)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        found.append(parts[at])
    yield from found
