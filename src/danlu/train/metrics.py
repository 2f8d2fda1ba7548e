"""What every step measured, where programs and people look: a file, a progress bar, trackers.

`metrics.jsonl` in the run's folder holds one object a step:

    {"step": 12, "loss": 3.41, "lr": 0.0005, "tokens": 196608, "tokens_per_s": 1532.4, "mfu": 0.5512,
     "memory": 2147483648, "time": 1763700000.123, "grad_norm": 0.8}

    step          optimiser steps done
    tokens        tokens learned from since the run began, over all ranks
    tokens_per_s  of this step alone; time spent saving and measuring is not counted
    mfu           their FLOPs against the measured ceiling of all ranks; absent when either is unknown
    memory        bytes at the peak, on this rank's device
    time          seconds since 1970 when the step ended

and whatever else the step or an evaluation gave. A number that is not finite is written as null, since
JSON has none. No step stands twice: what is measured later about the same step joins its line, and a
run that goes on from an earlier step cuts the file back to it first. Only rank 0 writes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.base import log, paths
from danlu.train import trackers as tracking
from danlu.train.progress import Progress, open_progress

FILE = "metrics.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics file; a last line that was cut off is no row."""
    rows = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def label(run_dir: Path) -> str:
    """Return the name of a run: its folder's, or the one above if that only says when it began.

    >>> label(Path("runs/pretrain_512/20261121-093000")), label(Path("runs/mine"))
    ('pretrain_512', 'mine')
    """
    run_dir = run_dir.absolute()
    return run_dir.parent.name if re.fullmatch(r"[\d-]+", run_dir.name) else run_dir.name


class Metrics:
    """The measurements of one run; does nothing on ranks other than 0."""

    def __init__(
        self,
        run_dir: Path,
        trackers: Sequence[str] = (),
        total_steps: int = 0,
        flops_per_token: float | None = None,
        ceiling: float | None = None,
        start_step: int | None = None,
        *,
        memory: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        progress: Progress | None = None,
    ) -> None:
        self._ours = log.rank() == 0
        self._path = Path(run_dir) / FILE
        self._cost = flops_per_token / ceiling if flops_per_token and ceiling else None
        self._memory = memory or _peak_memory
        self._clock = clock
        self._mark = clock()
        self._row: dict[str, Any] = {}  # the last one written, which may still grow
        self._file: int | None = None
        self._begins = self._ends = 0  # where that row lies in the file
        self.tokens = 0
        self._trackers: list[tracking.Tracker] = []
        self._progress = progress
        if not self._ours:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._trackers = tracking.open_trackers(trackers, self._path.parent)
        self._progress = progress or open_progress(total_steps, label(self._path.parent))
        if start_step is not None:
            self.rewind(start_step)

    def rewind(self, step: int, tokens: int | None = None) -> None:
        """Forget every row after `step`, in one rename, so that the run can go on from there.

        `tokens` is how many were learned from until then, for a file that does not say.
        """
        self._mark = self._clock()
        if self._ours:
            self._open(step)
            self.tokens = self.tokens or tokens or 0

    def _open(self, step: int) -> None:
        self._close_file()
        rows = read(self._path) if self._path.exists() else []
        kept = [row for row in rows if row["step"] <= step]
        self.tokens = max((row["tokens"] for row in kept if "tokens" in row), default=0)
        if self._path.exists():
            paths.write_text(self._path, "".join(_line(row) for row in kept))
        self._row = {}
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        self._begins = self._ends = os.lseek(self._file, 0, os.SEEK_END)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write what `step` measured, or what is measured now about the step written last."""
        if not self._ours:
            return
        if self._file is None:
            self._open(step - 1)
        new = {key: _plain(value) for key, value in values.items()}
        if self._row.get("step") == step:
            self._row |= new
        else:
            self._row = new = self._complete(step, new)
            self._begins = self._ends
        self._write(_line(self._row).encode())
        for tracker in self._trackers:
            tracker.log(step, {key: value for key, value in new.items() if _is_number(value)})
        if self._progress is not None:
            self._progress.update(self._row)
        self._mark = self._clock()  # also leaves out an evaluation, which logs to the step before it

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leave what happens inside out of the time of a step."""
        began = self._clock()
        try:
            yield
        finally:
            self._mark += self._clock() - began

    def close(self) -> None:
        """Finish the bar, the file and the trackers; safe to call twice."""
        if self._progress is not None:
            self._progress.close()
        self._close_file()
        while self._trackers:
            self._trackers.pop().close()

    def _complete(self, step: int, values: dict[str, Any]) -> dict[str, Any]:
        """Return a new row in its usual order, with what follows from the values and the clock."""
        row = {"step": step} | {key: values.pop(key) for key in ("loss", "lr") if key in values}
        tokens = values.pop("tokens", None)
        if tokens is not None:
            self.tokens += int(tokens)
            speed = tokens / max(self._clock() - self._mark, 1e-9)
            row |= {"tokens": self.tokens, "tokens_per_s": round(speed, 2)}
            if self._cost is not None:
                row["mfu"] = round(speed * self._cost, 4)
            row["memory"] = values.pop("memory", None) or self._memory()
        return row | {"time": round(time.time(), 3)} | values

    def _write(self, line: bytes) -> None:
        """Put the last row where it belongs, over what was written of it before."""
        assert self._file is not None
        done = os.pwrite(self._file, line, self._begins)
        if done < len(line):  # a disk that fills up writes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._ends = self._begins + len(line)
        os.ftruncate(self._file, self._ends)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _peak_memory() -> int:
    from danlu.device import api  # torch, which reading metrics does not need

    return api.current().memory()["peak"]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: tensors of one number become that number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
