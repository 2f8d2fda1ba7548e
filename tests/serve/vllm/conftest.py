"""Hosts on which `danlu vllm` is planned: bare ones, and with cards."""

from __future__ import annotations

import os
import shlex
import sys

import pytest

SMI = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                   Version: 24.1.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     {chip:<20}| OK            | 68.2        37                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3363 / 65536         |
+===========================+===============+====================================================+
"""
CPU_FLAGS = "flags : fpu sse4_2 avx avx2 avx512f"


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A host with no accelerator, a vLLM of its own, and nothing set by whoever runs the tests."""
    for name in ("DANLU_API_KEY", "VLLM_CPU_KVCACHE_SPACE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setenv("DANLU_VLLM_PYTHON", str(python))
    monkeypatch.setenv("HOST_ROOT", str(tmp_path / "host"))
    (tmp_path / "host/proc").mkdir(parents=True)
    (tmp_path / "host/proc/cpuinfo").write_text(CPU_FLAGS)
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    return python


@pytest.fixture
def host(tmp_path):
    """Make of it a host with cards."""

    def made(node: str, count: int, tool: str, says: str) -> None:
        (tmp_path / "host/dev").mkdir()
        for number in range(count):
            (tmp_path / f"host/dev/{node}{number}").touch()
        (tmp_path / "tools").mkdir()
        (tmp_path / "tools" / "says").write_text(says)
        script = tmp_path / "tools" / tool
        script.write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path / 'tools/says'))}\n")
        script.chmod(0o755)

    return made


@pytest.fixture
def ascend(host, tmp_path):
    def made(chip="910B3", count=8):
        host("davinci", count, "npu-smi", SMI.format(chip=chip))
        for node in ("davinci_manager", "devmm_svm", "hisi_hdc"):
            (tmp_path / "host/dev" / node).touch()

    return made


@pytest.fixture
def nvidia(host):
    return lambda says="NVIDIA A100-SXM4-80GB, 8.0", count=4: host("nvidia", count, "nvidia-smi", says + "\n")
