"""What a server's last words mean when it dies, and what to do about it.

error: vLLM ended with exit code 1: the port is taken by another process
  | ... the last lines of its log
  try: --port ANOTHER; all it said: .../log.txt
"""

from __future__ import annotations

import re
from pathlib import Path

from danlu.base.errors import UserError
from danlu.device import failures

LAST = 12
"""Lines of a dead server's log that are shown."""
WIDEST = 200
READ = 1 << 18
"""Bytes at a log's end that are looked at."""
NOISE = r"nanobind|leaked|resource_tracker|warnings\.warn|^\s*$|refleaks"
"""What libraries say of themselves on their way out."""


def death(what: str, code: int, log: Path) -> UserError:
    """Return why a server died, as its log and its exit code tell, with the last lines of the log."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - READ))
        text = file.read().decode(errors="replace")
    meaning, remedy = explain(text, code)
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    last = "".join(f"\n  | {line[:WIDEST]}" for line in telling(text))
    return UserError(f"{what} ended with {ended}: {meaning}{last}", f"{remedy}; all it said: {log}")


def explain(text: str, code: int) -> tuple[str, str]:
    """Return what a log that ended like this means, and what to do.

    >>> explain("OSError: [Errno 98] Address already in use", 1)[0]
    'the port is taken by another process'
    """
    # As a shell tells it: a process that a signal ended has 128 and that signal.
    ended = f"exit code {128 - code if code < 0 else code}"
    if found := failures.explain([*failures.lines(text), ended]):
        return found[0].failure.cause(), found[0].failure.next()
    errors = re.findall(r"(?:^|[ \]])((?:\w+\.)*\w*(?:Error|Exception): .+)$", text, re.MULTILINE)
    return (errors[-1].strip() if errors else "it does not say why"), "mend what it says"


def telling(text: str) -> list[str]:
    """Return the last lines of a log that say something."""
    return [line for line in text.splitlines() if not re.search(NOISE, line)][-LAST:]
