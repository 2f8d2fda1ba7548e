"""`danlu selfcheck`: right on this processor, and not to be fooled."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from danlu import cli, selfcheck
from danlu.device import api


def check(*words: str):
    return CliRunner().invoke(cli.cli, ["selfcheck", "--device", "cpu", *words], catch_exceptions=False)


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_the_quick_cases_hold_here_and_make_one_report(tmp_path):
    done = check(*only("operations", "resume", "overflow"), "--report", str(tmp_path / "report.json"))
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "report.json").read_text())
    assert set(told["cases"]) == {"operations", "resume", "overflow"}
    assert not any("wrong" in case or "left_out" in case for case in told["cases"].values())
    assert told["device"]["kind"] == "cpu" and told["versions"]["torch"] == torch.__version__
    assert len(told["cases"]["operations"]["differences"]) == 6


def test_an_operation_that_is_wrong_is_found_and_the_others_still_run(monkeypatch):
    wrong = {"swiglu": lambda gate, up: torch.nn.functional.silu(gate) * up * 1.5}
    monkeypatch.setattr(type(api.choose("cpu")), "ops", wrong)
    done = check(*only("operations", "resume"))
    assert done.exit_code == 1
    cases = json.loads(done.stdout)["cases"]
    assert "swiglu, fused" in cases["operations"]["wrong"] and "wrong" not in cases["resume"]


def test_what_a_processor_learned_once_is_learned_here_again():
    """Where a preset changes: `[losses(name, CPU, 10) for name in LEARNED]` are the new numbers."""
    done = check(*only("trajectory"))
    told = json.loads(done.stdout)["cases"]["trajectory"]
    assert done.exit_code == 0, told
    for preset in ("tiny", "tiny-moe"):
        assert told[preset]["losses"][-1] < 6.5 and told[preset]["largest_difference"] < 1e-3


def test_a_gradient_that_is_wrong_is_found_by_what_is_learned(monkeypatch):
    from danlu.device import ops, plain

    monkeypatch.setattr(ops, "swiglu", lambda gate, up: plain.swiglu(gate.detach(), up))
    assert "on a processor" in json.loads(check(*only("trajectory")).stdout)["cases"]["trajectory"]["wrong"]


def test_a_flag_that_nobody_raises_is_found(monkeypatch):
    monkeypatch.setattr("danlu.device.scaler.Scaler.unscale_and_check", lambda self, weights: False)
    assert "overflow seen: False" in json.loads(check(*only("overflow")).stdout)["cases"]["overflow"]["wrong"]


def test_no_case_begins_when_the_time_is_over():
    done = check(*only("resume"), "--minutes", "-1")
    assert done.exit_code == 0 and "left_out" in json.loads(done.stdout)["cases"]["resume"]


@pytest.mark.slow
def test_everything_holds_on_this_processor():
    done = check()
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    assert list(told["cases"]) == list(selfcheck.CASES)
    assert told["cases"]["ranks"]["count"] == 2 and told["cases"]["bandwidth"]["bytes_per_s"] > 0
