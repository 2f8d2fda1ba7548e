"""`danlu plot`: a picture of any run, however it is called and whatever it lacks."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import image

from danlu import picture, plot
from danlu.base.errors import UserError

SRC = Path(plot.__file__).resolve().parents[1]


def run(folder: Path, steps: int = 40, lacks: tuple[str, ...] = (), loss: float = 8.0) -> Path:
    """A run's folder, with every key but those it lacks."""
    folder.mkdir(parents=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            row = {
                "step": step,
                "loss": loss * math.exp(-step / steps),
                "lr": 1e-3 * step,
                "tokens_per_s": 900.0,
            }
            row |= {"mfu": 0.5} | ({"valid_loss": row["loss"] + 0.1} if step % 10 == 0 else {})
            file.write(json.dumps({key: value for key, value in row.items() if key not in lacks}) + "\n")
    return folder


def drawn(*runs: Path, out: Path) -> set[str]:
    """Draw runs and return which of the palette's colours the picture shows."""
    said = CliRunner().invoke(plot.command, [*map(str, runs), "--out", str(out)], catch_exceptions=False)
    assert said.exit_code == 0 and str(out) in said.output
    red, green, blue = (image.imread(out)[..., part] * 255 for part in range(3))
    pixels = set(np.unique(red.round() * 65536 + green.round() * 256 + blue.round()).astype(int).tolist())
    return {name for name in picture.COLOURS if int(name[1:], 16) in pixels}


def test_each_run_has_a_colour_of_its_own_whatever_its_name(tmp_path):
    names = ("pretrain_512", "丹炉_640", "_a$b$c^", "x" * 60)
    runs = [run(tmp_path / name / "20261121-093000") for name in names]
    assert drawn(*runs, out=tmp_path / "out" / "图.png") == set(picture.COLOURS[: len(runs)])


@pytest.mark.parametrize("lacks", [("mfu", "valid_loss"), ("tokens_per_s", "lr", "mfu"), ("loss",)])
def test_a_run_is_drawn_without_what_it_lacks(tmp_path, lacks):
    assert picture.COLOURS[0] in drawn(run(tmp_path / "run", lacks=lacks), out=tmp_path / "plot.png")


def test_a_run_under_way_is_drawn(tmp_path):
    folder = run(tmp_path / "run", steps=1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": null}\n{"step": 3, "lo')
    assert drawn(folder, out=tmp_path / "plot.png")


def test_a_folder_of_runs_means_the_newest(tmp_path):
    for time in ("20261121-093000", "20261122-093000"):
        run(tmp_path / "pretrain_512" / time)
    assert plot.find(str(tmp_path / "pretrain_512")).parent.name == "20261122-093000"


def test_runs_that_would_be_called_alike_are_told_apart(tmp_path):
    folders = [tmp_path / name for name in ("a/20261121-093000", "a/20261122-093000", "b/20261121-093000")]
    assert plot.names(folders) == ["a · 20261121-093000", "a · 20261122-093000", "b"]


def test_what_cannot_be_drawn_is_said_in_two_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = run(Path("runs/pretrain_512/20261121-093000"))
    with pytest.raises(UserError, match="nowhere: holds no metrics.jsonl") as error:
        plot.find("nowhere")
    assert str(known) in error.value.hint
    empty = run(tmp_path / "empty", steps=0)
    with pytest.raises(UserError, match="holds no step yet"):
        CliRunner().invoke(plot.command, [str(empty)], catch_exceptions=False)
    with pytest.raises(UserError, match="not a kind of picture"):
        CliRunner().invoke(plot.command, [str(known), "--out", "plot.word"], catch_exceptions=False)
    assert not list(tmp_path.glob("*.png"))


def test_the_mean_that_is_drawn_stays_within_its_values_and_keeps_a_straight_line():
    values = [float(n) for n in range(1000)]
    mean = picture.running_mean(values)
    assert mean[:900] == pytest.approx(values[:900])
    assert len(mean) == 1000 and max(mean) <= 999


def test_many_points_are_thinned_and_the_last_one_stays():
    steps, values = picture._thin(list(range(100_001)), [0.0] * 100_001)
    assert len(steps) == len(values) <= picture.POINTS and steps[-1] == 100_000


def test_plotting_needs_no_torch():
    code = "import sys, danlu.plot; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)}, check=True, timeout=60
    )
