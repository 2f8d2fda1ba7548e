"""A grammar as a tree of nodes, with the shortest text each can be.

    Piece(lexeme)   Seq(parts)   Alt(options)   Repeat(inner, low, high)   Rule(name, body)

A rule's body may hold the rule itself. `settle` finds every node's shortest text by going round until
nothing gets shorter; a rule that never gets one (it always needs another of itself) cannot be said at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from danlu.base.errors import UserError
from danlu.generate.grammar.lexemes import Lexeme, Literal

LONGEST = 10_000
"""Bytes of a shortest text, at most: beyond it no budget would ever suffice."""

NESTED = 1000
"""Nodes within nodes, at most: the library goes down them on the stack, which has an end."""

Count = Callable[[str], int]


class Node:
    """One node: `text` is its shortest text once settled, None while there is none."""

    text: str | None = None
    weight = 0

    def parts_of(self) -> Sequence[Node]:
        """Return the nodes it is made of."""
        return ()

    def weigh(self, count: Count) -> tuple[int, str] | None:
        """Return tokens (about) and text of its shortest text, from what its parts have by now."""
        raise NotImplementedError


class Piece(Node):
    """One lexeme."""

    def __init__(self, lexeme: Lexeme) -> None:
        self.lexeme = lexeme

    def weigh(self, count: Count) -> tuple[int, str] | None:
        text = self.lexeme.rest(self.lexeme.start)
        return count(text), text


class Seq(Node):
    """Some nodes, one after another."""

    def __init__(self, *parts: Node) -> None:
        self.parts = parts

    def parts_of(self) -> Sequence[Node]:
        return self.parts

    def weigh(self, count: Count) -> tuple[int, str] | None:
        if any(part.text is None for part in self.parts):
            return None
        return sum(part.weight for part in self.parts), "".join(part.text or "" for part in self.parts)


class Alt(Node):
    """One of some nodes."""

    def __init__(self, *options: Node) -> None:
        self.options = options

    def parts_of(self) -> Sequence[Node]:
        return self.options

    def weigh(self, count: Count) -> tuple[int, str] | None:
        able = [(option.weight, option.text) for option in self.options if option.text is not None]
        return min(able, key=lambda pair: (pair[0], len(pair[1])), default=None)


class Repeat(Node):
    """The same node, `low` to `high` times; None is without end."""

    def __init__(self, inner: Node, low: int, high: int | None) -> None:
        self.inner, self.low, self.high = inner, low, high
        self._fewer: Repeat | None = None

    def parts_of(self) -> Sequence[Node]:
        return (self.inner,)

    def weigh(self, count: Count) -> tuple[int, str] | None:
        if self.low == 0:
            return 0, ""
        if self.inner.text is None or len(self.inner.text) * self.low > LONGEST:
            return None
        return self.inner.weight * self.low, self.inner.text * self.low

    @property
    def fewer(self) -> Repeat:
        """What is left once it was said one time."""
        if self.low == 0 and self.high is None:
            return self
        if self._fewer is None:
            high = None if self.high is None else self.high - 1
            self._fewer = Repeat(self.inner, max(0, self.low - 1), high)
            self._fewer.text = (self.inner.text or "") * self._fewer.low
        return self._fewer


class Rule(Node):
    """A node with a name, so that it can stand within itself."""

    def __init__(self, name: str, body: Node | None = None) -> None:
        self.name = name
        self.body = body

    def parts_of(self) -> Sequence[Node]:
        return () if self.body is None else (self.body,)

    def weigh(self, count: Count) -> tuple[int, str] | None:
        return None if self.body is None or self.body.text is None else (self.body.weight, self.body.text)


NONE = Seq()


def text(value: str) -> Node:
    """Return the node of a fixed text."""
    return Piece(Literal(value)) if value else NONE


def optional(node: Node) -> Node:
    """Return a node that may be left out."""
    return Repeat(node, 0, 1)


def listed(item: Node, comma: Node, low: int, high: int | None) -> Node:
    """Return `low` to `high` items with commas between them."""
    if high == 0:
        return NONE
    more = Repeat(Seq(comma, item), max(0, low - 1), None if high is None else high - 1)
    whole = Seq(item, more)
    return whole if low else optional(whole)


def every(root: Node) -> Iterator[Node]:
    """Yield all nodes below a root, parts before wholes as far as they are not within themselves."""
    seen, stack = {id(root)}, [(root, iter(root.parts_of()))]
    while stack:
        node, parts = stack[-1]
        part = next(parts, None)
        if part is None:
            stack.pop()
            yield node
        elif id(part) not in seen:
            if len(stack) >= NESTED:
                raise UserError("the schema is too deep, or has too many optional parts in a row", "split it")
            seen.add(id(part))
            stack.append((part, iter(part.parts_of())))


def settle(root: Node, count: Count) -> None:
    """Give every node its shortest text."""
    nodes = list(every(root))
    changed = True
    while changed:
        changed = False
        for node in nodes:
            found = node.weigh(count)
            if found is None or len(found[1]) > LONGEST:
                continue
            if node.text is None or found[0] < node.weight:
                node.weight, node.text = found
                changed = True
    # A text is made of its parts' texts as they are now: an equal weight may have another text.
    for _ in range(2):
        for node in nodes:
            found = node.weigh(count)
            if found is not None and node.text is not None and found[0] == node.weight:
                node.text = found[1]
