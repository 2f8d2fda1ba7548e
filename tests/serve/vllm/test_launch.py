"""A server's life: begun, watched, proved, found again, ended; and what is said when it dies on the way.

The server is a stand-in in vLLM's place (`stand_in.py`), a process like any other; all that is ours is real.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from danlu.base.errors import UserError
from danlu.cli import main
from danlu.serve.vllm import process, state
from danlu.serve.vllm.failures import explain
from serve.vllm.exports import export
from shell import ROOT

STAND_IN = Path(__file__).with_name("stand_in.py")
PATIENCE = 60.0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A host of its own: a stand-in for vLLM, an export, a folder for what is remembered."""
    python = tmp_path / "env/bin/python"
    python.parent.mkdir(parents=True)
    words = shlex.join([sys.executable, str(STAND_IN)])
    python.write_text(f'#!/bin/sh\nshift 2\nexec {words} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("DANLU_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("DANLU_VLLM_PYTHON", str(python))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.delenv("DANLU_API_KEY", raising=False)
    export(tmp_path / "sft-hf")
    yield tmp_path
    for server in state.servers():
        process.end(server.pid, server.identity, server.members, patience=0)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def danlu(*words: object, do: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "danlu", "vllm", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env | {"STAND_IN": do})


def refused(capsys, *words: object) -> list[str]:
    """Return the two lines of a command's refusal."""
    with pytest.raises(SystemExit) as ended:
        main(["vllm", *map(str, words)])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("error:"))
    assert len(lines) == at + 2
    return lines[at:]


def detached(place, port: int, do: str = "", *words: object, **env: str) -> state.Server:
    done = danlu(place / "sft-hf", "--port", port, "--detach", *words, do=do, **env)
    assert done.returncode == 0, done.stderr
    return state.find(str(port))


def test_detached_it_is_proved_found_again_and_stopped(place):
    port = free_port()
    done = danlu(place / "sft-hf", "--port", port, "--detach", do="children")
    said = done.stderr
    assert done.returncode == 0, said
    assert "ready after" in said and "chat: 3 tokens" in said
    assert 'tool call, demanded: get_weather({"city": "北京"})' in said
    assert "left to the model: it called none" in said
    assert f"http://127.0.0.1:{port}/v1 answers as sft-hf" in said
    server = state.find(None)
    assert len(server.running()) == 2
    status = danlu("status", "--json")
    told = json.loads(status.stdout)[0]
    assert status.returncode == 0 and (told["name"], told["state"]) == ("sft-hf", "answers")
    assert "GET /health" in danlu("logs", "sft-hf").stdout
    stopped = danlu("stop", port)
    assert stopped.returncode == 0 and "sft-hf was stopped" in stopped.stderr
    assert process.group(server.pid) == {} and state.servers() == []
    assert danlu("status").returncode == 1


def test_the_line_it_prints_talks_to_it(place):
    port = free_port()
    done = danlu(place / "sft-hf", "--port", port, "--detach", "--api-key", "secret")
    line = next(line for line in done.stderr.splitlines() if line.startswith("  curl"))
    env = os.environ | {"DANLU_API_KEY": "secret"}
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"] == "hello"
    assert "secret" not in done.stderr + (state.find(None).place / state.FILE).read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_all_of_it(place, number):
    port = free_port()
    words = [sys.executable, "-m", "danlu", "vllm", place / "sft-hf", "--port", str(port)]
    env = os.environ | {"STAND_IN": "children"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as ours:
        assert ours.stderr
        for line in ours.stderr:
            if "Ctrl-C ends it" in line:
                break
        server = state.find(str(port))
        ours.send_signal(number)
        began = time.monotonic()
        assert "ending vLLM" in ours.stderr.read()
    assert ours.returncode == 0
    assert time.monotonic() - began < process.PATIENCE / 2, "its child is not waited for as it is"
    assert process.group(server.pid) == {} and state.servers() == []


def test_a_signal_while_it_starts_ends_all_of_it(place):
    port = free_port()
    words = [sys.executable, "-m", "danlu", "vllm", place / "sft-hf", "--port", str(port)]
    env = os.environ | {"STAND_IN": "children mute"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as ours:
        assert ours.stderr
        for line in ours.stderr:
            if "making room" in line:
                break
        server = state.find(str(port))
        ours.send_signal(signal.SIGTERM)
        ours.stderr.read()
    assert process.group(server.pid) == {} and state.servers() == []


def test_stopped_from_elsewhere_the_foreground_ends_in_peace(place):
    port = free_port()
    words = [sys.executable, "-m", "danlu", "vllm", place / "sft-hf", "--port", str(port)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as ours:
        assert ours.stderr
        for line in ours.stderr:
            if "Ctrl-C ends it" in line:
                break
        assert danlu("stop").returncode == 0
        assert "vLLM was stopped" in ours.stderr.read()
    assert ours.returncode == 0


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (
            "refuse",
            [
                "vLLM ended with exit code 1: the port is taken by another process",
                "| OSError: [Errno 98]",
                "--port",
            ],
        ),
        (
            "killed",
            ["vLLM ended with signal 9: it was killed; most often memory had run out", "--max-model-len"],
        ),
        ("toolless", ["a tool call was demanded, and came as", "danlu vllm logs"]),
        ("leave", ["vLLM ended with exit code 7", "log.txt"]),
    ],
)
def test_when_it_dies_the_cause_and_its_last_words_are_told(place, do, says):
    done = danlu(place / "sft-hf", "--port", free_port(), do=do)
    assert done.returncode == 2
    for words in says:
        assert words in done.stderr
    assert state.servers() == []


def test_when_it_is_never_ready_it_is_ended(place):
    done = danlu(place / "sft-hf", "--port", free_port(), "--timeout", "0.5", do="mute children")
    assert done.returncode == 2 and "vLLM is not ready after 0 s" in done.stderr
    assert state.servers() == []


def test_one_that_hears_nothing_is_killed_with_its_children(place):
    server = detached(place, free_port(), "stubborn")
    done = danlu("stop", "--timeout", "0.2")
    assert "sft-hf was killed" in done.stderr
    assert process.group(server.pid) == {}


def test_children_that_outlive_it_are_ended_too(place):
    server = detached(place, free_port(), "children")
    assert len(server.members) == 2
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not process.identity(server.pid))
    assert len(server.running()) == 1
    assert danlu("stop").returncode == 0
    assert process.group(server.pid) == {}


