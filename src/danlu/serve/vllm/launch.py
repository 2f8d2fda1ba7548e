"""From a plan to a server that has proved itself, and to its end.

server = begin(plan)      its processes, and a file that tells of them
ready(server, plan)       waits for /health, says how far it is, notices its death at once, asks for the proof
attend(server)            until it ends
stop(server)              nothing of it is left
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from danlu.base.errors import UserError
from danlu.device.containers import engine
from danlu.serve.address import KEY
from danlu.serve.port import listening
from danlu.serve.vllm import process, state
from danlu.serve.vllm.failures import death
from danlu.serve.vllm.plan import UNSET, Plan
from danlu.serve.vllm.progress import Progress, Tail, step_of
from danlu.serve.vllm.proof import Api, prove
from danlu.serve.vllm.state import Server

PAUSE = 0.25
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CALLED = {"vllm": "vLLM", "danlu": "the built-in server"}


class Stopped(Exception):
    """Somebody asked us to end: Ctrl-C, SIGTERM, or a closed terminal."""


class Interrupts:
    """Turns signals into `Stopped`, but only inside `armed`: elsewhere something is begun or ended whole."""

    def __init__(self) -> None:
        self._asked = self._armed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Raise `Stopped` in this block as soon as a signal comes, or at once if one has come."""
        self._armed = True
        try:
            if self._asked:
                raise Stopped
            yield
        finally:
            self._armed = False

    def _heard(self, number: int, frame: object) -> None:
        self._asked = True
        if self._armed:
            self._armed = False
            raise Stopped


class Attended:
    """A server whose first process is our child."""

    def __init__(self, server: Server, child: subprocess.Popen[bytes]) -> None:
        self.server = server
        self.child = child

    def check(self, what: str) -> None:
        """Raise if it has died, with its last words."""
        code = self.child.poll()
        if code is not None:
            raise death(what, code, self.server.log)


def begin(plan: Plan, folder: str) -> Attended:
    """Start a server; from here on `status`, `logs` and `stop` know it."""
    need_port(plan)
    server = Server(
        name=plan.name,
        url=plan.url,
        port=plan.port,
        server=plan.server,
        folder=os.path.abspath(folder),
        pid=0,
        identity="",
        since=time.time(),
        command=list(plan.command),
        container=plan.container,
    )
    server.make_place()
    try:
        child = process.begin(plan.command, environment(plan), server.log)
    except OSError as error:
        raise UserError(f"{plan.command[0]}: cannot be run: {error.strerror}", "danlu vllm --help") from None
    server.pid, server.identity = child.pid, process.identity(child.pid)
    try:
        server.write()
    except UserError:  # nobody would find it again
        stop(server)
        raise
    return Attended(server, child)


def environment(plan: Plan) -> dict[str, str]:
    """Return the whole environment of a server."""
    ours = {name: value for name, value in os.environ.items() if name not in UNSET}
    if plan.key:
        ours["VLLM_API_KEY" if plan.server == "vllm" else KEY] = plan.key
    if plan.server == "danlu" and "PYTHONPATH" in os.environ:  # it is the engine that runs this
        ours["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return ours | plan.environment


def need_port(plan: Plan) -> None:
    """Refuse a port that cannot be had, naming who has it."""
    ours = next((each for each in state.servers() if each.port == plan.port and each.running()), None)
    if ours:
        raise UserError(
            f"port {plan.port}: {ours.name} is served there already",
            f"danlu vllm stop {plan.port}, or --port N",
        )
    listening(plan.host, plan.port, "--port N").close()


def ready(attended: Attended, plan: Plan, timeout: float) -> list[str]:
    """Wait until a server is well, have it prove itself, and return what it showed."""
    what = CALLED[plan.server]
    api = Api(plan.url, plan.name, plan.key)
    progress = Progress(f"starting {what}")
    tail = Tail(attended.server.log)
    try:
        step = "importing"
        while not api.healthy():
            attended.check(what)
            if progress.seconds > timeout:
                raise UserError(
                    f"{what} is not ready after {timeout:.0f} s: {step}",
                    f"--timeout MORE; {attended.server.log}",
                )
            step = next((found for line in reversed(tail.lines()) if (found := step_of(line))), step)
            progress.at(step)
            time.sleep(PAUSE)
        attended.check(what)
        attended.server.members = process.group(attended.server.pid)
        attended.server.write()
        progress.at("proving itself")
        return [f"ready after {progress.seconds:.0f} s", *prove(api, plan.profile)]
    finally:
        progress.done()
        tail.close()


def attend(attended: Attended, what: str) -> bool:
    """Wait for a server's end; return whether another command stopped it. Any other end is an error."""
    attended.child.wait()
    known = next((each for each in state.servers() if each.identity == attended.server.identity), None)
    if known is None or known.stopping:
        return True
    attended.check(what)
    return False


def stop(server: Server, patience: float = process.PATIENCE) -> bool:
    """End a server with all its processes; return whether it had to be killed."""
    server.stopping = True
    with contextlib.suppress(UserError):  # a full disk saves no server
        server.write()
    killed = process.end(server.pid, server.identity, server.members, patience)
    if server.container:  # its client may have gone without it
        subprocess.run([engine(), "rm", "--force", server.container], capture_output=True, check=False)
    server.forget()
    return killed
