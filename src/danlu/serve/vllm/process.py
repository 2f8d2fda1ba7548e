"""A server's processes: begun as a group of their own, recognised later, ended together.

    child = begin(command, environment, log)     in a session of its own, out of a terminal's reach
    who = identity(child.pid)                    "boot:start"; the same number, recycled, has another
    end(child.pid, who, members)                 first politely, then not

vLLM is several processes: one answers, one schedules, one computes for each device. All of them stay in the
group of the first, and whichever of them dies, none of the others may be left behind with a device's memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

PAUSE = 0.1
PATIENCE = 40.0
"""Seconds a server has to end by itself; the built-in one lets answers under way come to their end."""
LAST_PATIENCE = 5.0


def begin(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; all it says goes into the log."""
    with log.open("wb") as file:
        return subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def identity(pid: int) -> str:
    """Return what tells this process from a later one of the same number; nothing if it is not running."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        with contextlib.suppress(OSError):  # Linux: since boot, so that no clock that is set changes it
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            return f"{boot}:{fields[19]}"
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def group(leader: int) -> dict[int, str]:
    """Return the running processes of a group, each with its identity."""
    found = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):  # it ended between the two questions
            if os.getpgid(pid) == leader:
                found[pid] = identity(pid)
    return {pid: who for pid, who in found.items() if who}


def members(leader: int, who: str, known: Mapping[int, str]) -> dict[int, str]:
    """Return what still runs of a server: its group, if its leader is the one it was, else who was known."""
    there = group(leader)
    if there.get(leader) == who:
        return there
    # The leader is gone: its number may by now lead strangers.
    return {pid: each for pid, each in there.items() if known.get(pid) == each}


def end(leader: int, who: str, known: Mapping[int, str], patience: float = PATIENCE) -> bool:
    """End a server and all its processes; return whether it had to be killed."""
    known = {**known, **members(leader, who, known)}
    if identity(leader) == who:
        send([leader], signal.SIGTERM)
        passed(lambda: identity(leader) != who, leader, patience)
    for what in (signal.SIGTERM, signal.SIGKILL):  # what it has not ended itself
        send(members(leader, who, known), what)
        if passed(lambda: not members(leader, who, known), leader, LAST_PATIENCE):
            return what is signal.SIGKILL
    return True


def passed(done: Callable[[], bool], leader: int, patience: float) -> bool:
    """Wait until something of a server has come to pass, or patience is at its end."""
    until = time.monotonic() + patience
    while not done():
        if time.monotonic() > until:
            return False
        with contextlib.suppress(ChildProcessError):  # not a child of ours: then another reaps it
            os.waitpid(leader, os.WNOHANG)
        time.sleep(PAUSE)
    return True


def send(pids: Sequence[int] | Mapping[int, str], what: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)
