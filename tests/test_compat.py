"""`danlu compat`: true of this processor; what it makes of logs, to the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from danlu import cli


def danlu(*words: str) -> str:
    done = CliRunner().invoke(cli.cli, ["compat", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_report_tells_of_every_operator_and_operation():
    told = json.loads(danlu("report", "--device", "cpu", "--json"))
    assert told["kind"] == "cpu" and told["stopped"] == ""
    assert set(told["operators"].values()) == {"native"} and len(told["operators"]) > 40
    assert {"aten::mm", "aten::embedding", "aten::topk"} <= {
        name.partition(".")[0] for name in told["operators"]
    }
    assert set(told["operations"]) >= {"attention", "rms_norm", "swiglu", "rotary", "grouped_matmul"}
    assert {one["by"] for one in told["operations"].values()} == {"plain"}


def test_an_operator_that_no_device_has_is_missing():
    from danlu.device import kernels

    assert kernels.standing("aten::mm", "cpu") == "native"
    assert kernels.standing("aten::_cudnn_rnn", "cpu") == "missing"


def test_a_benchmark_times_every_operation():
    words = [
        "--device",
        "cpu",
        "--tokens",
        "32",
        "--width",
        "64",
        "--warmup",
        "0",
        "--iterations",
        "2",
        "--json",
    ]
    told = json.loads(danlu("bench", *words))["milliseconds"]
    assert len(told) == 6 and all(timed["plain"] > 0 and "fused" not in timed for timed in told.values())


LOG = """step 1
RuntimeError: call aclnnMm failed: error code is 500002
step 2
E: error code is 507010
E: error code is 507010
OSError: [Errno 28] No space left on device
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.log").write_text(LOG)
    (tmp_path / "below/b.txt").write_text("fine\nerror code is 507010\n")
    (tmp_path / "picture.png").write_text("error code is 507010")
    return tmp_path


def test_failures_are_counted_over_files_and_named_with_a_next_step(logs):
    told = json.loads(danlu("logs", str(logs), "--json"))
    counts = {one["name"]: one["count"] for one in told["failures"]}
    assert counts == {"cann_507010": 3, "cann_500002": 1, "disk_full": 1}
    assert [Path(path).name for path in told["files"]] == ["a.log", "b.txt"]
    first = told["failures"][0]
    assert first["first"] == f"{logs / 'a.log'}:4" and first["cause"] and first["next"]


def test_what_is_said_seldom_and_what_is_far_down_can_be_left_out(logs):
    few = json.loads(danlu("logs", str(logs), "--min-count", "2", "--json"))["failures"]
    assert [one["name"] for one in few] == ["cann_507010"]
    assert len(json.loads(danlu("logs", str(logs), "--top", "2", "--json"))["failures"]) == 2


def test_people_read_it_in_their_language(logs):
    english, chinese = (danlu("logs", str(logs / "a.log"), "--lang", one) for one in ("en", "zh"))
    assert "cann_507010" in english and "try: " in english
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
