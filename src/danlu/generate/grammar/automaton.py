"""Automata over bytes that know, in every state, the shortest way to an accepted end.

    a[bc]*  ->  rows  0: a 1    1: b 1, c 1       accepting 1       far 1 0

An expression becomes a nondeterministic automaton (Thompson), that one a deterministic table by subsets of
its states. Two tables may be multiplied (`both` must accept), and what one accepts taken from another's
(`excluding`). Then the table is walked backwards from its accepting states: states that reach none are cut
off, the others keep which byte leads on and how far it is.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextvars import ContextVar

from danlu.base.errors import UserError
from danlu.generate.grammar.regex import Cat, Chars, Or, Regex, Rep, utf8

MOST_STATES = 6000
MOST_PARTS = 60_000
MOST_WORK = 20_000_000
"""Ways looked at for all automata of one grammar: some seconds."""

Row = dict[int, int]


class TooComplex(UserError):
    """An expression whose automaton would be too large."""

    def __init__(self, problem: str = f"a pattern or length needs more than {MOST_STATES} states") -> None:
        super().__init__(problem, "make it simpler or bound it less")


_left: ContextVar[list[int] | None] = ContextVar("work left", default=None)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let the automata built inside take `MOST_WORK` together, lest many costly ones take for ever."""
    before = _left.set([MOST_WORK])
    try:
        yield
    finally:
        _left.reset(before)


def _spend(work: int) -> None:
    left = _left.get()
    if left is not None:
        left[0] -= work
        if left[0] < 0:
            raise TooComplex("the patterns and lists of the schema are too costly together")


class Automaton:
    """A deterministic automaton: `rows[state][byte]` is the next state."""

    def __init__(self, rows: list[Row], accepting: set[int]) -> None:
        ways: list[list[tuple[int, int]]] = [[] for _ in rows]
        for state, row in enumerate(rows):
            for byte, after in row.items():
                ways[after].append((byte, state))
        self.far = [-1] * len(rows)
        """Bytes to the nearest accepted end, -1 where there is none."""
        self.on = [-1] * len(rows)
        """The byte that leads there."""
        queue = deque(sorted(accepting))
        for state in accepting:
            self.far[state] = 0
        while queue:
            after = queue.popleft()
            for byte, state in sorted(ways[after], key=_pleasant):
                if self.far[state] < 0:
                    self.far[state], self.on[state] = self.far[after] + 1, byte
                    queue.append(state)
        self.rows = [
            {byte: after for byte, after in row.items() if self.far[after] >= 0}
            if self.far[state] >= 0
            else {}
            for state, row in enumerate(rows)
        ]
        self.accepting = accepting
        self.farthest = max(self.far)

    @property
    def empty(self) -> bool:
        """Whether nothing at all is accepted."""
        return self.far[0] < 0

    def shortest(self, state: int) -> str:
        """Return the bytes, as a string of code points below 256, of the shortest way to an end."""
        out = []
        while self.far[state] > 0:
            out.append(self.on[state])
            state = self.rows[state][self.on[state]]
        return "".join(map(chr, out))

    def accepts(self, text: bytes) -> bool:
        """Return whether a whole text is accepted."""
        state = 0
        for byte in text:
            if byte not in self.rows[state]:
                return False
            state = self.rows[state][byte]
        return state in self.accepting


def _pleasant(way: tuple[int, int]) -> tuple[bool, int, int]:
    byte, state = way
    return not 97 <= byte <= 122, byte, state  # a letter where one will do


