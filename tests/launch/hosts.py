"""Hosts made up of files, for tests of what launchers see of a host.

HOST_ROOT is a folder with a host's device files (plain ones here), its /proc, its drivers' files and its
commands, which print what the real ones print.

    host = build("a2", tmp_path)        healthy; also a3 310p 910a kylin cuda wsl cpu
    host.remove("dev/davinci3")         a fault
    host.doctor()                       what launch/doctor.sh finds there, by identity
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launch.smi import CARDS, npu_smi, nvidia_smi
from shell import CLEAN, ROOT

OURS = ("ASCEND", "CUDA", "PYTORCH", "XDG", "CXX", "LD_LIBRARY")
QUIET = {
    key: value
    for key, value in CLEAN.items()
    if not key.startswith(OURS) and not key.lower().endswith("_proxy")
}
TOOLKIT = "usr/local/Ascend/cann"
HERE = str(ROOT).lstrip("/")
OPERATORS = TOOLKIT + "/opp/built-in/op_impl/ai_core/tbe/kernel"


@dataclass
class Host:
    """One host, as a folder; its environment are the variables a user of it has set."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"HOME": "/root"})

    def write(self, path: str, text: str = "") -> None:
        """Make a file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def command(self, path: str, script: str) -> None:
        """Make a command out of a few lines of shell."""
        self.write(path, f"#!/bin/sh\n{script}\n")
        (self.root / path).chmod(0o755)

    def prints(self, path: str, text: str, status: int = 0) -> None:
        """Make a command that prints a text."""
        self.command(path, f"cat <<'END'\n{text}\nEND\nexit {status}")

    def link(self, path: str, target: str) -> None:
        """Make a link, as /proc has them."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def folder(self, path: str) -> None:
        """Make a folder."""
        (self.root / path).mkdir(parents=True, exist_ok=True)

    def remove(self, *paths: str) -> None:
        """Take files and folders away; each must be there."""
        for path in paths:
            if (self.root / path).is_dir():
                shutil.rmtree(self.root / path)
            else:
                (self.root / path).unlink()

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a file; what is changed must be in it."""
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text, f"{path}: {old}"
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the doctor on it."""
        env = {**QUIET, **self.env, "HOST_ROOT": str(self.root)}
        command = ["bash", "launch/doctor.sh", *words]
        return subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def doctor(self, *words: str) -> dict[str, dict]:
        """What the doctor finds there, by identity."""
        done = self.run("--json", *words)
        assert not done.stderr, done.stderr
        told = json.loads(done.stdout)
        assert done.returncode == (1 if told["problems"] else 0)
        found = {finding["id"]: finding for finding in told["findings"]}
        assert len(found) == len(told["findings"]), "an identity twice"
        return found


def release(host: Host, identity: str, name: str) -> None:
    """Say what the system was installed from."""
    host.write("etc/os-release", f'NAME="{name.split()[0]}"\nID="{identity}"\nPRETTY_NAME="{name}"\n')


def python(host: Host, version: str, path: str = "usr/bin/python3") -> None:
    """Install a Python, with its venv module."""
    host.prints(path, f"Python {version}")
    library = f"{path.split('/bin/')[0]}/lib/python{'.'.join(version.split('.')[:2])}"
    host.write(f"{library}/os.py")
    host.folder(f"{library}/ensurepip")


def df(host: Host, clone: int = 500, images: int = 900, shm: int = 64) -> None:
    """Say how many gigabytes are free for the clone and for images, and how large /dev/shm is."""
    sizes = {"*/dev/shm": shm, "*/var/lib/docker": images, "*": clone}
    arms = [f"{path}) kb={size * 1048576} ;;" for path, size in sizes.items()]
    head = 'echo "Filesystem 1024-blocks Used Available Capacity Mounted on"'
    host.command("usr/bin/df", "\n".join([head, 'case "$2" in', *arms, "esac", "echo /dev/x $kb 1 $kb 1% /"]))


