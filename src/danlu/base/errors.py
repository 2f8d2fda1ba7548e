"""Words for errors.

`UserError` is for what a user can mend: the command line prints two lines and exits with 2, no
traceback. Everything that is our own mistake is an `assert` or an ordinary exception.

    error: configs/dpo.yaml: optim.lrr: unknown key
      try: did you mean 'optim.lr'?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: what is wrong and the value found, then what to do."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"error: {self.problem}" + (f"\n  try: {self.hint}" if self.hint else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word closest to `word`, or all of them.

    >>> nearest("optim.lrr", ["optim.lr", "seed"])
    "did you mean 'optim.lr'?"
    >>> nearest("zzz", ["a", "b"])
    'one of: a, b'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "one of: " + ", ".join(known)


def pick(kind: str, word: str, known: Iterable[str]) -> str:
    """Return `word` if it is one of `known`; otherwise raise an error that names the known ones."""
    known = list(known)
    if word not in known:
        raise UserError(f"there is no {kind} '{word}'", nearest(word, known))
    return word
