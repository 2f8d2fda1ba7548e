"""What a server's process or container must be given of this host's devices; told without torch.

    choose("auto")                     the kind of device whose files are here, else cpu
    KINDS["cuda"].numbers()            [0, 1, 2, 3]
    KINDS["cuda"].shown([0, 1])        {"CUDA_VISIBLE_DEVICES": "0,1"}, for a process
    KINDS["cuda"].container([0, 1])    ["--gpus", '"device=0,1"'], for `docker run`

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
from pathlib import Path

from danlu.base import matrix
from danlu.base.errors import UserError, nearest
from danlu.device import host

ALIASES = {"ascend": "npu"}
ASK_CARDS = {
    "cuda": ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
    "npu": ["npu-smi", "info"],
}
# The Ascend driver's parts a container needs where no container runtime brings them.
ASCEND_NODES = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
ASCEND_FILES = (
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/usr/local/sbin/npu-smi",
    "/usr/local/Ascend/driver/lib64",
    "/usr/local/Ascend/driver/version.info",
    "/etc/ascend_install.info",
)
ASCEND_BEGIN = (
    "for file in /usr/local/Ascend/ascend-toolkit/set_env.sh /usr/local/Ascend/nnal/atb/set_env.sh; do "
    'if [ -f "$file" ]; then . "$file"; fi; done; exec "$@"'
)
# By what the chip's name holds: the suffix of the image's tag.
ASCEND_IMAGES = {"310P": "-310p", "910_93": "-a3", "Ascend910": "-a3", "950": "-950dt"}


@dataclass(frozen=True)
class Kind:
    """One kind of device, as a server is handed some of them."""

    name: str
    pattern: str
    """Its device files; their last number is the device's."""
    variable: str
    """The environment variable by which a process is shown some of them."""
    in_container: Callable[[Sequence[int]], list[str]]
    """What `docker run` is told, so that a container has them."""
    unfit: Callable[[str], str | None]
    """Why vLLM does not run on a chip of that name, or None."""
    begin: tuple[str, ...] = ()
    """What a container runs before the server's own words."""

    def numbers(self) -> list[int]:
        """Return the numbers of the devices here."""
        folder, _, form = self.pattern.rpartition("/")
        names = os.listdir(at(folder)) if form and at(folder).is_dir() else []
        return sorted(int(found[1]) for name in names if (found := re.fullmatch(form, name)))

    def shown(self, numbers: Sequence[int]) -> dict[str, str]:
        """Return the environment in which a process sees these devices and no others."""
        return {self.variable: ",".join(map(str, numbers))} if numbers and self.variable else {}

    def container(self, numbers: Sequence[int]) -> list[str]:
        """Return what `docker run` is told, so that a container sees these devices."""
        return self.in_container(numbers)


def at(path: str) -> Path:
    """Return a path of the host looked at."""
    return Path(os.environ.get("HOST_ROOT", "") + path)


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
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return chip_of(kind, told)


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
        suffix = next((tag for part, tag in ASCEND_IMAGES.items() if part in chip_name), "")
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


def give_nvidia(numbers: Sequence[int]) -> list[str]:
    """Hand a container cards through NVIDIA's container toolkit."""
    return ["--gpus", f'"device={",".join(map(str, numbers))}"', "--ipc", "host"]


def give_ascend(numbers: Sequence[int]) -> list[str]:
    """Hand a container chips by their device files, and what it needs of the driver."""
    words = []
    for node in [f"/dev/davinci{number}" for number in numbers] + list(ASCEND_NODES):
        words += ["--device", node]
    for file in ASCEND_FILES:
        if at(file).exists():
            words += ["--volume", f"{file}:{file}:ro"]
    return [*words, "--ipc", "host"]


def give_nothing(numbers: Sequence[int]) -> list[str]:
    """Hand a container what vLLM needs on a processor: leave to bind memory and threads."""
    return ["--security-opt", "seccomp=unconfined", "--cap-add", "SYS_NICE", "--ipc", "host"]


# An accelerator before cpu, and in the order in which the launchers look.
KINDS = {
    "npu": Kind(
        "npu",
        r"/dev/davinci(\d+)",
        "ASCEND_RT_VISIBLE_DEVICES",
        give_ascend,
        unfit_ascend,
        ("bash", "-c", ASCEND_BEGIN, "--"),
    ),
    "cuda": Kind("cuda", r"/dev/nvidia(\d+)", "CUDA_VISIBLE_DEVICES", give_nvidia, unfit_nvidia),
    "cpu": Kind("cpu", "", "", give_nothing, unfit_processor),
}

# What vLLM's last words mean where a device is to blame: pattern, meaning, remedy.
FAILURES = (
    (
        r"libascend_hal\.so|libhccl|libascendcl",
        "the Ascend driver's libraries are not to be seen",
        "source /usr/local/Ascend/ascend-toolkit/set_env.sh; in a container, mount /usr/local/Ascend/driver",
    ),
    (
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|NPU out of memory",
        "the device's memory is too small, or in use",
        "--max-model-len LESS, more --devices, or end what uses it: nvidia-smi, npu-smi info",
    ),
    (
        r"Failed to infer device type",
        "this vLLM finds no device it was built for",
        "--device cpu, or set up again: bash run_all.sh setup --with vllm",
    ),
    (
        r"NCCL error|HCCL.*(error|timeout)|EI\d{4}",
        "the devices cannot talk to each other",
        "--tp 1 serves on one of them; 'danlu info' shows what torch sees",
    ),
    (
        r"no kernel image is available",
        "this vLLM has no kernels for the card",
        "--runtime docker, or --device cpu",
    ),
)