class _Parts:
    """The nondeterministic automaton under way."""

    def __init__(self) -> None:
        self.silent: list[list[int]] = []
        self.moves: list[list[tuple[int, int, int]]] = []
        self.added = 0

    def new(self) -> int:
        if len(self.silent) >= MOST_PARTS:
            raise TooComplex()
        _spend(20)
        self.silent.append([])
        self.moves.append([])
        return len(self.silent) - 1

    def add(self, expression: Regex, start: int) -> int:
        """Hang an expression on a state; return the state in which it ends."""
        self.added += 1
        if self.added > MOST_PARTS:
            raise TooComplex()
        if isinstance(expression, Cat):
            for part in expression.parts:
                start = self.add(part, start)
            return start
        if isinstance(expression, Chars):
            return self._chars(expression, start)
        end = self.new()
        if isinstance(expression, Or):
            for option in expression.options:
                begin = self.new()
                self.silent[start].append(begin)
                self.silent[self.add(option, begin)].append(end)
            return end
        return self._repeat(expression, start, end)

    def _chars(self, expression: Chars, start: int) -> int:
        end = self.new()
        tails: dict[tuple[tuple[int, int], ...], int] = {(): end}
        for low, high in expression.ranges:
            for run in utf8(low, high):
                self.moves[start].append((*run[0], self._tail(tuple(run[1:]), tails)))
        return end

    def _tail(self, run: tuple[tuple[int, int], ...], tails: dict[tuple[tuple[int, int], ...], int]) -> int:
        if run not in tails:
            after = self._tail(run[1:], tails)
            tails[run] = self.new()
            self.moves[tails[run]].append((*run[0], after))
        return tails[run]

    def _repeat(self, expression: Rep, start: int, end: int) -> int:
        for _ in range(expression.low):
            start = self.add(expression.inner, start)
        if expression.high is None:
            loop = self.new()
            self.silent[start].append(loop)
            self.silent[self.add(expression.inner, loop)].append(loop)
            self.silent[loop].append(end)
            return end
        for _ in range(expression.high - expression.low):
            self.silent[start].append(end)
            begin = self.new()
            self.silent[start].append(begin)
            start = self.add(expression.inner, begin)
        self.silent[start].append(end)
        return end

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        seen, todo = set(states), list(states)
        while todo:
            for after in self.silent[todo.pop()]:
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        return frozenset(state for state in seen if self.moves[state] or not self.silent[state])


def build(expression: Regex, lazy: bool = False) -> Automaton:
    """Return the automaton of an expression; a lazy one stops at the first end it can have."""
    parts = _Parts()
    start = parts.new()
    end = parts.add(expression, start)
    final = parts.new()  # has neither moves nor silent ways, so that no closure loses it
    parts.silent[end].append(final)

    def after(states: frozenset[int]) -> Iterable[tuple[range, frozenset[int]]]:
        if lazy and final in states:
            return
        moves = [move for state in states for move in parts.moves[state]]
        cuts = sorted({cut for low, high, _ in moves for cut in (low, high + 1)})
        _spend(len(moves) * len(cuts) + 50 * len(cuts))
        for low, high in zip(cuts, cuts[1:]):
            reached = frozenset(to for a, b, to in moves if a <= low and high - 1 <= b)
            if reached:
                yield range(low, high), parts.closed(reached)

    return explore(parts.closed([start]), after, lambda states: final in states)


def explore(
    start: Hashable,
    after: Callable[..., Iterable[tuple[Iterable[int], Hashable]]],
    accepts: Callable[..., bool],
) -> Automaton:
    """Return the table of all states reached from `start`."""
    number: dict[Hashable, int] = {start: 0}
    todo, rows = [start], []
    for state in todo:
        row: Row = {}
        for bytes_, following in after(state):
            if following not in number:
                if len(number) >= MOST_STATES:
                    raise TooComplex()
                number[following] = len(number)
                todo.append(following)
            row.update(dict.fromkeys(bytes_, number[following]))
        _spend(20 * len(row))
        rows.append(row)
    return Automaton(rows, {number[state] for state in todo if accepts(state)})


def both(one: Automaton, other: Automaton) -> Automaton:
    """Return the automaton of what both accept."""

    def after(pair: tuple[int, int]) -> Iterable[tuple[Iterable[int], Hashable]]:
        left, right = one.rows[pair[0]], other.rows[pair[1]]
        for byte in left.keys() & right.keys():
            yield (byte,), (left[byte], right[byte])

    return explore((0, 0), after, lambda pair: pair[0] in one.accepting and pair[1] in other.accepting)


def excluding(one: Automaton, other: Automaton) -> Automaton:
    """Return the automaton of what the first accepts and the second does not."""

    def after(pair: tuple[int, int]) -> Iterable[tuple[Iterable[int], Hashable]]:
        right = other.rows[pair[1]] if pair[1] >= 0 else {}
        for byte, state in one.rows[pair[0]].items():
            yield (byte,), (state, right.get(byte, -1))

    return explore((0, 0), after, lambda pair: pair[0] in one.accepting and pair[1] not in other.accepting)
