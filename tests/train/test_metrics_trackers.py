"""Trackers show the rows of metrics.jsonl and nothing else, and a resumed run stays one record."""

from __future__ import annotations

import importlib.util
import json
import sys
import types

import pytest

from danlu.base.errors import UserError
from danlu.train import trackers
from danlu.train.metrics import Metrics


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without accounts."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "SWANLAB_MODE", "SWANLAB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(folder, steps, names, rewind=None):
    made = Metrics(folder, trackers=names, total_steps=9, memory=lambda: 5, start_step=rewind)
    for step in steps:
        made.log(step, {"loss": 10.0 / step, "lr": 0.1, "tokens": 4, "note": "text"})
        made.log(step, {"valid_loss": 1.0})
    made.close()


def test_an_unknown_tracker_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="no tracker 'tensorbord'") as error:
        Metrics(tmp_path, trackers=["tensorbord"])
    assert "tensorboard" in error.value.hint


def test_a_missing_package_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb is not installed") as error:
        Metrics(tmp_path, trackers=["wandb"])
    assert error.value.hint == "pip install wandb"


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {
        key: [(event.step, event.value) for event in reader.Scalars(key)] for key in reader.Tags()["scalars"]
    }


def test_tensorboard_shows_the_rows_and_a_resumed_run_once(tmp_path):
    run(tmp_path, range(1, 6), ["tensorboard"])
    run(tmp_path, range(4, 8), ["tensorboard"], rewind=3)
    shown = events(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for key in ("loss", "lr", "tokens", "tokens_per_s", "memory", "valid_loss"):
        assert shown[key] == [(row["step"], pytest.approx(row[key])) for row in rows]
    assert "note" not in shown and "step" not in shown


class Service(types.ModuleType):
    """A vendor's package that writes down how it is used."""

    def __init__(self, name):
        super().__init__(name)
        self.opened, self.rows, self.finished = [], [], 0

    def init(self, **options):
        self.opened.append(options)
        return self

    def log(self, data, step):
        self.rows.append((step, data))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_a_service_without_a_key_keeps_the_run_here_and_gets_every_number(name, tmp_path, monkeypatch):
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    (tmp_path / "config.yaml").write_text("seed: 3\noptim: {lr: 0.1}\n")
    run(tmp_path, [1, 2], [name])
    assert service.opened[0]["mode"] == "offline" and service.finished == 1
    assert service.opened[0]["config"] == {"seed": 3, "optim.lr": 0.1}
    assert [(step, data["loss"]) for step, data in service.rows if "loss" in data] == [(1, 10.0), (2, 5.0)]
    assert [(step, data["valid_loss"]) for step, data in service.rows if "valid_loss" in data] == [
        (1, 1.0),
        (2, 1.0),
    ]


@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_with_a_key_a_resumed_run_is_the_same_record(name, tmp_path, monkeypatch):
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "secret")
    run(tmp_path, [1], [name])
    run(tmp_path, [2], [name], rewind=1)
    first, second = service.opened
    assert first["mode"] is None and first["id"] == second["id"] and first["resume"] == "allow"
    assert len(first["id"]) == 21 and first["id"].isalnum() and first["id"].islower() or first["id"].isdigit()


INSTALLED = [name for name, kind in trackers.TRACKERS.items() if importlib.util.find_spec(kind.package)]


@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_tracker_takes_a_run_for_real(name, tmp_path):
    run(tmp_path, [1, 2, 3], [name])
    assert any((tmp_path / name).rglob("*")), f"{name} left nothing"
