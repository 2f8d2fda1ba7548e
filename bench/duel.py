"""Let several sides take turns, each in its own process, and compare their medians.

A side is a command that, for each line it reads, does one round of work and answers one line of
JSON: {"seconds": 1.2, "tokens": 11520, ...}. Its first answer, before any line, says it is ready.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Side:
    """One process that is measured."""

    name: str
    command: list[str]
    rounds: list[dict[str, float]] = field(default_factory=list)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def round(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rounds.append(self._answer())

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended early: {' '.join(self.command)}")
        return dict(json.loads(line))

    def speeds(self) -> list[float]:
        return [each["tokens"] / each["seconds"] for each in self.rounds]


def serve_rounds(work: Callable[[], dict[str, float]], **about: Any) -> None:
    """Be a side: answer every line on standard input with one timed round of `work`."""
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        result = work()
        print(json.dumps({"seconds": time.perf_counter() - began, **result}), flush=True)


def duel(sides: list[Side], rounds: int, warmup: int = 1) -> None:
    """Run `rounds` rounds of every side in turn, after `warmup` uncounted ones."""
    for side in sides:
        side.start()
    for number in range(warmup + rounds):
        for side in sides:
            side.round()
            if number < warmup:
                side.rounds.clear()
            else:
                print(f"  {side.name}: {_told(side.rounds[-1])}", file=sys.stderr, flush=True)
    for side in sides:
        side.stop()


def _told(result: dict[str, float]) -> str:
    if "flops" in result:
        return f"{result['flops'] / 1e9:,.0f} GFLOP/s"
    return f"{result['tokens'] / result['seconds']:,.0f} tokens/s"


def compare(first: Side, other: Side) -> dict[str, float]:
    """Return how many times faster `first` is than `other`, round by round."""
    return spread([a / b for a, b in zip(first.speeds(), other.speeds())])


def spread(values: list[float]) -> dict[str, float]:
    """Return the least, the middle and the greatest of some values."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def summary(side: Side) -> dict[str, Any]:
    speeds = side.speeds()
    return {
        "tokens_per_s": round(statistics.median(speeds), 1),
        "min": round(min(speeds), 1),
        "max": round(max(speeds), 1),
        **side.about,
    }
