"""The `docker run` line of a server in a container: its devices, its weights, its port, and no more.

Weights are mounted read-only. The port is published on the address asked for, so loopback stays loopback.
The key comes from the environment of `docker run`, not from its words, which everyone on the host can read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from danlu.base.errors import UserError
from danlu.device import containers
from danlu.device.containers import engine
from danlu.device.hosting import Kind
from danlu.serve.address import bracketed, literal

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


def published(host: str) -> str:
    """Return a host as `--publish` takes it: an address and no name, brackets around IPv6.

    >>> published("localhost"), published("::1")
    ('127.0.0.1', '[::1]')
    """
    try:
        return bracketed(str(ipaddress.ip_address(literal(host))))
    except ValueError:
        raise UserError(
            f"--host {host}: no IP address, and a container's port is published on nothing else",
            "127.0.0.1, or 0.0.0.0 for all of them",
        ) from None


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
    words += ["--publish", f"{published(address.host)}:{address.port}:{address.port}"]
    for folder, place in folders.items():
        words += ["--volume", f"{folder}:{place}:ro"]
    for key, value in environment.items():
        words += ["--env", f"{key}={value}"]
    if address.key:
        words += ["--env", "VLLM_API_KEY"]
    begin = [*containers.begin(kind.name), "python3", "-m", *module]
    return [*words, "--entrypoint", begin[0], image, *begin[1:]]
