"""The `docker run` line of a server in a container: its devices, its weights, its port, and no more.

Weights are mounted read-only. The port is published on the address asked for, so loopback stays loopback.
The key comes from the environment of `docker run`, not from its words, which everyone on the host can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from danlu.device import containers
from danlu.device.containers import engine
from danlu.device.hosting import Kind

MODEL = "/model"


class Address(Protocol):
    """Where a server is to be reached."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def key(self) -> str: ...


def mounts(adapters: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return where adapters' folders lie in the container."""
    return {str(Path(folder).resolve()): f"/adapters/{name}" for name, folder in adapters}


def run(
    name: str,
    image: str,
    kind: Kind,
    numbers: Sequence[int],
    folders: Mapping[str, str],
    environment: Mapping[str, str],
    address: Address,
    module: Sequence[str],
) -> list[str]:
    """Return the command that runs a Python module of an image in a container of that name."""
    words = [engine(), "run", "--rm", "--init", "--name", name, "--label", "danlu=1"]
    words += kind.container(numbers)
    words += ["--publish", f"{address.host}:{address.port}:{address.port}"]
    for folder, place in folders.items():
        words += ["--volume", f"{folder}:{place}:ro"]
    for key, value in environment.items():
        words += ["--env", f"{key}={value}"]
    if address.key:
        words += ["--env", "VLLM_API_KEY"]
    begin = [*containers.begin(kind.name), "python3", "-m", *module]
    return [*words, "--entrypoint", begin[0], image, *begin[1:]]
