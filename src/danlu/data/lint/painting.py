"""A view as text to look at: what is learned in colour, or without colours between marks.

    ‹<|im_start|>›assistant↵
    ⟦yes‹<|im_end|>›⟧

Signs of these marks that stand in the text itself are shown by their number, so that none is confused
with a mark; so are characters that cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from danlu.data.lint.characters import UNSEEN
from danlu.data.lint.view import View, runs
from danlu.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import rich.text

MARKS = "⟦⟧‹›⟪⟫✂·"
SHOWN = {"\n": "↵\n", "\r": "␍", "\t": "⇥", "\xa0": "<U+00A0>", "\ufffd": "<U+FFFD>"}
SHOWN |= {mark: f"<U+{ord(mark):04X}>" for mark in MARKS}
TABLE = str.maketrans(SHOWN)
LEGEND = "⟦learned⟧  ⟦×2:counts twice⟧  ‹control token›  ⟪not read⟫  ✂ cut into two samples"


class Stroke(NamedTuple):
    """A piece of text to be shown in one manner."""

    text: str
    weight: float
    read: bool
    control: bool
    cut: bool
    """Whether a sample ends with its first token and the next begins there."""
    ids: tuple[int, ...]


def visible(text: str) -> str:
    """Return a text with what cannot be seen made visible.

    >>> visible("a\\x00b\\u200b‹")
    'a<U+0000>b<U+200B><U+2039>'
    """
    seen = text.translate(TABLE)
    return UNSEEN.sub(lambda sign: f"<U+{ord(sign[0]):04X}>", seen)


def strokes(view: View, tokenizer: Tokenizer) -> Iterator[Stroke]:
    """Yield a view token by token."""
    starts = set(view.starts)
    for run in runs(view, tokenizer):
        last = run.last - 1
        cut = not starts.isdisjoint(range(run.first, run.last))
        ids = tuple(view.ids[run.first : run.last].tolist())
        yield Stroke(
            visible(run.text), float(view.weights[last]), bool(view.read[last]), run.control, cut, ids
        )


def marked(view: View, tokenizer: Tokenizer, tokens: bool = False) -> str:
    """Return a view as plain text with marks."""
    out: list[str] = []
    begun = ended = ""
    for number, stroke in enumerate(strokes(view, tokenizer)):
        begin, end = _marks(stroke)
        if begin != begun:
            out += [ended, begin]
        elif tokens and number:
            out.append("·")
        begun, ended = begin, end
        out += ["✂"] * stroke.cut + [f"‹{stroke.text}›" if stroke.control else stroke.text]
    return "".join([*out, ended])


def _marks(stroke: Stroke) -> tuple[str, str]:
    """Return what stands around tokens of this manner."""
    if not stroke.read:
        return "⟪", "⟫"
    if not stroke.weight:
        return "", ""
    return "⟦" if stroke.weight == 1 else f"⟦×{stroke.weight:g}:", "⟧"


def painted(view: View, tokenizer: Tokenizer, tokens: bool = False) -> rich.text.Text:
    """Return a view in colours."""
    from rich.text import Text

    out = Text()
    weight = 0.0
    for number, stroke in enumerate(strokes(view, tokenizer)):
        if stroke.cut:
            out.append("✂", "bold red")
        if tokens and number:
            out.append("·", "red")
        if stroke.weight not in (0, 1, weight):
            out.append(f"×{stroke.weight:g}", "bold yellow")
        weight = stroke.weight
        out.append(stroke.text, _style(stroke))
    return out


def _style(stroke: Stroke) -> str:
    if not stroke.read:
        return "dim strike"
    if stroke.weight:
        ground = "on dark_green" if stroke.weight == 1 else "on dark_goldenrod"
        return f"{'bold cyan' if stroke.control else 'white'} {ground}"
    return "cyan" if stroke.control else "dim"


def listed(view: View, tokenizer: Tokenizer) -> str:
    """Return the ids of a view, each with what it says: `12 yes`, or `7+9 字` for two that share a sign."""
    return " | ".join(
        "+".join(map(str, stroke.ids)) + " " + stroke.text.replace("\n", "")
        for stroke in strokes(view, tokenizer)
    )
