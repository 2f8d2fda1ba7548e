"""What `docker run` is told so that a container has this host's devices; told without torch.

    give["cuda"]([0, 1])    ["--gpus", '"device=0,1"', "--env", "NVIDIA_VISIBLE_DEVICES=0,1", ...]
    of_host()               ["--shm-size", "7812m", ...]

launch/devices.sh and launch/container.sh say the same words, out of the same sections of configs/matrix.yaml.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.base import matrix
from danlu.device.host import at, read

WSL_SMI = "/usr/lib/wsl/lib/nvidia-smi"
ASCEND = "/usr/local/Ascend"
# What is run first on Ascend: the first settings there of each of two lists, then the words that follow them.
BEGIN = (
    'for files in "$1" "$2"; do for file in $files; do if [ -f "$file" ]; then . "$file"; break; fi; done; '
    'done; shift 2; exec "$@"'
)


def engine() -> str:
    """Return the container engine: the one named, else docker, else podman where it alone is there."""
    alone = shutil.which("docker") is None and shutil.which("podman") is not None
    return os.environ.get("DANLU_CONTAINER_ENGINE") or ("podman" if alone else "docker")


def is_wsl() -> bool:
    """Return whether Windows hands its cards through: one device file for all of them."""
    return at("/dev/dxg").exists() and at(WSL_SMI).exists()


def begin(kind: str) -> list[str]:
    """Return what a container for such devices runs before its own words."""
    if kind != "npu":
        return []
    table = matrix.section("container_npu")
    return ["bash", "-c", BEGIN, "--", table["toolkit"], table["atb"]]


def of_host() -> list[str]:
    """Return the size of shared memory, half the host's, and what the host's safeguards want."""
    found = re.search(r"^MemTotal:\s+(\d+)", read(str(at("/proc/meminfo"))), re.MULTILINE)
    words = ["--shm-size", f"{int(found[1]) // 2048 if found else 4096}m"]
    version = re.search(r"\d+(\.\d+)+", _ask("--version"))
    least = matrix.section("requirements")["docker"]
    if not _is_podman() and version and _numbers(version[0]) < _numbers(least):
        words += ["--security-opt", "seccomp=unconfined"]
    if read(str(at("/sys/fs/selinux/enforce"))).strip() == "1":
        words += ["--security-opt", "label=disable"]
    return words


def give_npu(numbers: Sequence[int]) -> list[str]:
    """Hand a container chips: by Ascend's own runtime, else by their device files and the driver's."""
    if at(matrix.section("container_npu")["runtime"]).exists() and not _is_podman():
        words = ["--runtime", "ascend"]
    else:
        words = [word for number in numbers for word in ("--device", f"/dev/davinci{number}")] + _driver()
    shown = f"ASCEND_RT_VISIBLE_DEVICES={_counted(numbers)}"
    return [*words, "--env", f"ASCEND_VISIBLE_DEVICES={_joined(numbers)}", "--env", shown]


def give_cuda(numbers: Sequence[int]) -> list[str]:
    """Hand a container cards, by NVIDIA's toolkit or by CDI. WSL hands over all; they keep their numbers."""
    wsl = is_wsl()
    cards, own = (["all"], _joined(numbers)) if wsl else (list(map(str, numbers)), _counted(numbers))
    table = matrix.section("container_cuda")
    if _is_podman() or (not _any_there(table["toolkit"]) and _any_there(table["cdi"])):
        words = [word for card in cards for word in ("--device", f"nvidia.com/gpu={card}")]
        words += ["--env", "NVIDIA_VISIBLE_DEVICES=void"]  # or a runtime that reads it would hand over more
    else:
        words = ["--gpus", "all" if wsl else f'"device={_joined(numbers)}"']
        words += ["--env", f"NVIDIA_VISIBLE_DEVICES={','.join(cards)}"]
    return [*words, "--env", f"CUDA_VISIBLE_DEVICES={own}"]


def give_cpu(numbers: Sequence[int]) -> list[str]:
    """Hand a container what vLLM needs on a processor: leave to bind memory and threads."""
    return ["--security-opt", "seccomp=unconfined", "--cap-add", "SYS_NICE"]


GIVE: dict[str, Callable[[Sequence[int]], list[str]]] = {
    "npu": give_npu,
    "cuda": give_cuda,
    "cpu": give_cpu,
}


def _driver() -> list[str]:
    """Return the Ascend driver's device files and parts, as far as they are there, wherever it lies."""
    table = matrix.section("container_npu")
    words = [word for node in table["nodes"].split() if at(node).exists() for word in ("--device", node)]
    told = re.search(r"^Driver_Install_Path_Param=(/.*)$", read(str(at(table["install"]))), re.MULTILINE)
    place = told[1] if told else ASCEND
    pairs = [(f"{place}/driver/{part}", f"{ASCEND}/driver/{part}") for part in table["driver"].split()]
    pairs += [(file, file) for file in table["files"].split()]
    for here, inside in pairs:
        if at(here).exists():
            words += ["--volume", f"{here}:{inside}:ro"]
    return words


def _is_podman() -> bool:
    return Path(engine()).name == "podman" or _ask("--version").startswith("podman")


def _ask(*words: str) -> str:
    """Return what the engine of the host looked at says; nothing where it has none."""
    root = os.environ.get("HOST_ROOT")
    program = f"{root}/usr/bin/{Path(engine()).name}" if root else engine()
    try:
        return subprocess.run([program, *words], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _any_there(paths: str) -> bool:
    return any(at(path).exists() for path in paths.split())


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _joined(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _counted(numbers: Sequence[int]) -> str:
    return _joined(range(len(numbers)))
