"""What a server counts, written as Prometheus reads it.

    # HELP danlu_requests_total Requests answered.
    # TYPE danlu_requests_total counter
    danlu_requests_total{route="/v1/chat/completions",code="200"} 12

Only the event loop writes, so nothing here needs a lock. A histogram of a single place costs one search in a
short list, which is what every token pays.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0)


class Counter:
    """A number that grows, one for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1.0, *labels: str) -> None:
        """Count."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def lines(self) -> Iterator[str]:
        """Yield one line for each combination."""
        for labels, value in self.values.items():
            yield f"{self.name}{_braces(zip(self.labels, labels))} {value:g}"


class Gauge:
    """A number as it is when somebody asks."""

    kind = "gauge"

    def __init__(self, name: str, help: str, read: Callable[[], float]) -> None:
        self.name = name
        self.help = help
        self.read = read

    def lines(self) -> Iterator[str]:
        """Yield the number."""
        yield f"{self.name} {self.read():g}"


class Histogram:
    """How many observations were at most so large."""

    kind = "histogram"

    def __init__(self, name: str, help: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.help = help
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count an observation."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self) -> Iterator[str]:
        """Yield the counts, each holding those before it, the sum and the number of observations."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts):
            total += count
            yield f'{self.name}_bucket{{le="{bound}"}} {total}'
        yield f"{self.name}_sum {self.sum:g}"
        yield f"{self.name}_count {total}"


class Meters:
    """Everything one server counts."""

    def __init__(self) -> None:
        self.requests = Counter("danlu_requests_total", "Requests answered.", ("route", "code"))
        self.prompt = Counter("danlu_prompt_tokens_total", "Tokens of prompts.")
        self.reused = Counter("danlu_reused_tokens_total", "Tokens of prompts found read already.")
        self.output = Counter("danlu_output_tokens_total", "Tokens of answers.")
        self.cancelled = Counter("danlu_cancelled_total", "Requests whose client left before the end.")
        self.first = Histogram("danlu_time_to_first_token_seconds", "From request to first token.", SECONDS)
        self.between = Histogram(
            "danlu_time_per_output_token_seconds", "From one token to the next.", TOKEN_SECONDS
        )
        self.whole = Histogram("danlu_request_seconds", "From request to the answer's end.", SECONDS)
        self.gauges: list[Gauge] = []

    def text(self) -> str:
        """Return all of it in Prometheus' text format."""
        return "".join(f"{line}\n" for meter in self._all() for line in _told(meter))

    def _all(self) -> list[Counter | Gauge | Histogram]:
        counters = [self.requests, self.prompt, self.reused, self.output, self.cancelled]
        return [*counters, *self.gauges, self.first, self.between, self.whole]


def _told(meter: Counter | Gauge | Histogram) -> Iterator[str]:
    yield f"# HELP {meter.name} {meter.help}"
    yield f"# TYPE {meter.name} {meter.kind}"
    yield from meter.lines()


def _braces(pairs: zip[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
