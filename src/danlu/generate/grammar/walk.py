"""Where an answer stands in a grammar, and how many words its shortest ending has.

    State      all the places where the text so far may stand
    Place      a lexeme, its state, and the tail of what must follow it
    Tail       a node that must follow, and the tail behind it; equal tails are one object

    {"a": [1, 2          Place(number "2")  ->  Tail( "]" )  ->  Tail( "}" )  ->  end

A tail knows how few words write it from each of its first places on, so the cost of a state is that of
its places' last lexemes alone. Everything is remembered where it was found: a state its next states, a
tail its heads. So a grammar becomes, while it is used, a table.
"""

from __future__ import annotations

from danlu.generate.grammar.lexemes import Lexeme
from danlu.generate.grammar.lexemes import State as Inner
from danlu.generate.grammar.nodes import Alt, Node, Piece, Repeat, Rule, Seq
from danlu.generate.grammar.vocabulary import NEVER, WIDEST, Vocabulary

MOST_HELD = 16 << 20
"""Bytes of what a grammar remembers of its states' words (see Outlook)."""
STATE = 3000
"""Bytes of a state and its places, about."""
DEEPEST = 200
"""Brackets open at once: JSON parsers stop at about a thousand."""


class Tail:
    """What must follow: a node, then the tail behind it."""

    __slots__ = ("best", "depth", "head", "heads", "kids", "node", "parent", "places")

    def __init__(self, node: Node | None, parent: Tail | None, words: Vocabulary) -> None:
        self.node, self.parent = node, parent
        self.kids: dict[Node, Tail] = {}
        self.places: dict[tuple[Lexeme, Inner], Place] = {}
        self.heads: tuple[tuple[Place, ...], bool] | None = None
        self.depth = 0
        self.head, self.best = "", [0]
        if node is not None and parent is not None:
            self.depth = parent.depth + (1 if getattr(node, "closes", False) else 0)
            chunk = node.text or ""
            self.best = (words.best(chunk, parent.head, parent.best) + parent.best)[: WIDEST + 1]
            self.head = (chunk + parent.head)[:WIDEST]

    def push(self, node: Node, words: Vocabulary) -> Tail:
        """Return the tail of a node and then this."""
        tail = self.kids.get(node)
        if tail is None:
            tail = self.kids[node] = Tail(node, self, words)
        return tail


class Place:
    """One place in a grammar."""

    __slots__ = ("_cost", "lexeme", "state", "steps", "tail")

    def __init__(self, lexeme: Lexeme, state: Inner, tail: Tail) -> None:
        self.lexeme, self.state, self.tail = lexeme, state, tail
        self.steps: dict[str, tuple[tuple[Place, ...], bool]] = {}
        self._cost = -1

    def cost(self, words: Vocabulary) -> int:
        """Return how few words end the answer from here."""
        if self._cost < 0:
            rest = self.lexeme.rest(self.state)
            tail = self.tail
            self._cost = words.best(rest, tail.head, tail.best)[0] if rest else tail.best[0]
            if tail.depth > DEEPEST:
                self._cost = NEVER
        return self._cost


class State:
    """All places where a text may stand; `ends` says whether it may stop there."""

    __slots__ = ("_cost", "ends", "outlook", "places", "steps")

    def __init__(self, places: tuple[Place, ...], ends: bool) -> None:
        self.places, self.ends = places, ends
        self.steps: dict[str, State] = {}
        self.outlook: object = None
        self._cost = -1

    def cost(self, words: Vocabulary) -> int:
        """Return how few words end the answer from here; NEVER where it has gone astray."""
        if self._cost < 0:
            self._cost = 0 if self.ends else min((place.cost(words) for place in self.places), default=NEVER)
        return self._cost


class Walk:
    """A grammar's states, made as they are reached."""

    def __init__(self, root: Node, words: Vocabulary) -> None:
        self.words = words
        self.root = root
        self.forget()

    @property
    def size(self) -> int:
        """Bytes, about, of what is remembered."""
        return len(self.states) * STATE + self.held

    def forget(self) -> None:
        """Begin with empty tables; states in use stay what they are."""
        self.states: dict[tuple[frozenset[Place], bool], State] = {}
        self.looked: list[State] = []
        self.held = 0
        end = Tail(None, None, self.words)
        places, ends = self._heads(end.push(self.root, self.words))
        self.start = self._state(places, ends)

    def remember(self, state: State, size: int) -> None:
        """Count what a state's outlook takes; where that is too much, all others are looked for anew.

        So one long answer, each of whose words stands in another state, takes no more than many short ones.
        """
        if self.held + size > MOST_HELD:
            for other in self.looked:
                other.outlook = None
            self.looked, self.held = [], 0
        self.looked.append(state)
        self.held += size

    def after(self, state: State, word: str) -> State:
        """Return the state after a word's symbols."""
        for symbol in word:
            following = state.steps.get(symbol)
            if following is None:
                following = state.steps[symbol] = self._step(state, symbol)
            state = following
        return state

    def _step(self, state: State, symbol: str) -> State:
        places: list[Place] = []
        ends = False
        for place in state.places:
            found = place.steps.get(symbol)
            if found is None:
                found = place.steps[symbol] = self._move(place, symbol)
            places += found[0]
            ends |= found[1]
        return self._state(places, ends)

    def _move(self, place: Place, symbol: str) -> tuple[tuple[Place, ...], bool]:
        lexeme = place.lexeme
        inner = lexeme.step(place.state, symbol)
        if inner is None:
            return (), False
        here = () if lexeme.stuck(inner) else (self._place(lexeme, inner, place.tail),)
        if not lexeme.accepts(inner):
            return here, False
        places, ends = self._heads(place.tail)
        return here + places, ends

    def _state(self, places: tuple[Place, ...] | list[Place], ends: bool) -> State:
        key = frozenset(places), ends
        state = self.states.get(key)
        if state is None:
            state = self.states[key] = State(tuple(key[0]), ends)
        return state

    def _place(self, lexeme: Lexeme, inner: Inner, tail: Tail) -> Place:
        key = lexeme, inner
        place = tail.places.get(key)
        if place is None:
            place = tail.places[key] = Place(lexeme, inner, tail)
        return place

    def _heads(self, tail: Tail) -> tuple[tuple[Place, ...], bool]:
        """Return the places where a tail may begin, and whether it may be empty."""
        if tail.heads is None:
            places: dict[Place, None] = {}
            ends, todo, seen = False, [tail], {tail}
            while todo:
                here = todo.pop()
                if here.node is None:
                    ends = True
                    continue
                for following in self._opened(here, places):
                    if following not in seen:
                        seen.add(following)
                        todo.append(following)
            tail.heads = tuple(places), ends
        return tail.heads

    def _opened(self, tail: Tail, places: dict[Place, None]) -> list[Tail]:
        node, behind = tail.node, tail.parent
        assert node is not None and behind is not None
        if isinstance(node, Piece):
            places[self._place(node.lexeme, node.lexeme.start, behind)] = None
            return [behind] if node.lexeme.accepts(node.lexeme.start) else []
        if isinstance(node, Seq):
            for part in reversed(node.parts):
                behind = behind.push(part, self.words)
            return [behind]
        if isinstance(node, Alt):
            return [behind.push(option, self.words) for option in node.options if option.text is not None]
        if isinstance(node, Rule):
            assert node.body is not None
            return [behind.push(node.body, self.words)]
        assert isinstance(node, Repeat)
        more = (
            []
            if node.high == 0 or node.inner.text is None
            else [behind.push(node.fewer, self.words).push(node.inner, self.words)]
        )
        return more if node.low else [*more, behind]