def uname(host: Host, machine: str, kernel: str, system: str = "Linux") -> None:
    """Say what the kernel is."""
    host.command(
        "usr/bin/uname", f"case $1 in -m) echo {machine} ;; -r) echo {kernel} ;; *) echo {system} ;; esac"
    )


ARM_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma sve"
X86_FLAGS = "fpu vme sse sse2 ht avx f16c avx2 bmi2 avx512f avx512dq avx512bw avx512vl avx512_bf16"
NET_TCP = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21537 1\n"
)


def processor(host: Host, machine: str, count: int = 8) -> None:
    """Fill /proc/cpuinfo."""
    line = f"Features\t: {ARM_FEATURES}" if machine == "aarch64" else f"flags\t\t: {X86_FLAGS}"
    host.write("proc/cpuinfo", "".join(f"processor\t: {n}\n{line}\n\n" for n in range(count)))


def base(host: Host, machine: str, kernel: str) -> None:
    """What every healthy host has: tools, memory, disk, a network, Docker."""
    uname(host, machine, kernel)
    processor(host, machine)
    host.write("proc/meminfo", "MemTotal:       263785428 kB\nMemFree:        250000000 kB\n")
    host.write("proc/mounts", "/dev/sda2 / ext4 rw,relatime 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n")
    host.write("proc/net/tcp", NET_TCP)
    host.write("proc/net/tcp6", NET_TCP)
    host.write("proc/1/comm", "systemd\n")
    host.link("proc/1/fd/0", "/dev/null")
    host.write("sys/fs/cgroup/memory.max", "max\n")
    host.write("sys/fs/cgroup/cpu.max", "max 100000\n")
    for folder in ("dev/shm", "root", "var/lib/docker", HERE):
        host.folder(folder)
    host.prints("usr/bin/getconf", "glibc 2.35")
    python(host, "3.11.9")
    df(host)
    for name in ("git", "g++", "c++", "curl"):
        host.command(f"usr/bin/{name}", "exit 0")
    host.command("usr/bin/id", "echo 0")
    host.prints("usr/bin/docker", "26.1.3|/var/lib/docker|[name=seccomp,profile=builtin name=cgroupns]")


def ascend(host: Host, kind: str) -> None:
    """An Ascend host: cards, driver, firmware, and a CANN that is sourced."""
    card = CARDS[kind]
    for chip in card.chips:
        host.write(f"dev/davinci{chip.device}")
        pci = f"sys/bus/pci/devices/0000:{0xC1 - chip.device:02x}:00.0"
        host.write(f"{pci}/vendor", "0x19e5\n")
        host.write(f"{pci}/device", f"{card.pci}\n")
    for name in ("davinci_manager", "devmm_svm", "hisi_hdc"):
        host.write(f"dev/{name}")
    host.prints("usr/local/bin/npu-smi", npu_smi(card, card.chips))
    host.write(
        "etc/ascend_install.info", "UserName=HwHiAiUser\nDriver_Install_Path_Param=/usr/local/Ascend\n"
    )
    driver(host, "25.5.0", "[6.4.0,6.4.99],[7.0.0,7.8.99]")
    host.write(
        "usr/local/Ascend/firmware/version.info",
        "Version=7.8.0.5.216\nfirmware_version=1.0\npackage_version=25.5.0\n",
    )
    host.write("usr/local/Ascend/driver/lib64/driver/libascend_hal.so")
    cann(host, "9.1.0")
    host.folder(f"{OPERATORS}/{card.operators}")
    host.env["ASCEND_HOME_PATH"] = f"/{TOOLKIT}"


