"""Things that go wrong with a host made of files: each makes a change that is made to a healthy one.

fault = Fault("a2", table("a2", health={5: "Critical"}), adds="card-unwell", says="5: Critical")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from launch import hosts
from launch.hosts import HERE, Host
from launch.smi import CARDS, Processes, by_chip, npu_smi, nvidia_smi
from shell import ROOT

SITE = f"{HERE}/.venv/lib/python3.11/site-packages"


@dataclass(frozen=True)
class Fault:
    """A fault of a host: what the doctor then finds beside a healthy one's findings, and what no more."""

    host: str
    change: Callable[[Host], object]
    adds: str
    loses: str = ""
    says: str = ""
    """What the first of these says, or its remedy."""
    words: tuple[str, ...] = ()


def smi(host: Host, kind: str, text: str, status: int = 0) -> None:
    """Let npu-smi print another text."""
    host.prints(f"usr/local/{'s' if kind == '910a' else ''}bin/npu-smi", text, status)


def table(kind: str, processes: Processes = (), **changes: dict) -> Callable[[Host], None]:
    """Other chips or processes in npu-smi's table."""
    text = npu_smi(CARDS[kind], by_chip(CARDS[kind].chips, **changes), processes)
    return lambda host: smi(host, kind, text)


def fails(kind: str, words: str) -> Callable[[Host], None]:
    return lambda host: smi(host, kind, words, 255)


def removes(*paths: str) -> Callable[[Host], None]:
    return lambda host: host.remove(*paths)


def renamed(kind: str, name: str) -> Callable[[Host], None]:
    """Another chip's name in npu-smi's table."""
    text = npu_smi(replace(CARDS[kind], name=name), CARDS[kind].chips)
    return lambda host: smi(host, kind, text)


def sets(**env: str) -> Callable[[Host], None]:
    return lambda host: host.env.update(env)


def old_driver(version: str, firmware: str = "[7.0.0,7.8.99]") -> Callable[[Host], None]:
    return lambda host: hosts.driver(host, version, firmware)


def undriven(host: Host) -> None:
    """The cards are in the machine, and no driver was ever installed."""
    host.remove(*(f"dev/davinci{n}" for n in range(8)), "usr/local/Ascend/driver", "usr/local/bin/npu-smi")


def forbidden(host: Host) -> None:
    """Device files of the driver's group, and a user who is not in it."""
    for n in range(8):
        (host.root / f"dev/davinci{n}").chmod(0o660)
    host.command("usr/bin/id", "case $1 in -un) echo dan ;; -u) echo 54321 ;; *) echo 54321 100 ;; esac")


def holds_file(host: Host) -> None:
    """A container's process that npu-smi does not list has a card open."""
    host.write("proc/4242/comm", "python3.11\n")
    host.write("proc/4242/cgroup", "0::/system.slice/docker-0123456789abcdef0123.scope\n")
    host.link("proc/4242/fd/7", "/dev/davinci5")
    host.link("proc/4242/fd/8", "/dev/davinci_manager")


def listens(host: Host) -> None:
    """Somebody serves on port 8000."""
    row = "   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 99123 1\n"
    host.write("proc/net/tcp", hosts.NET_TCP + row)
    host.write("proc/777/comm", "uvicorn\n")
    host.link("proc/777/fd/6", "socket:[99123]")
    host.link("proc/777/fd/7", "socket:[199123]")


def environment(
    torch: str, npu: str = "", kind: str = "", requires: str = "filelock"
) -> Callable[[Host], None]:
    """An environment in the clone with that torch, and that torch_npu."""

    def change(host: Host) -> None:
        host.write(f"{SITE}/torch-{torch}.dist-info/METADATA", f"Name: torch\nRequires-Dist: {requires}\n")
        if npu:
            host.write(f"{SITE}/torch_npu-{npu}.dist-info/METADATA", "Name: torch_npu\n")
        host.write(f"{HERE}/.venv/bin/python")
        host.write(f"{HERE}/.venv/ready-base")
        host.write(f"{HERE}/.venv/clone", f"{ROOT}\n")
        host.write(f"{HERE}/.venv/kind", f"{kind}\n")

    return change


def moved(host: Host) -> None:
    environment("2.13.0+cpu", kind="cpu")(host)
    host.write(f"{HERE}/.venv/clone", "/home/dan/old\n")


def broken(host: Host) -> None:
    environment("2.13.0+cpu", kind="cpu")(host)
    host.remove(f"{HERE}/.venv/bin/python")
    host.link(f"{HERE}/.venv/bin/python", "/no/such/python3")


def unreachable(*names: str, wheels: bool = False) -> Callable[[Host], None]:
    """A network in which addresses with these words do not answer."""

    def change(host: Host) -> None:
        arms = "\n".join(f"*{name}*) exit 28 ;;" for name in names)
        host.command("usr/bin/curl", f'case "$*" in\n{arms}\nesac')
        if wheels:
            host.write(f"{HERE}/wheels/torch-2.13.0+cpu-cp311-none-any.whl")

    return change


def docker_says(text: str, status: int = 0) -> Callable[[Host], None]:
    return lambda host: host.prints("usr/bin/docker", text, status)


def daemon(default: str, path: str) -> Callable[[Host], None]:
    text = json.dumps(
        {"runtimes": {default: {"path": path, "runtimeArgs": []}}, "default-runtime": default}, indent=1
    )
    return lambda host: host.write("etc/docker/daemon.json", text)


def podman(host: Host) -> None:
    """Podman in Docker's place."""
    host.remove("usr/bin/docker")
    host.prints("usr/bin/podman", "4.9.4|/var/lib/containers|rootless=false")


def rootless(host: Host) -> None:
    docker_says("27.3.1|/home/dan/.local/share/docker|[name=seccomp,profile=builtin name=rootless]")(host)
    host.command("usr/bin/id", "case $1 in -un) echo dan ;; *) echo 54321 ;; esac")


def unmanaged(host: Host) -> None:
    """An NVSwitch without what makes it known to the cards."""
    host.write("dev/nvidia-nvswitchctl")


def nvidia_card(host: Host) -> None:
    """A laptop with an NVIDIA card nobody installed a driver for."""
    host.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    host.write("sys/bus/pci/devices/0000:01:00.0/device", "0x1f99\n")
    host.write("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")


def nvidia(path: str = "usr/bin/nvidia-smi", **what) -> Callable[[Host], None]:
    """Another answer of nvidia-smi."""
    return lambda host: host.command(path, nvidia_smi(**what))


def mounts(row: str) -> Callable[[Host], None]:
    """One more file system."""
    return lambda host: host.write(
        "proc/mounts", (host.root / "proc/mounts").read_text(encoding="utf-8") + row + "\n"
    )


def both(*changes: Callable[[Host], object]) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        for one in changes:
            one(host)

    return change