def test_a_number_that_was_given_away_again_is_left_alone(place):
    server = detached(place, free_port())
    danlu("stop")
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        server.pid, server.members = stranger.pid, {stranger.pid: server.identity}
        server.write()
        assert server.running() == {}
        assert "had ended before" in danlu("stop").stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_port_is_given_once(place):
    port = free_port()
    detached(place, port)
    again = danlu(place / "sft-hf", "--port", port)
    assert again.returncode == 2 and f"port {port}: sft-hf is served there already" in again.stderr
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        foreign = other.getsockname()[1]
        taken = danlu(place / "sft-hf", "--port", foreign)
    assert taken.returncode == 2 and f"port {foreign} of 127.0.0.1 is in use" in taken.stderr
    assert f"process {os.getpid()}" in taken.stderr and "--port N" in taken.stderr


@pytest.mark.parametrize("below", ["file/state", "file", "x" * 300])
def test_a_folder_that_cannot_hold_what_is_remembered_is_named(place, monkeypatch, capsys, below):
    (place / "file").touch()
    monkeypatch.setenv("DANLU_STATE", str(place / below))
    said = refused(capsys, place / "sft-hf", "--port", free_port())
    assert f"error: {place / below}" in said[0] and "try: DANLU_STATE=DIR" in said[1]
    monkeypatch.delenv("DANLU_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(place / ("x" * 300)))
    said = refused(capsys, place / "sft-hf", "--port", free_port())
    assert "xxx/danlu/serve/" in said[0] and "try: DANLU_STATE=DIR" in said[1]
    monkeypatch.setenv("DANLU_STATE", str(place / "state"))


@pytest.mark.parametrize("name", ["8123", "mine"])
def test_what_is_remembered_and_cannot_be_read_is_named(place, capsys, name):
    strange = state.home() / name / state.FILE
    strange.mkdir(parents=True)
    said = refused(capsys, "status")
    assert f"error: {strange}: cannot be read" in said[0] and "try: delete it" in said[1]
    strange.rmdir()


def test_a_server_that_cannot_be_remembered_is_not_left_running(place, monkeypatch, capsys):
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    begun = []
    begin = process.begin
    monkeypatch.setattr(process, "begin", lambda *words: begun.append(begin(*words)) or begun[-1])
    monkeypatch.setattr("danlu.base.paths.write_text", full)
    said = refused(capsys, place / "sft-hf", "--port", free_port())
    assert "cannot be used to remember servers: no space left on device" in said[0]
    assert process.group(begun[0].pid) == {}


def test_a_host_that_is_no_address_of_this_one_is_refused(place, capsys):
    said = refused(capsys, place / "sft-hf", "--port", free_port(), "--host", "2001:db8::1", "--insecure")
    assert said == [
        "error: --host: '2001:db8::1' is no address of this host",
        "  try: 127.0.0.1, or 0.0.0.0 for all of them",
    ]


def test_of_several_servers_one_must_be_named(place):
    first, second = free_port(), free_port()
    detached(place, first, "", "--name", "a")
    detached(place, second, "", "--name", "b")
    which = danlu("stop")
    assert which.returncode == 2 and "which of them: " in which.stderr
    assert danlu("stop", "a").returncode == 0
    assert [server.name for server in state.servers()] == ["b"]
    assert danlu("stop", "--all").returncode == 0
    assert state.servers() == []


def test_a_server_nobody_started_is_not_found(place):
    with pytest.raises(UserError, match="no server was started here"):
        state.find(None)


def test_a_python_that_cannot_be_run_is_named(place, monkeypatch):
    monkeypatch.setenv("DANLU_VLLM_PYTHON", str(place / "none"))
    done = danlu(place / "sft-hf", "--port", free_port())
    assert done.returncode == 2 and "none: cannot be run: No such file" in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "meaning"),
    [
        ("ValueError: Head size 16 is not supported by CPU_ATTN", 1, "heads of this width"),
        ("api_server.py: error: unrecognized arguments: --frob 3", 2, "means nothing to this vLLM"),
        ("/x/python: No module named vllm", 1, "that environment has no vLLM"),
        ("torch.OutOfMemoryError: tried to allocate", 1, "memory is too small"),
        ("ImportError: libascend_hal.so: cannot open shared object file", 1, "the Ascend driver is not"),
        ("", -4, "instructions that this processor lacks"),
        ("(EngineCore pid=3) ERROR 11-26 [core.py:1] KeyError: 'model.norm'", 1, "KeyError: 'model.norm'"),
        ("something", 1, "it does not say why"),
    ],
)
def test_known_last_words_have_a_meaning(text, code, meaning):
    assert meaning in explain(text, code)[0]


def wait_until(true) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        with contextlib.suppress(psutil.Error):
            os.sched_yield()
