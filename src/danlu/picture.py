"""The picture of one run or several: three panels over the same steps.

    loss            thin: every step; thick: its running mean; circles: validation
    learning rate
    tokens / s      without the first step, which compiles and warms up

At the right, in each run's colour, the last validation loss (or loss) and the middle of all MFUs.
"""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.base.log import say

COLOURS = ("#D1495B", "#1B7F8C", "#E0A030", "#4A5FA5", "#6B9E5B", "#8A5A99", "#B5651D", "#5C6B73")
INK, FAINT = "#2B2B33", "#E4E4EA"
# Any one of these draws Chinese names.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "PingFang SC", "Heiti SC", "Microsoft YaHei", "SimHei", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
VALID = {
    "linewidth": 1,
    "linestyle": (0, (1, 2)),
    "marker": "o",
    "markersize": 5.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.5,
    "zorder": 3,
}
Rows = list[dict[str, Any]]
POINTS = 4000  # more than a picture has columns


class End(NamedTuple):
    """The height at which a line ends, and what is written there."""

    value: float
    text: str
    colour: str


def draw(curves: Sequence[Rows], names: Sequence[str], out: Path) -> None:
    """Write one picture of all runs, whole or not at all."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("plot: matplotlib is not installed", "pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with _styled(matplotlib, names), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure, axes = pyplot.subplots(
            3, 1, figsize=(10, 8), sharex=True, height_ratios=[3.2, 1, 1.2], layout="constrained"
        )
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(curves))]
        ends: list[list[End]] = [[], []]
        for rows, name, colour in zip(curves, names, colours, strict=True):
            ends[0] += _loss(axes[0], rows, name, colour)
            axes[1].plot(*_thin(*_points(rows, "lr")), color=colour, linewidth=1.6)
            ends[1] += _speed(axes[2], rows, colour)
        _finish(axes, len(curves), any("valid_loss" in row for rows in curves for row in rows))
        figure.draw_without_rendering()  # so that what is written at the ends knows where they are
        _write_ends(axes[0], ends[0])
        _write_ends(axes[2], ends[1])
        _save(figure, out)
        pyplot.close(figure)


def _styled(matplotlib: Any, names: Sequence[str]) -> AbstractContextManager[Any]:
    """Return a context with our look; a Chinese name needs a font that this host may lack."""
    from matplotlib import font_manager

    fonts = {font.name for font in font_manager.fontManager.ttflist}
    chinese = [name for name in CHINESE if name in fonts]
    if not chinese and any(ord(sign) > 0x2E80 for name in names for sign in name):
        say("plot: no Chinese font here, names show as boxes; install fonts-noto-cjk (or any of the kind)")
    look = {
        "font.family": ["DejaVu Sans", *chinese[:1]],
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "ytick.major.size": 0,
        "lines.solid_capstyle": "round",
        "lines.solid_joinstyle": "round",
        "figure.constrained_layout.w_pad": 0.12,
        "figure.constrained_layout.h_pad": 0.08,
        "savefig.dpi": 160,
        "text.parse_math": False,  # a run may be called a$b$
    }
    context: AbstractContextManager[Any] = matplotlib.rc_context(look)
    return context


def _loss(axis: Any, rows: Rows, name: str, colour: str) -> list[End]:
    steps, values = _points(rows, "loss")
    smooth = running_mean(values)
    axis.plot(*_thin(steps, values), color=colour, alpha=0.22, linewidth=0.8)
    axis.plot(*_thin(steps, smooth), color=colour, linewidth=2, label=" " + name)  # "_x" would be left out
    valid_steps, valid = _points(rows, "valid_loss")
    axis.plot(valid_steps, valid, color=colour, **VALID)
    if valid:
        return [End(valid[-1], f"{valid[-1]:.3f}", colour)]
    return [End(smooth[-1], f"{smooth[-1]:.3f}", colour)]


def _speed(axis: Any, rows: Rows, colour: str) -> list[End]:
    """Draw tokens per second without the first step, which compiles and warms up."""
    steps, values = _points(rows, "tokens_per_s")
    if len(steps) > 1:
        steps, values = steps[1:], values[1:]
    smooth = running_mean(values)
    axis.plot(*_thin(steps, values), color=colour, alpha=0.22, linewidth=0.8)
    axis.plot(*_thin(steps, smooth), color=colour, linewidth=1.6)
    used = _points(rows, "mfu")[1]
    return [End(smooth[-1], f"MFU {statistics.median(used):.0%}", colour)] if used else []


def _finish(axes: Any, runs: int, validated: bool) -> None:
    """Name the axes and their numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis, label in zip(axes, ("loss", "learning rate", "tokens / s"), strict=True):
        axis.set_title(label, loc="left", fontsize=11, fontweight="bold")
    thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axes[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes[2].yaxis.set_major_formatter(thousands)
    for axis in axes[1:]:
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(3))
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[2].xaxis.set_major_formatter(thousands)
    axes[2].set_xlabel("optimiser step")
    axes[2].margins(x=0.01)
    if validated:
        axes[0].plot([], [], color=INK, label=" validation", **VALID)
    axes[0].legend(loc="upper right", frameon=False, ncols=1 if runs < 5 else 2)


