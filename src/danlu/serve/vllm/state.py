"""Which servers were started on this host, by whom else they could be asked about: one small file each.

    ~/.local/state/danlu/serve/HOST/8000/server.json    what runs there, since when, and where its log is
    ~/.local/state/danlu/serve/HOST/8000/log.txt

A file outlives its server. Whether the server still runs is asked of the system: the process must have the
number and the time of birth that the file tells, so a number that was given away again means nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from danlu.base import paths
from danlu.base.errors import UserError, nearest
from danlu.serve.vllm import process

FILE, LOG = "server.json", "log.txt"


@dataclass
class Server:
    """One server, running or not."""

    name: str
    url: str
    port: int
    server: str
    folder: str
    pid: int
    identity: str
    since: float
    command: list[str]
    container: str = ""
    stopping: bool = False
    members: dict[int, str] = field(default_factory=dict)
    """Processes seen in its group, each with its identity."""

    @property
    def place(self) -> Path:
        """Return the folder of its files."""
        return home() / str(self.port)

    @property
    def log(self) -> Path:
        """Return the file of what it says."""
        return self.place / LOG

    def running(self) -> dict[int, str]:
        """Return the processes of it that still run."""
        return process.members(self.pid, self.identity, self.members)

    def make_place(self) -> None:
        """Make the folder of its files, and an empty log."""
        with home_named():
            self.place.mkdir(parents=True, exist_ok=True)
            self.log.unlink(missing_ok=True)  # made anew, it shows that the folder can be written
            self.log.touch()

    def write(self) -> None:
        """Keep it for later commands."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2)
        with home_named():
            paths.write_text(self.place / FILE, text)

    def forget(self) -> None:
        """Take it from the list; its log stays."""
        (self.place / FILE).unlink(missing_ok=True)


def home() -> Path:
    """Return the folder of this host's servers: in $DANLU_STATE, else in the user's own state."""
    chosen = os.environ.get("DANLU_STATE")
    if not chosen:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path(os.path.expanduser("~"), ".local/state"))
        there = next(path for path in (base, *base.parents) if os.path.exists(path))
        writable = os.access(there, os.W_OK)
        chosen = str(base / "danlu" if writable else Path(tempfile.gettempdir(), f"danlu-{os.getuid()}"))
    return Path(chosen) / "serve" / platform.node()


@contextlib.contextmanager
def home_named() -> Iterator[None]:
    """Say of what fails in that folder where it lies, and how to choose another."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{home()}: cannot be used to remember servers: {(error.strerror or str(error)).lower()}",
            "DANLU_STATE=DIR, a folder you can write to",
        ) from None


def servers() -> list[Server]:
    """Return the servers that were started here and not stopped, by port."""
    found = []
    with home_named():
        files = list(home().glob(f"*/{FILE}"))
    for file in files:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            told["members"] = {int(pid): who for pid, who in told["members"].items()}
            found.append(Server(**told))
        except FileNotFoundError:  # another command has stopped it meanwhile
            continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file}: cannot be read: {error}", "delete it") from None
    return sorted(found, key=lambda server: server.port)


def find(which: str | None) -> Server:
    """Return the server of a name or a port; without either, the only one."""
    known = servers()
    if which is None:
        if len(known) == 1:
            return known[0]
        names = ", ".join(f"{each.name} ({each.port})" for each in known)
        problem = f"which of them: {names}?" if known else "no server was started here"
        raise UserError(problem, "its name or its port" if known else "danlu vllm DIR")
    fitting = [each for each in known if which in (each.name, str(each.port))]
    if len(fitting) != 1:
        words = [word for each in known for word in (each.name, str(each.port))]
        problem = (
            f"{len(fitting)} servers are called '{which}'" if fitting else f"there is no server '{which}'"
        )
        raise UserError(
            problem, "its port" if fitting else nearest(which, words) if words else "danlu vllm DIR"
        )
    return fitting[0]
