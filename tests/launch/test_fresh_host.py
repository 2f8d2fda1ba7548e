"""The two promised commands on a fresh machine: from bash, git and Python to a model that calls tools."""

from __future__ import annotations

import json
import queue
import random
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from danlu.starter.tools import dialogues
from launch.bare_host import BareHost, make_base, why_not
from made_once import made_once

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

TO_SERVE, TO_INSTALL = 12 * 60, 3 * 60  # seconds, of two cores that nobody else uses
PATIENCE = 60 * 60
ASKED, RIGHT = 10, 8


@pytest.fixture
def host(tmp_path_factory, tmp_path):
    base = made_once(tmp_path_factory, "debian", make_base)
    host = BareHost(base, tmp_path / "host")
    yield host
    host.remove()


class Story:
    """What a command says, with the second at which it said so, and how much of this machine it had."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self._told: queue.Queue[str] = queue.Queue()
        self._began, self._others = time.monotonic(), self._used_by_others()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((self.seconds(), line.rstrip()))
            print(f"{self.lines[-1][0]:7.1f}  {line}", end="", flush=True)
        self._told.put("")

    def _used_by_others(self) -> float:
        """Seconds of a core that other processes of this machine have used since it started."""
        own = 0.0
        for one in [*psutil.Process(self.process.pid).children(recursive=True)]:
            try:
                own += sum(one.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        busy = psutil.cpu_times()
        return sum(busy) - busy.idle - busy.iowait - own

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def quiet_seconds(self) -> float:
        """Seconds since it began, less what others kept the cores from it."""
        return self.seconds() - (self._used_by_others() - self._others) / (psutil.cpu_count() or 1)

    def told(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def installing(self) -> float:
        """Seconds between the lines with which setup begins and ends, every time it was at work."""
        total, begun = 0.0, None
        for second, line in self.lines:
            if re.match(r"==> (this host|setting up)\b", line) and begun is None:
                begun = second
            elif line.startswith("==> ready:") and begun is not None:
                total, begun = total + second - begun, None
        assert total, "no line told of an installation"
        return total

    def waits_for(self, url: str) -> None:
        """Until `url` answers with 200."""
        while self.process.poll() is None and self.seconds() < PATIENCE:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                self.process.poll()
                try:
                    self._told.get(timeout=0.5)
                except queue.Empty:
                    continue
        pytest.fail("it ended, or never answered:\n" + "\n".join(self.told().splitlines()[-40:]))


def port_for_serving() -> tuple[int, list[str]]:
    """The promised port, without a word; another, asked for, where this machine has given that away."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
            return 8000, []
        except OSError:
            pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    return port, ["--port", str(port)]


def ask(url: str, **body: Any) -> dict[str, Any]:
    """The message that answers a chat."""
    data = json.dumps({"temperature": 0, "max_tokens": 200, **body}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]["message"]


def model_of(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as answer:
        return json.load(answer)["data"][0]["id"]


def calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    called = [each.get("function", each) for each in message.get("tool_calls") or []]
    return [
        (
            each["name"],
            json.loads(each["arguments"]) if isinstance(each["arguments"], str) else each["arguments"],
        )
        for each in called
    ]


def right_calls(url: str, model: str) -> int:
    """Of questions that no training has seen, how many are answered with exactly the calls they need."""
    right = 0
    for row in dialogues(random.Random(7), heldout=True, count=ASKED):
        begin = next(i for i, each in enumerate(row["messages"]) if each["role"] == "assistant")
        tools = [{"type": "function", "function": each} for each in row["tools"]]
        message = ask(url, model=model, messages=row["messages"][:begin], tools=tools)
        right += calls(message) == calls(row["messages"][begin])
    return right


def served(host: BareHost, clone: str, then: Callable[[str, str], None]) -> tuple[Story, dict[str, float]]:
    """Run the first promised command until it answers, let `then` talk to it, and end it as Ctrl-C does."""
    port, words = port_for_serving()
    url = f"http://127.0.0.1:{port}"
    with host.start("bash", "run_all.sh", "--use-moe", "serve", *words, cwd=clone) as process:
        story = Story(process)
        try:
            story.waits_for(f"{url}/health")
            seconds = {"served": story.seconds(), "quiet": story.quiet_seconds()}
            then(url, model_of(url))
            host.interrupt(process)
            process.wait(timeout=60)
        finally:
            process.kill()  # its namespace ends with it
    return story, seconds


def test_two_commands_take_a_fresh_machine_to_a_model_that_calls_tools(host, record_property):
    clone = host.clone()
    assert host.says("bash -c 'type -P gcc g++ cc c++ curl pip'") == "", "not a bare machine"

    def talk(url: str, model: str) -> None:
        assert ask(url, model=model, messages=[{"role": "user", "content": "你好"}])["content"].strip()
        right = right_calls(url, model)
        assert right >= RIGHT, f"{right} of {ASKED} calls were right"

    story, measured = served(host, clone, talk)
    assert "/v1" in story.told() and "curl" in story.told(), "it did not say how to talk to it"
    measured["installing"] = story.installing()

    again, seconds = served(host, clone, lambda url, model: None)
    measured["served again"] = seconds["served"]
    assert not re.search(r"==> (this host|setting up)|step \d+/", again.told()), "made again what was there"

    began = time.monotonic()
    with host.start("bash", "run_all.sh", "test", "tests/base", cwd=clone) as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    measured["testing"] = time.monotonic() - began

    print("\n" + "; ".join(f"{name} {seconds:.0f} s" for name, seconds in measured.items()))
    for name, value in measured.items():
        record_property(name, round(value))
    assert measured["installing"] <= TO_INSTALL * measured["served"] / measured["quiet"]
    assert measured["quiet"] <= TO_SERVE
