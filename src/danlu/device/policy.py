"""What happens where an accelerator's own operation cannot be used, and how often that was so.

    DANLU_COMPAT=fallback    the plain one computes it, in silence
    DANLU_COMPAT=warn        and one line says so (the default)
    DANLU_COMPAT=strict      the run ends instead: nobody wants to find out after a week

The plain operation is differentiable like any other, so a fall-back loses no gradient. `counts` tells for
each operation how often the accelerator's own computed it and how often the plain one did.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from danlu.base.errors import UserError, nearest
from danlu.base.log import say_once

POLICIES = ("fallback", "warn", "strict")
VARIABLE = "DANLU_COMPAT"


@dataclass
class Count:
    """How one operation fared in this process."""

    fast: int = 0
    """Times the accelerator's own computed it."""
    plain: int = 0
    """Times the plain one did, for the arguments or because the other is put aside."""
    put_aside: str = ""
    """Why the accelerator's own is not used any more."""


counts: dict[str, Count] = {}


def policy() -> str:
    """Return what is to happen, as the environment says."""
    chosen = os.environ.get(VARIABLE) or "warn"
    if chosen not in POLICIES:
        raise UserError(f"{VARIABLE}: there is no policy '{chosen}'", nearest(chosen, POLICIES))
    return chosen


def count(name: str, fast: bool) -> None:
    """Count one use of an operation that the accelerator has a version of."""
    found = counts.setdefault(name, Count())
    if fast:
        found.fast += 1
    else:
        found.plain += 1


def put_aside(name: str, kind: str, reason: str) -> None:
    """An accelerator's operation failed its trial: do as the policy says."""
    counts.setdefault(name, Count()).put_aside = reason
    chosen = policy()
    if chosen == "strict":
        raise UserError(
            f"{name} of {kind} cannot be used: {reason}", f"{VARIABLE}=warn goes on with the plain operation"
        )
    if chosen == "warn":
        say_once(f"ops: {name} of {kind} is not used: {reason}")
