"""The progress of a run: right on a terminal of any width, sparing in a file."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from danlu.base.log import say
from danlu.train import progress
from danlu.train.metrics import Metrics
from danlu.train.progress import Bar, Lines, Recent, draw, open_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal of some encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    encoding = property(lambda self: self._encoding)  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def row(step, **more):
    return {
        "step": step,
        "loss": 5.0 - step / 100,
        "lr": 5e-4,
        "tokens_per_s": 1500.0,
        "mfu": 0.5,
        "memory": 2e9,
    } | more


def recent(steps=10, total=100, seconds=2.0, **more):
    clock = Clock()
    made = Recent(total, clock)
    for step in range(1, steps + 1):
        clock.now += seconds
        made.add(row(step, **more))
    return made


def test_time_left_is_what_the_remaining_steps_will_take():
    assert recent(steps=40, total=100, seconds=2.0).left() == pytest.approx(120.0)
    assert recent(steps=1).left() is None  # one step, which warmed up, says nothing
    assert recent(total=0).left() is None


def test_the_first_step_does_not_spoil_the_speed_shown():
    made = Recent(10, Clock())
    made.add(row(1, tokens_per_s=1.0))
    made.add(row(2, tokens_per_s=1000.0))
    assert "1,000 tokens/s" in made.parts()


def test_a_line_says_step_loss_speed_mfu_memory_and_time_left():
    text = recent(steps=40).line()
    for part in (
        "step 40/100 (40%)",
        "loss 4.6000",
        "1,500 tokens/s",
        "MFU 50%",
        "2.0 GB",
        "lr 5.0e-04",
        "2:00 left",
    ):
        assert part in text


def test_the_validation_loss_stays_in_sight():
    made = recent()
    made.add({"step": 10, "valid_loss": 3.25})
    made.add(row(11))
    assert "valid 3.2500" in made.parts()


def test_what_is_unknown_is_not_shown():
    made = Recent(0, Clock())
    made.add({"step": 1, "loss": None, "time": 0.0})
    assert made.line() == "step 1"


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 200), st.text(max_size=30), st.integers(1, 400), st.booleans())
def test_no_line_of_the_bar_is_wider_than_the_terminal(width, name, steps, fancy):
    name = "丹炉" + "".join(sign for sign in name if sign.isprintable())
    drawn = draw(recent(steps=steps, total=200), name, width, fancy).plain
    assert len(drawn.splitlines()) <= 2
    assert all(cell_len(line) <= width for line in drawn.splitlines())


def test_the_graph_of_losses_falls_with_them_however_long_the_run():
    made = recent(steps=3000, total=3000)
    graph = progress.sparkline(made.losses, 12)
    assert len(made.losses) <= 256 and graph == "".join(sorted(graph, reverse=True)) and len(set(graph)) == 8


def test_lines_come_often_at_first_then_seldom_and_at_the_end():
    clock, said = Clock(), []
    lines = Lines(10_000, say=said.append, clock=clock)
    for step in range(1, 10_001):  # a second each: nearly three hours
        clock.now += 1.0
        lines.update(row(step))
    lines.close()
    assert said[0].startswith("step 1/") and said[-1].startswith("step 10,000/")
    assert 10_000 / progress.SELDOM <= len(said) <= 10_000 / progress.SELDOM + 40


def test_a_run_that_is_stopped_says_where_it_stood():
    said = []
    lines = Lines(100, say=said.append, clock=Clock())
    for step in (1, 2, 3):
        lines.update(row(step))
    lines.close()
    lines.close()
    assert [text.split("/")[0] for text in said] == ["step 1", "step 3"]


def test_without_a_terminal_there_is_no_bar():
    assert isinstance(open_progress(9, "x", io.StringIO()), Lines)


def test_what_is_said_goes_above_the_bar_and_the_cursor_is_never_hidden(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = open_progress(100, "丹炉", terminal)
    assert isinstance(bar, Bar)
    bar.update(row(1))
    say("[saved] 保存完成")
    bar.update(row(100))
    bar.close()
    bar.close()
    assert sys.stderr is terminal
    shown = terminal.getvalue()
    assert "[saved] 保存完成" in shown and "丹炉" in shown and "100/100" in shown
    assert "\x1b[?25l" not in shown
    assert "\x1b[2K" in shown.split("[saved]")[0].rsplit("\n", 1)[-1]  # its line was cleared first


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_an_encoding_without_blocks_gets_plain_signs(encoding, monkeypatch):
    terminal = Terminal(encoding)
    bar = Bar(100, "run", terminal)
    for step in (1, 50):
        bar.update(row(step))
    bar.close()
    assert "#" in terminal.getvalue()
    terminal.getvalue().encode(encoding)


def test_the_runs_log_gets_lines_even_beside_a_bar(tmp_path):
    from danlu.base import log

    log.also_to(tmp_path / "log.txt")
    try:
        made = Metrics(tmp_path, total_steps=3, memory=lambda: 1, progress=Bar(3, "x", Terminal()))
        for step in (1, 2, 3):
            made.log(step, {"loss": 1.0, "tokens": 1})
        made.close()
    finally:
        log.also_to(None)
    text = (tmp_path / "log.txt").read_text()
    assert "step 1/3" in text and "step 3/3" in text