def _write_ends(axis: Any, ends: list[End]) -> None:
    """Write each line's last word in a column at the right, as near its height as the others allow."""
    ends = sorted(ends, key=lambda end: end.value)
    points = 72 / axis.figure.dpi
    heights = [axis.transData.transform((0, end.value))[1] * points for end in ends]
    for end, height, place in zip(ends, heights, apart(heights, 15.0), strict=True):
        axis.annotate(
            end.text,
            (1, end.value),
            xycoords=axis.get_yaxis_transform(),
            xytext=(6, place - height),
            textcoords="offset points",
            color=end.colour,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _save(figure: Any, out: Path) -> None:
    known = sorted(figure.canvas.get_supported_filetypes())
    if out.suffix.lstrip(".").lower() not in known:
        raise UserError(f"--out: {out}: not a kind of picture", "a name that ends in ." + ", .".join(known))
    aside = out.with_name(f".{out.stem}.writing{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(aside)
        aside.replace(out)
    except OSError as error:
        raise UserError(f"--out: {out}: {error.strerror}", "a file in a folder you may write to") from None


def _points(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of `key`, where there is one."""
    found = [(row["step"], float(row[key])) for row in rows if isinstance(row.get(key), (int, float))]
    return [step for step, _ in found], [value for _, value in found]


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[Sequence[int], Sequence[float]]:
    """Return at most POINTS of many points; the last one stays."""
    every = math.ceil(len(steps) / POINTS) or 1
    first = (len(steps) - 1) % every if steps else 0
    return steps[first::every], values[first::every]


def running_mean(values: Sequence[float]) -> list[float]:
    """Return the mean of the fiftieth of all values around each of them, less where the line begins.

    >>> running_mean([4.0, 2.0])
    [4.0, 2.0]
    """
    half = len(values) // 100
    sums = [0.0, *itertools.accumulate(values)]
    means = []
    for index in range(len(values)):
        reach = min(half, index)
        first, last = index - reach, min(len(values), index + reach + 1)
        means.append((sums[last] - sums[first]) / (last - first))
    return means


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return rising heights moved as little as it takes to be `gap` from each other.

    >>> apart([0, 0, 50], 10)
    [-5.0, 5.0, 50.0]
    """
    groups: list[tuple[float, int]] = []  # centre and size of each stack
    for height in heights:
        centre, size = float(height), 1
        while groups and centre - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            below, count = groups.pop()
            centre, size = (centre * size + below * count) / (size + count), size + count
        groups.append((centre, size))
    return [centre + gap * (place - (size - 1) / 2) for centre, size in groups for place in range(size)]


def short(value: float) -> str:
    """Return a small number as people write it.

    >>> short(0.0004), short(0.00025), short(0)
    ('4e-4', '2.5e-4', '0')
    """
    if not value:
        return "0"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