def driver(host: Host, version: str, firmware: str) -> None:
    """Install a driver, as its version.info tells, and an npu-smi of the same release."""
    host.write(
        "usr/local/Ascend/driver/version.info",
        f"Version={version}\nascendhal_version=7.35.23\nInnerversion=V100R001C23SPC002B212\n"
        f"compatible_version_fw={firmware}\npackage_version={version}\n",
    )
    if "25.5.0" in (host.root / "usr/local/bin/npu-smi").read_text():
        host.replace("usr/local/bin/npu-smi", "25.5.0", f"{version:<6}")


def cann(host: Host, version: str) -> None:
    """Install a CANN."""
    host.write(
        f"{TOOLKIT}/aarch64-linux/ascend_toolkit_install.info",
        f"package_name=Ascend-cann-toolkit\nversion={version}\narch=aarch64\nos=linux\n",
    )
    host.write(f"{TOOLKIT}/set_env.sh")


def a2(host: Host) -> None:
    base(host, "aarch64", "5.10.0-216.0.0.115.oe2203sp4.aarch64")
    release(host, "openEuler", "openEuler 22.03 (LTS-SP4)")
    ascend(host, "a2")


def a3(host: Host) -> None:
    base(host, "aarch64", "5.15.0-25-generic")
    release(host, "ubuntu", "Ubuntu 22.04.5 LTS")
    ascend(host, "a3")


def inference(host: Host) -> None:
    base(host, "x86_64", "5.15.0-25-generic")
    release(host, "ubuntu", "Ubuntu 22.04.5 LTS")
    ascend(host, "310p")


def first(host: Host) -> None:
    base(host, "aarch64", "4.19.90-2107.6.0.0192.8.oe1.aarch64")
    release(host, "openEuler", "openEuler 20.03 (LTS-SP3)")
    host.prints("usr/bin/getconf", "glibc 2.28")
    ascend(host, "910a")
    host.remove("usr/local/bin/npu-smi")  # older hosts have it in sbin, which is not on everybody's path
    host.prints("usr/local/sbin/npu-smi", npu_smi(CARDS["910a"], CARDS["910a"].chips))


def kylin(host: Host) -> None:
    """Kylin V10 on A2: the oldest glibc that serves, the system's Python too old, a newer one beside it."""
    base(host, "aarch64", "4.19.90-52.22.v2207.ky10.aarch64")
    release(host, "kylin", "Kylin Linux Advanced Server V10 (Lance)")
    host.prints("usr/bin/getconf", "glibc 2.28")
    host.remove("usr/lib/python3.11")
    python(host, "3.7.9")
    python(host, "3.11.9", "usr/local/bin/python3.11")
    ascend(host, "a2")


def cuda(host: Host) -> None:
    base(host, "x86_64", "6.8.0-51-generic")
    release(host, "ubuntu", "Ubuntu 24.04.2 LTS")
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        host.write(f"dev/{name}")
    host.command("usr/bin/nvidia-smi", nvidia_smi())
    host.command("usr/bin/nvidia-ctk", "exit 0")


def wsl(host: Host) -> None:
    base(host, "x86_64", "5.15.167.4-microsoft-standard-WSL2")
    release(host, "ubuntu", "Ubuntu 22.04.5 LTS")
    host.write("dev/dxg")
    tool = nvidia_smi(1, "581.80", "NVIDIA GeForce RTX 3080", "8.6", apps="[N/A], [N/A], [N/A]")
    host.command("usr/lib/wsl/lib/nvidia-smi", tool)
    host.command("usr/bin/nvidia-ctk", "exit 0")


def cpu(host: Host) -> None:
    base(host, "x86_64", "6.1.0-28-amd64")
    release(host, "debian", "Debian GNU/Linux 12 (bookworm)")


HOSTS: dict[str, Callable[[Host], None]] = {
    "a2": a2,
    "a3": a3,
    "310p": inference,
    "910a": first,
    "kylin": kylin,
    "cuda": cuda,
    "wsl": wsl,
    "cpu": cpu,
}


def build(kind: str, root: Path) -> Host:
    """A healthy host of that kind below a folder."""
    host = Host(root)
    HOSTS[kind](host)
    return host
