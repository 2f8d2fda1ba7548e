"""Vocabularies made larger or smaller, so that what a model has learned of a token stays true.

    add_tokens    words of a list, found in text before it is cut; around them text is cut anew
    learn_tokens  merges learned from text, after the old ones: old ids and old merges stay as they are
    trim          without the tokens that texts do not use, numbered anew in the old order

Learned tokens stand exactly for the old pieces they replace: writing those in their place gives the old
ids of any text (see merges.py). A trimmed vocabulary cuts every text as before that needs only tokens it
kept; it keeps control and added tokens, all bytes, and whatever the merges make on the way to a token.

Only byte pair encoding can learn on top of what it has: in other models each new piece would change how
everything else is cut. Words of a list can be added to any, and any can be trimmed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.tokenizer import layouts
from danlu.tokenizer.merges import learn, made_on_the_way
from danlu.tokenizer.roundtrip import SPACE_SIGN, promises
from danlu.tokenizer.spans import render
from danlu.tokenizer.tokenizer import Tokenizer
from danlu.tokenizer.train import LONGEST

CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
TURN: list[dict[str, Any]] = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
EXAMPLES: list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = [
    (TURN, None),
    ([{"role": "system", "content": "."}, *TURN], None),
    (
        [
            *TURN[:1],
            {"role": "assistant", "content": "", "reasoning_content": ".", "tool_calls": [CALL]},
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": "!", "reasoning_content": "."},
        ],
        [TOOL],
    ),
]
TOGETHER = 512  # texts encoded at once


class Extended(NamedTuple):
    """A larger vocabulary."""

    tokenizer: Tokenizer
    pieces: list[list[int]]
    """The old ids that each new token stands for; the first new token has the id of the old size."""


class Trimmed(NamedTuple):
    """A smaller vocabulary."""

    tokenizer: Tokenizer
    kept: list[int]
    """The old id of each token."""


def add_tokens(tokenizer: Tokenizer, tokens: Sequence[str], control: Sequence[str] = ()) -> Extended:
    """Return a tokenizer that also has these tokens, `control` as ones that nobody can type."""
    layout, settings = layouts.opened(tokenizer)
    known = {token["content"] for token in layout["added_tokens"]}
    new = [(text, False) for text in dict.fromkeys(tokens)] + [
        (text, True) for text in dict.fromkeys(control)
    ]
    new = [(text, special) for text, special in new if text not in known and tokenizer.token_id(text) is None]
    for number, (text, special) in enumerate(new, tokenizer.size):
        layouts.append(layout, settings, number, text, special)
    made = layouts.closed(tokenizer, layout, settings)
    for number, (text, special) in enumerate(new, tokenizer.size):
        if not special and promises(tokenizer) and made.decode([number]) != text:
            raise UserError(
                f"token {text!r}: would be shown as {made.decode([number])!r}",
                "its letters stand for bytes in this vocabulary; let it be learned from --text",
            )
    return Extended(made, [_pieces(tokenizer, text) for text, _ in new])


def _pieces(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the old ids of a word, without a space that only stands there because the text begins."""
    ids = tokenizer.encode_pieces([text], [False])[0].ids
    if len(ids) > 1 and ids[0] == tokenizer.token_id(SPACE_SIGN) and not text.startswith(" "):
        ids = ids[1:]
    if not ids:
        raise UserError(f"token {text!r}: nothing is left of it", "this vocabulary drops such signs")
    return list(ids)


def learn_tokens(tokenizer: Tokenizer, texts: Iterable[str], size: int, longest: int = LONGEST) -> Extended:
    """Return a tokenizer of `size` tokens, the new ones learned from texts and at most `longest` bytes."""
    layout, settings = layouts.opened(tokenizer)
    old = tokenizer.size
    if layout["model"]["type"] != "BPE" or layout["model"].get("continuing_subword_prefix"):
        raise UserError(
            f"{tokenizer.name}: {layout['model']['type']} cannot learn on top of what it has",
            "--tokens FILE adds words of your own to it",
        )
    if size <= old:
        raise UserError(f"size {size}: the vocabulary has {old} tokens already", f"more than {old}")
    names = [tokenizer.token_text(number) or "" for number in range(old)]
    ending = layout["model"].get("end_of_word_suffix") or ""

    def fits(text: str) -> bool:
        return layouts.length(layout, text) <= longest and (not ending or ending not in text[: -len(ending)])

    pairs = learn(_words(tokenizer, layout, texts), names, size - old, fits)
    if old + len(pairs) < size:
        raise UserError(
            f"the texts give {len(pairs)} new tokens, {size - old} were asked for",
            f"more text, or a size of {old + len(pairs)} or less",
        )
    pieces: list[list[int]] = [[number] for number in range(old)]
    for left, right in pairs:
        pieces.append(pieces[left] + pieces[right])
    layouts.append_merges(layout, [(names[left], names[right]) for left, right in pairs], old)
    return Extended(layouts.closed(tokenizer, layout, settings), pieces[old:])


