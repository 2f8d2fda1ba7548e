"""Other hosts' roots, as far as devices and containers are concerned: HOST_ROOT leads the launchers there.

ascend(tmp_path, 8, "910B3")                 an A2 whose driver stands where it usually does
nvidia(tmp_path, 4, toolkit=True)            four cards, and NVIDIA's toolkit for containers
"""

from __future__ import annotations

from pathlib import Path

SMI = """\
| npu-smi 24.1.0                   Version: 24.1.0                                               |
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
+===========================+===============+====================================================+
| 0     {chip:<20}| OK            | 68.2        37                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3363 / 65536         |
"""
DRIVER = "usr/local/Ascend/driver"


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
    path.chmod(0o755)


def plain(root: Path) -> dict[str, str]:
    """A host of 16 GB without an accelerator."""
    files(root, "dev/null")
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemTotal:       16384000 kB\n")
    return {"HOST_ROOT": str(root)}


def ascend(
    root: Path, count: int = 8, chip: str = "910B3", folder: str = "bin", driver: str = DRIVER
) -> dict[str, str]:
    """A host with chips: npu-smi in `folder` of /usr/local, the driver in `driver`."""
    files(root, *(f"dev/davinci{number}" for number in range(count)))
    files(root, "dev/davinci_manager", "dev/devmm_svm", "dev/hisi_hdc", "usr/local/dcmi/libdcmi.so")
    files(root, f"{driver}/lib64/libascend_hal.so", f"{driver}/version.info", "etc/hccn.conf")
    (root / "etc/ascend_install.info").write_text(
        f"UserName=HwHiAiUser\nDriver_Install_Path_Param=/{driver.removesuffix('/driver')}\n"
    )
    script(root / f"usr/local/{folder}/npu-smi", f"cat <<END\n{SMI.format(chip=chip)}END\n")
    return plain(root)


def nvidia(root: Path, count: int = 4, toolkit: bool = True, cdi: bool = False) -> dict[str, str]:
    """A host with cards, and what hands them to containers."""
    files(root, *(f"dev/nvidia{number}" for number in range(count)), "dev/nvidiactl", "dev/nvidia-uvm")
    if toolkit:
        files(root, "usr/bin/nvidia-container-runtime-hook")
    if cdi:
        files(root, "etc/cdi/nvidia.yaml")
    return plain(root)


def wsl(root: Path, count: int = 2) -> dict[str, str]:
    """Windows with cards: one device file for all of them."""
    files(root, "dev/dxg", "usr/bin/nvidia-container-runtime")
    script(root / "usr/lib/wsl/lib/nvidia-smi", f"seq 0 {count - 1}\n")
    return plain(root)


def with_docker(root: Path, version: str, info: str = "[name=seccomp,profile=builtin] Debian") -> None:
    """Give a host a docker of that version, with a daemon that tells that of itself."""
    script(
        root / "usr/bin/docker",
        f'case $1 in --version) echo "Docker version {version}, build 0" ;; info) echo "{info}" ;; esac\n',
    )
