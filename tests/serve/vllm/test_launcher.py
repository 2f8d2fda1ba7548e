"""launch/vllm.sh: what would be run, for which words. Nothing is run here."""

from __future__ import annotations

import shutil

import pytest

from shell import call, said, small_clone

DANLU = ".venv/bin/python -m danlu vllm"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone that looks set up: weights that were exported, and weights that were not."""
    folder = small_clone(tmp_path_factory.mktemp("launcher") / "clone")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("python3"))
    said("for part in base serve convert; do KIND=cpu mark_ready .venv $part; done", folder)
    for name in ("pretrain_512", "full_sft_512", "full_sft_512-hf"):
        (folder / "out" / name).mkdir(parents=True)
        (folder / "out" / name / "config.json").touch()
    (folder / "out/full_sft_512-hf/serve.json").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--weight full_sft", f"{DANLU} out/full_sft_512-hf --device cpu"),
        ("--weight out/full_sft_512-hf", f"{DANLU} out/full_sft_512-hf --device cpu"),
        (
            "--weight full_sft --devices 0-3 --port 9000 --detach",
            f"{DANLU} out/full_sft_512-hf --device cpu --devices 0-3 --port 9000 --detach",
        ),
        (
            "--weight pretrain",
            f"bash launch/convert.sh --weight out/pretrain_512\n{DANLU} out/pretrain_512-hf --device cpu",
        ),
        ("status", f"{DANLU} status"),
        ("stop 8000", f"{DANLU} stop 8000"),
    ],
)
def test_the_command_of_the_step(clone, words, expected):
    done = call("bash", "-c", f"bash run_all.sh --dry-run vllm {words}", cwd=clone, ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().replace(" \n", "\n") == expected
