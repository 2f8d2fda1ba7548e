"""How `danlu eval tools` looks: a bar while cases are played, then two tables."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from danlu.base.log import say

if TYPE_CHECKING:
    from rich.table import Table

EVERY = 10.0  # seconds between two lines of progress where there is no terminal
WIDE = 110  # columns where there is no terminal

NAMES = {
    "en": {
        "detection": "calls when needed",
        "selection": "right tools",
        "json": "valid JSON",
        "arguments": "required arguments",
        "no_call": "no needless call",
        "multi_call": "several calls",
        "values": "argument values",
        "recovery": "recovers from errors",
        "answer": "answer tells it",
        "whole": "whole cases",
    },
    "zh": {
        "detection": "该调用时调用",
        "selection": "工具选择",
        "json": "JSON 合法",
        "arguments": "必需参数齐全",
        "no_call": "不需要时不调用",
        "multi_call": "多次调用",
        "values": "参数值正确",
        "recovery": "错误恢复",
        "answer": "回答含结果",
        "whole": "整个用例正确",
    },
}
WORDS = {
    "en": {
        "metric": "metric",
        "all": "all",
        "kind": "kind",
        "cases": "cases",
        "none": "none",
        "turns": "The model spoke {spoken:.2f} times a case; {needed:.2f} would do.",
        "refused": "{count} cases were not answered to the end; the first: {why}",
    },
    "zh": {
        "metric": "指标",
        "all": "全部",
        "kind": "类型",
        "cases": "用例",
        "none": "无",
        "turns": "每个用例模型平均发言 {spoken:.2f} 次，最少需要 {needed:.2f} 次。",
        "refused": "{count} 个用例没有答完，第一个的原因：{why}",
    },
}
KINDS = {
    "classic": "经典六例",
    "one call": "一次调用",
    "calls in parallel": "并行调用",
    "calls in sequence": "先后调用",
    "no call needed": "无需调用",
    "a missing argument": "缺少参数",
    "a tool's error": "工具出错",
    "no tool fits": "没有合适的工具",
    "own": "自定义",
}
BRIEF = ("detection", "selection", "values", "no_call", "answer", "whole")
"""Metrics told of each kind."""


def show(told: dict[str, Any], lang: str) -> None:
    """Print a report's tables."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDE, highlight=False)
    for table in (overall(told, lang, terminal), by_kind(told, lang, terminal)):
        if table is not None:
            console.print(table)
            console.print()
    words, turns = WORDS[lang], told["turns"]["all"]
    if turns["cases"]:
        console.print(words["turns"].format(**turns), markup=False)
    if refused := [case["refused"] for case in told["cases"] if "refused" in case]:
        console.print(words["refused"].format(count=len(refused), why=refused[0]), markup=False)


def overall(told: dict[str, Any], lang: str, terminal: bool) -> Table:
    """Return the table of all metrics, by language where there are several."""
    words, metrics = WORDS[lang], told["metrics"]
    languages = list(metrics["lang"]) if len(metrics["lang"]) > 1 else []
    table = _table(terminal)
    table.add_column(words["metric"])
    table.add_column("")
    for name in (words["all"], *languages):
        table.add_column(name, justify="right", no_wrap=True)
    for metric, share in metrics["all"].items():
        each = [share, *(metrics["lang"][name][metric] for name in languages)]
        table.add_row(NAMES[lang][metric], metric, *(_counted(one, words) for one in each))
    return table


def by_kind(told: dict[str, Any], lang: str, terminal: bool) -> Table | None:
    """Return a line for each kind of case, None where there is but one kind."""
    words, kinds = WORDS[lang], told["metrics"]["kind"]
    if len(kinds) < 2:
        return None
    table = _table(terminal)
    table.add_column(words["kind"])
    for name in (words["cases"], *BRIEF):
        table.add_column(name, justify="right", no_wrap=True)
    for kind, shares in kinds.items():
        name = KINDS.get(kind, kind) if lang == "zh" else kind
        shown = (_percent(shares[metric], words) for metric in BRIEF)
        table.add_row(name, str(shares["whole"]["of"]), *shown)
    return table


def _table(terminal: bool) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="bold" if terminal else ""
    )


def _percent(share: dict[str, Any], words: dict[str, str]) -> str:
    return words["none"] if share["value"] is None else f"{100 * share['value']:.1f} %"


def _counted(share: dict[str, Any], words: dict[str, str]) -> str:
    return f"{_percent(share, words)}  {share['part']:>3}/{share['of']:<3}"


class Progress:
    """A bar on a terminal, a line now and then elsewhere; on standard error."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._total = total
        self._began = self._said = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=total)
            self._bar.start()

    def update(self, done: int) -> None:
        """Say how many cases are done."""
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=done)
        elif now - self._said > EVERY:
            self._said = now
            left = (now - self._began) / done * (self._total - done)
            say(f"{done} of {self._total} cases, about {left:.0f} s left")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar:
            self._bar.stop()
