"""What the engine says: one line at a time, from the first process only, to stderr and a file.

Standard output is for answers (a rendered config, a generated text); everything said on the way
goes to stderr, so that a pipe stays clean. The rank is read from the environment, which every
launcher sets (`torchrun`, `accelerate launch`, `srun`), so this floor needs no torch.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TextIO

_file: TextIO | None = None
_said: set[str] = set()


def rank() -> int:
    """Return this process's number among all, 0 when there is only one."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def say(text: str, *, every_rank: bool = False) -> None:
    """Print one line to stderr and to the run's log, from rank 0 unless `every_rank`."""
    if rank() == 0 or every_rank:
        prefix = f"[rank {rank()}] " if every_rank and rank() else ""
        print(prefix + text, file=sys.stderr, flush=True)
        record(prefix + text)


def say_once(text: str) -> None:
    """Say `text` the first time it comes up in this process, and never again."""
    if text not in _said:
        _said.add(text)
        say(text)


def attended(stream: TextIO | None = None) -> bool:
    """Return whether a stream (stderr) is seen on a terminal, be it with a launcher that listens in."""
    stream = stream or sys.stderr
    return stream.isatty() or (stream is sys.stderr and os.environ.get("DANLU_TERMINAL") == "1")


def record(text: str) -> None:
    """Write one line to the run's log only."""
    if _file is not None:
        _file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        _file.flush()


def also_to(path: Path | None) -> None:
    """From now on write what is said to the file `path` too; None closes it."""
    global _file
    if _file is not None:
        _file.close()
        _file = None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _file = path.open("a", encoding="utf-8")