def _words(tokenizer: Tokenizer, layout: dict[str, Any], texts: Iterable[str]) -> Counter[tuple[int, ...]]:
    """Return the words of texts as ids, with how often each occurs; those of one token are left out.

    A word ends where the tokenizer says so, before a sign that stands for a space, and at tokens that
    no merge may touch: added ones, the unknown one, single bytes that stand for no letter.
    """
    lonely = layouts.lonely(tokenizer, layout)
    begins = {
        number for text, number in tokenizer.vocabulary(added=False).items() if text.startswith(SPACE_SIGN)
    }
    words: Counter[tuple[int, ...]] = Counter()
    for batch in _batches(texts):
        for encoding in tokenizer.encode_pieces(batch, [True] * len(batch)):
            word: list[int] = []
            last = None
            for token, place in zip(encoding.ids, encoding.word_ids):
                if place != last or token in begins or token in lonely:
                    if len(word) > 1:
                        words[tuple(word)] += 1
                    word = []
                if token not in lonely:
                    word.append(token)
                last = place
            if len(word) > 1:
                words[tuple(word)] += 1
    return words


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


def uses(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[int]:
    """Return how often texts use each token."""
    counted: Counter[int] = Counter()
    for batch in _batches(texts):
        for ids in tokenizer.encode_many(batch):
            counted.update(ids)
    return counted


def template_texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Yield what the chat template writes of its own around a chat with thoughts, calls and results."""
    if tokenizer.template is None:
        return
    yield tokenizer.template
    for messages, tools in EXAMPLES:
        try:
            yield render(tokenizer, messages, tools, add_generation_prompt=True)
        except UserError:
            continue  # a template may know no tools, or no system


def trim(
    tokenizer: Tokenizer, used: Counter[int], size: int | None = None, always: Iterable[int] = ()
) -> Trimmed:
    """Return a tokenizer of the tokens that were used and those it cannot do without.

    With `size`, of at most that many: the most used first, then, as far as there is room, those that
    stand first in the vocabulary.
    """
    layout, settings = layouts.opened(tokenizer)
    if layout["model"].get("continuing_subword_prefix") and layout["model"]["type"] == "BPE":
        raise UserError(f"{tokenizer.name}: its merges write a prefix", "trim a vocabulary without one")
    kept = {number for number in always if number < tokenizer.size} | layouts.essential(tokenizer, layout)
    needs = _Needs(tokenizer, layout)
    for number in sorted(kept):
        kept |= needs.of(number)
    if size is not None and len(kept) > size:
        raise UserError(f"--keep {size}: {len(kept)} tokens cannot be left out", f"{len(kept)} or more")
    wanted = [number for number, _ in sorted(used.items(), key=lambda pair: (-pair[1], pair[0]))]
    if size is not None:
        wanted += sorted(set(tokenizer.vocabulary().values()) - used.keys())
    for number in wanted:
        more = needs.of(number) - kept
        if size is None or len(kept) + len(more) <= size:
            kept |= more
    order = sorted(kept)
    layouts.renumber(layout, settings, {old: new for new, old in enumerate(order)})
    return Trimmed(layouts.closed(tokenizer, layout, settings, order), order)


class _Needs:
    """Which tokens each token needs: those the merges make on the way to it."""

    def __init__(self, tokenizer: Tokenizer, layout: dict[str, Any]) -> None:
        self._tokenizer, self._model = tokenizer, layout["model"]
        self._ranks = {pair: rank for rank, pair in enumerate(layouts.pairs(layout))}
        self._added = {token["id"] for token in layout["added_tokens"]}

    def of(self, number: int) -> set[int]:
        if self._model["type"] != "BPE" or number in self._added:
            return {number}
        text = self._tokenizer.token_text(number) or ""
        parts = made_on_the_way(text, self._ranks, self._model.get("end_of_word_suffix") or "")
        found = {self._model["vocab"][part] for part in parts if part in self._model["vocab"]}
        return found | {number}
