"""What a server's process or container must be given of this host's devices; told without torch.

    choose("auto")                     the kind of device whose files are here, else cpu
    KINDS["cuda"].numbers()            [0, 1, 2, 3]
    KINDS["cuda"].shown([0, 1])        {"CUDA_VISIBLE_DEVICES": "0,1"}, for a process
    KINDS["cuda"].container([0, 1])    ["--shm-size", "8000m", "--gpus", '"device=0,1"'], for `docker run`

A server runs on a torch of its own, often in a container, so nothing here asks ours. HOST_ROOT stands before
every path looked at, as in the launchers, so that another host's files can be looked at too.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from danlu.base import matrix
from danlu.base.errors import UserError, nearest
from danlu.device import containers, host
from danlu.device.host import at

ALIASES = {"ascend": "npu"}
# Where a maker's tool is, where it is not on the path.
SMI = {"npu": ("/usr/local/bin/npu-smi", "/usr/local/sbin/npu-smi"), "cuda": (containers.WSL_SMI,)}
ASK_CARDS = {
    "cuda": ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
    "npu": ["npu-smi", "info"],
}


@dataclass(frozen=True)
class Kind:
    """One kind of device, as a server is handed some of them."""

    name: str
    pattern: str
    """Its device files; their last number is the device's."""
    variable: str
    """The environment variable by which a process is shown some of them."""
    unfit: Callable[[str], str | None]
    """Why vLLM does not run on a chip of that name, or None."""
    images_alone: bool = False
    """Whether vLLM for it is published as images and not as wheels."""

    def numbers(self) -> list[int]:
        """Return the numbers of the devices here."""
        if self.name == "cuda" and containers.is_wsl():
            return _cards_of_wsl()
        folder, _, form = self.pattern.rpartition("/")
        names = os.listdir(at(folder)) if form and at(folder).is_dir() else []
        return sorted(int(found[1]) for name in names if (found := re.fullmatch(form, name)))

    def shown(self, numbers: Sequence[int]) -> dict[str, str]:
        """Return the environment in which a process sees these devices and no others."""
        return {self.variable: ",".join(map(str, numbers))} if numbers and self.variable else {}

    def container(self, numbers: Sequence[int]) -> list[str]:
        """Return what `docker run` is told, so that a container sees these devices."""
        return containers.of_host() + containers.GIVE[self.name](numbers)


def _cards_of_wsl() -> list[int]:
    """Return the numbers of the cards behind WSL's one device file."""
    told = _told([str(at(containers.WSL_SMI)), "--query-gpu=index", "--format=csv,noheader"])
    return [int(line) for line in told.split() if line.isdigit()] or [0]


def choose(asked: str) -> Kind:
    """Return the kind of device asked for; `auto`: the accelerator whose device files are here, else cpu."""
    name = ALIASES.get(asked, asked)
    if name == "auto":
        return next((kind for kind in KINDS.values() if kind.numbers()), KINDS["cpu"])
    if name not in KINDS:
        raise UserError(f"there is no device '{asked}'", nearest(asked, ["auto", *KINDS, *ALIASES]))
    kind = KINDS[name]
    if kind.pattern and not kind.numbers():
        raise UserError(f"--device {asked}: no {kind.pattern} here", "--device auto takes what there is")
    return kind


def chip(kind: Kind) -> str:
    """Return the name of the first device as its maker's tool tells it; nothing where there is no tool."""
    words = ASK_CARDS.get(kind.name)
    if words is None:
        return ""
    tool = next((str(at(path)) for path in SMI.get(kind.name, ()) if at(path).exists()), words[0])
    return chip_of(kind, _told([tool, *words[1:]]))


