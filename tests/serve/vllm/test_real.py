"""A real vLLM through `danlu vllm`: it proves itself, passes the suite our own server passes, and ends."""

from __future__ import annotations

import subprocess

import psutil
import pytest

import vllm_answers
from convert.__main__ import cli as converter
from danlu.base.commands import run
from serve.client_suite import *  # noqa: F403
from serve.client_suite import Server
from serve.vllm.real import danlu, free_port, vllm

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

CONTEXT = 512


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained model as an export."""
    top = tmp_path_factory.mktemp("vllm-real")
    vllm_answers.write(vllm_answers.shaped("qwen3", max_position_embeddings=CONTEXT), top / "tiny")
    words = ["to-hf", top / "tiny", "--out", top / "tiny-hf", "--dtype", "float32", "--check", "none"]
    run(converter, "convert", [str(word) for word in words])
    return top / "tiny-hf"


@pytest.fixture(scope="module")
def said(folder):
    """What was said while it started."""
    with vllm(folder, folder.parent) as (url, words):
        yield url, words
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])
    ]


@pytest.fixture(scope="module")
def server(said):
    """As the suite wants it."""
    return Server(said[0], "tiny-hf", CONTEXT)


def test_it_proves_itself(said):
    for words in (
        "ready after",
        "chat: ",
        "tool call, demanded: get_weather(",
        "tool call, left to the model: ",
    ):
        assert words in said[1]


def test_it_is_found_and_its_log_is_read(folder, said):
    status = danlu(folder.parent, "status")
    assert status.returncode == 0 and "answers" in status.stdout and said[0] in status.stdout
    assert "Application startup complete" in danlu(folder.parent, "logs", "--lines", 100_000).stdout


def test_what_vllm_does_not_understand_is_told_with_its_words(folder, tmp_path):
    done = danlu(tmp_path, folder, "--port", free_port(), "--", "--no-such-thing", "3")
    assert done.returncode == 2
    assert "means nothing to this vLLM" in done.stderr and "log.txt" in done.stderr
    assert "unrecognized arguments: --no-such-thing" in done.stderr
    assert danlu(tmp_path, "status").returncode == 1


def test_the_line_of_a_dry_run_is_what_runs(folder, tmp_path):
    line = danlu(tmp_path, folder, "--dry-run").stdout
    done = subprocess.run(
        ["bash", "-c", f"{line.strip()} --help=ModelConfig"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--max-model-len" in done.stdout
