"""`danlu info`: true on this host, and an answer instead of a traceback on an odd one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from danlu import info
from danlu.device import api, report

SRC = Path(info.__file__).resolve().parents[1]


def ask(*words: str, paths: tuple[Path, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """Run `danlu info` with folders before all others on the path of Python."""
    return subprocess.run(
        [sys.executable, "-m", "danlu", "info", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*paths, SRC)))} | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_what_it_says_is_what_the_engine_uses():
    said = json.loads(ask("--json").stdout)
    device = api.choose("auto")
    assert said["device"]["kind"] == device.kind and said["device"]["name"] == device.name
    assert f"torch.{said['device']['dtype']}" == str(device.default_dtype())
    assert said["versions"]["torch"] == torch.__version__
    assert said["features"]["compile"] == (device.why_no_compile() or True)
    assert said["host"]["cores"] >= 1 and said["host"]["memory"] > 1e8
    assert set(said["launchers"]) == {"torchrun", "accelerate", "srun"} and said["launchers"]["torchrun"]
    assert said["problems"] == []


def test_people_read_the_same_in_groups():
    text = ask().stdout
    groups = [line for line in text.splitlines() if line and line[0] not in " d"]
    assert text.startswith("danlu ") and groups == ["host", "versions", "features", "launchers"]
    for word in ("processor", "torch ", "grouped products", "compile", "gloo"):
        assert word in text


def plugin(folder: Path, code: str) -> Path:
    """A vendor's package that torch loads by itself."""
    (folder / "torch_npu.py").write_text(code)
    facts = folder / "torch_npu-2.13.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.13.0\n")
    (facts / "entry_points.txt").write_text("[torch.backends]\ntorch_npu = torch_npu:_autoload\n")
    return folder


def test_a_plugin_that_breaks_import_torch_is_explained_and_the_rest_still_said(tmp_path):
    broken = "raise ImportError('libhccl.so: cannot open shared object file: No such file or directory')"
    said = json.loads(ask("--json", paths=(plugin(tmp_path, broken),)).stdout)
    (trouble,) = said["problems"]
    assert "torch_npu" in trouble["problem"] and "libhccl.so" in trouble["problem"]
    assert "set_env.sh" in trouble["try"] and "uninstall" in trouble["try"]
    assert said["device"]["kind"] and said["versions"]["torch_npu"] == "2.13.0"
    assert "libhccl.so" in said["absent"]["npu"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "torch is not installed"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise ImportError('libsomething.so: wrong ELF class')", "wrong ELF class"),
        ("print('{not json}'); raise SystemExit(3)", "does not import"),
    ],
)
def test_a_torch_that_cannot_be_imported_is_an_answer(tmp_path, code, problem):
    (tmp_path / "torch.py").write_text(code)
    said = json.loads(ask("--json", paths=(tmp_path,)).stdout)
    assert problem in said["problems"][0]["problem"] and said["problems"][0]["try"]
    assert said["host"]["processor"] and "device" not in said
    assert f"error: {said['problems'][0]['problem']}\n  try: " in ask(paths=(tmp_path,)).stdout


def test_a_torch_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert "no answer" in report.gather(patience=1.0)["problems"][0]["problem"]


def test_a_card_that_torch_cannot_use_is_pointed_out(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = {"cuda": "torch is built without it", "npu": "torch_npu is not installed"}
    (trouble,) = report.idle_cards({"device": {"kind": "cpu"}, "absent": absent})
    assert "cuda cards" in trouble["problem"] and "built without it" in trouble["problem"]
    assert report.idle_cards({"device": {"kind": "cuda"}, "absent": absent}) == []


def test_the_command_itself_needs_no_torch():
    code = "import sys, danlu.info; assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)}, check=True, timeout=60
    )