def _told(words: Sequence[str]) -> str:
    """Return what a command prints; nothing where there is none, or it does not answer."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def chip_of(kind: Kind, told: str) -> str:
    """Return the first device's name out of what its maker's tool prints.

    >>> chip_of(KINDS["cuda"], "Tesla T4, 7.5")
    'Tesla T4, 7.5'
    >>> chip_of(KINDS["npu"], "| 0     910B3               | OK            | 93.0        50 |")
    '910B3'
    """
    if kind.name == "cuda":
        return told.strip().splitlines()[0] if told.strip() else ""
    found = re.search(r"^\|\s*\d+\s+(\S*\d{3}\S*)\s*\|\s*[A-Za-z]+\s*\|", told, re.MULTILINE)
    return found[1] if found else ""


def number_format(kind: Kind, chip_name: str, wanted: str) -> tuple[str, str]:
    """Return the number format for a device that was given weights in `wanted`, and why it is another.

    >>> number_format(KINDS["cuda"], "Tesla T4, 7.5", "bfloat16")[0]
    'float32'
    """
    if wanted != "bfloat16":
        return wanted, ""
    if kind.name == "npu" and "310P" in chip_name:
        return "float16", f"{chip_name} computes in float16 alone; should answers be noise, values overflow"
    capability = re.search(r", (\d+)\.\d+$", chip_name)
    if kind.name == "cuda" and capability and int(capability[1]) < 8:
        return "float32", f"{chip_name} has no bfloat16; --dtype float16 is faster, where values fit into it"
    return wanted, ""


def image(kind: Kind, chip_name: str) -> str:
    """Return the container image that holds vLLM for a device, as configs/matrix.yaml pins it."""
    name = matrix.section("images")[f"vllm_{kind.name}"]
    if kind.name == "npu":
        patterns = matrix.section("chip").items()
        generation = next((name for name, pattern in patterns if re.search(pattern, chip_name)), "")
        suffix = matrix.section("chip_image").get(generation, "")
        return f"{name}:v{matrix.section('ascend')['vllm_ascend']}{suffix}"
    version = matrix.section("private")[f"vllm_{kind.name}"]
    machine = {"AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{name}:v{version}" + (f"-{machine}" if kind.name == "cpu" else "")


def nothing_is_unfit(chip_name: str) -> str | None:
    """Refuse no chip."""
    return None


def unfit_ascend(chip_name: str) -> str | None:
    """Return why vLLM has no kernels for an Ascend chip; names are the first generation's or the second's.

    >>> unfit_ascend("910ProB"), unfit_ascend("910B3")
    ('vLLM-Ascend does not know the 910ProB, a 910A', None)
    """
    if chip_name and not re.search(matrix.section("vllm")["ascend_chips"], chip_name):
        return f"vLLM-Ascend does not know the {chip_name}, a 910A"
    return None


def unfit_processor(chip_name: str) -> str | None:
    """Return which instructions vLLM wants and this processor lacks."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    found = re.search(r"^flags\s*:\s*(.+)$", host.read(str(at("/proc/cpuinfo"))), re.MULTILINE)
    wanted = matrix.section("vllm")["x86_64_needs"].split()
    missing = [flag for flag in wanted if found and flag not in found[1].split()]
    return f"this processor lacks {', '.join(missing).upper()}" if missing else None


def unfit_nvidia(chip_name: str) -> str | None:
    """Return whether a card is older than vLLM's kernels.

    >>> unfit_nvidia("Tesla P100, 6.0")
    'Tesla P100, 6.0: vLLM wants compute capability 7.5'
    """
    least = matrix.section("vllm")["cuda_capability"]
    capability = re.search(r", (\d+\.\d+)$", chip_name)
    if capability and float(capability[1]) < float(least):
        return f"{chip_name}: vLLM wants compute capability {least}"
    return None


# An accelerator before cpu, and in the order in which the launchers look.
KINDS = {
    "npu": Kind("npu", r"/dev/davinci(\d+)", "ASCEND_RT_VISIBLE_DEVICES", unfit_ascend, images_alone=True),
    "cuda": Kind("cuda", r"/dev/nvidia(\d+)", "CUDA_VISIBLE_DEVICES", unfit_nvidia),
    "cpu": Kind("cpu", "", "", unfit_processor),
}
