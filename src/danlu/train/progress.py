"""The progress of a run on a terminal: two lines that stay at the bottom, and what is said scrolls above.

    pretrain_512 ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━──────────────────────  1,234/2,000  62%  12:34 left
      loss 3.4821 ▇▆▅▄▃▃▂▂▁▁   valid 3.51   1,532 tokens/s   MFU 55%   2.1 GB   lr 4.9e-04

Where there is no terminal, the same as one plain line: at the first step, at the last, and in between
at times that grow from ten seconds to a minute. The run's log gets those lines in both cases.

Lines are kept well short of the width, since some Chinese terminals draw bars and blocks twice as wide
as they claim; where the encoding is not UTF-8 (GBK) they are plain. `rich` comes with the first bar.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from danlu.base import log

BLOCKS = "▁▂▃▄▅▆▇█"
BARS = "━─"
# A furnace: from ember to flame.
EMBER, FLAME = (196, 60, 30), (255, 196, 64)
OFTEN, SELDOM = 10.0, 60.0  # seconds between plain lines, at the beginning and later
REFRESH = 0.2  # seconds between two drawings of the bar
RECENT = 50  # steps that speed and time left are taken from


class Progress(Protocol):
    """Where the rows of a run are shown."""

    def update(self, row: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


def open_progress(total_steps: int, name: str = "", stream: TextIO | None = None) -> Progress:
    """Return a bar where `stream` (stderr) is a terminal, else something that says a line now and then."""
    stream = stream or sys.stderr
    return Bar(total_steps, name, stream) if log.attended(stream) else Lines(total_steps)


class Recent:
    """The last steps of a run, and what they say of its speed."""

    def __init__(self, total_steps: int, clock: Callable[[], float]) -> None:
        self.total = total_steps
        self.row: dict[str, Any] = {}
        self.losses: list[float] = []
        self._every = 1  # steps that one of `losses` stands for
        self._clock = clock
        self._ends: deque[tuple[int, float]] = deque(maxlen=RECENT)
        self._speeds: deque[float] = deque(maxlen=RECENT)
        self._mfus: deque[float] = deque(maxlen=RECENT)

    def add(self, row: Mapping[str, Any]) -> bool:
        """Take a row in; return whether it is of a new step."""
        new = row["step"] != self.row.get("step")
        self.row = {key: value for key, value in self.row.items() if key == "valid_loss"} | dict(row)
        if not new:
            return False
        if len(self._ends) == 1:  # the first step warmed up: it says nothing of speed
            self._speeds.clear()
            self._mfus.clear()
        self._ends.append((row["step"], self._clock()))
        self._speeds += [row["tokens_per_s"]] if row.get("tokens_per_s") else []
        self._mfus += [row["mfu"]] if row.get("mfu") else []
        if row.get("loss") is not None and row["step"] % self._every == 0:
            self.losses.append(row["loss"])
            if len(self.losses) == 256:
                self.losses, self._every = self.losses[::2], self._every * 2
        return True

    def left(self) -> float | None:
        """Return the seconds until the last step, pauses for saving and measuring included."""
        (first, began), (last, ended) = self._ends[0], self._ends[-1]
        if last == first or not self.total:
            return None
        return (ended - began) / (last - first) * (self.total - last)

    def parts(self) -> list[str]:
        """Return what there is to say of the last steps, the most important first."""
        row, said = self.row, []
        if row.get("loss") is not None:
            said.append(f"loss {row['loss']:.4f}")
        if row.get("valid_loss") is not None:
            said.append(f"valid {row['valid_loss']:.4f}")
        if self._speeds:
            said.append(f"{statistics.fmean(self._speeds):,.0f} tokens/s")
        if self._mfus:
            said.append(f"MFU {statistics.fmean(self._mfus):.0%}")
        if row.get("memory"):
            said.append(size(row["memory"]))
        if row.get("lr") is not None:
            said.append(f"lr {row['lr']:.1e}")
        return said

    def line(self) -> str:
        """Return all of it as one plain line."""
        step, left = self.row["step"], self.left()
        of = f"/{self.total:,} ({step / self.total:.0%})" if self.total else ""
        rest = [f"{duration(left)} left"] if left else []
        return "  ".join([f"step {step:,}{of}", *self.parts(), *rest])


class Lines:
    """A line now and then: for files, pipes and services."""

    def __init__(
        self,
        total_steps: int,
        say: Callable[[str], None] = log.say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recent = Recent(total_steps, clock)
        self._say = say
        self._clock = clock
        self._began = clock()
        self._next = 0.0
        self._said = 0

    def update(self, row: Mapping[str, Any]) -> None:
        new = self.recent.add(row)
        now = self._clock()
        if new and (now >= self._next or row["step"] == self.recent.total):
            self._next = now + min(SELDOM, max(OFTEN, (now - self._began) / 10))
            self._said = row["step"]
            self._say(self.recent.line())

    def close(self) -> None:
        """Say where the run stood, unless that was said."""
        if self.recent.row and self._said != self.recent.row["step"]:
            self._say(self.recent.line())
        self._said = self.recent.row.get("step", 0)


class Bar:
    """Two lines at the bottom of a terminal, drawn again after a step; they never hide the cursor."""

    def __init__(
        self, total_steps: int, name: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self.recent = Recent(total_steps, clock)
        self._name = name
        self._fancy = _can_draw(stream)
        self._clock = clock
        self._drawn = float("-inf")
        self._log = Lines(total_steps, say=log.record, clock=clock)
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        # A process that is stopped for good must not leave a terminal without its cursor.
        self._console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            vertical_overflow="visible",
        )
        self._live.start()

    def update(self, row: Mapping[str, Any]) -> None:
        self.recent.add(row)
        self._log.update(row)
        now = self._clock()
        if now - self._drawn >= REFRESH or row["step"] == self.recent.total:
            self._drawn = now
            self._live.refresh()

    def close(self) -> None:
        if self._live.is_started:
            self._live.refresh()
            self._live.stop()
        self._log.close()

    def _draw(self) -> Any:
        return draw(self.recent, self._name, self._console.width, self._fancy)


def draw(recent: Recent, name: str, width: int, fancy: bool) -> Any:
    """Return the two lines as rich text, narrow enough for `width` cells."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    if not recent.row:
        return Text("waiting for the first step", style="dim")
    step, total, left = recent.row["step"], recent.total, recent.left()
    share = min(1.0, step / total) if total else 0.0
    tail = f"  {step:,}/{total:,}  {share:.0%}" if total else f"  step {step:,}"
    tail += f"  {duration(left)} left" if left else ""
    tail = tail[: width - 1]
    name = set_cell_size(name, min(cell_len(name), width // 3, width - len(tail) - 1)) + " " if name else ""
    text = Text(name, style="bold", no_wrap=True, end="")
    _bar(text, share, min(60, width - cell_len(name) - len(tail) - 1), BARS if fancy else "#-")
    text.append(tail, style="not bold")
    text.append("\n  ")
    line = ""
    for number, part in enumerate(recent.parts()):
        graph = " " + sparkline(recent.losses, 12) if fancy and number == 0 and len(recent.losses) > 1 else ""
        if cell_len(line + part + graph) + 2 * len(graph) + 5 > width:
            break
        text.append(part, style="bold" if number == 0 else "not bold")
        text.append(graph + "   ", style=f"rgb({FLAME[0]},{FLAME[1]},{FLAME[2]}) not bold")
        line += part + graph + "   "
    return text


def _bar(text: Any, share: float, room: int, signs: str) -> None:
    """Append a bar of `room` cells, glowing more the further it is."""
    done = round(share * room)
    for cell in range(room):
        glow = cell / max(1, room - 1)
        red, green, blue = (round(low + (high - low) * glow) for low, high in zip(EMBER, FLAME, strict=True))
        lit = cell < done
        text.append(
            signs[0] if lit else signs[1], style=f"rgb({red},{green},{blue})" if lit else "bright_black"
        )


def sparkline(values: list[float], width: int) -> str:
    """Return a small graph of `values`, each column the mean of its share of them.

    >>> sparkline([4.0, 3.0, 2.0, 1.0], 4)
    '█▆▃▁'
    """
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [statistics.fmean(values[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float) -> str:
    """Return a time a person can read at a glance.

    >>> duration(75), duration(3700), duration(200_000)
    ('1:15', '1:01:40', '2d 7h')
    """
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400}d {whole % 86400 // 3600}h"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def size(count: float) -> str:
    """Return bytes as a person says them.

    >>> size(2_100_000_000), size(350_000_000)
    ('2.1 GB', '350 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _can_draw(stream: TextIO) -> bool:
    """Return whether bars and blocks arrive as one cell each; GBK has them, two cells wide."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
