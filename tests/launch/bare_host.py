"""A stand-in for a fresh machine: a Debian with bash, git and Python, in namespaces of its own, nothing else.

Its root is what `debootstrap` makes (or the folder that DANLU_DEBIAN names), copied for each host; its
processes are those of a namespace that ends with the first of them. The network is this machine's, and so are
pip's settings, with the folders and certificates they name, read-only; pip's cache, compilers and this
machine's Python are not there. With `cut`, neither is the network, and pip is told of nothing.

    host = BareHost(base, folder)
    with host.start("bash", "run_all.sh", "setup", cwd=host.clone()) as process:
        ...
"""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import psutil

from shell import ROOT

PACKAGES = "git,python3,python3-venv,ca-certificates"
USER = 1000
HOME = "/home/smith"
HANDED_ON = ("OMP_NUM_THREADS",)  # for a machine that others use too; nothing is timed then
TOOLS = ("unshare", "chroot", "mount")

ENTER = """
set -Eeuo pipefail
root=$1 user=$2 binds=$3 cut=$4; shift 4
if [[ -n $cut ]]; then ip link set lo up; fi
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while IFS= read -r path; do
  if [[ -z $path ]]; then continue; fi
  mount --bind "$path" "$root$path"
  mount -o remount,bind,ro "$root$path"
done <<<"$binds"
status=0
chroot --userspec="$user:$user" "$root" "$@" || status=$?
exit "$status" # so that this shell stays the first process, whose end is that of all others
"""


def why_not() -> str:
    """What this machine lacks to hold a bare host; nothing if it can."""
    tools = TOOLS if "DANLU_DEBIAN" in os.environ else (*TOOLS, "debootstrap")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        return f"no bare host can be made on this host: {', '.join(missing) or 'only root may'}"
    probe = ["unshare", "--mount", "--pid", "--ipc", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    failed = subprocess.run(probe, capture_output=True, text=True)
    return f"no namespaces on this host: {failed.stderr.strip()}" if failed.returncode else ""


def make_base(folder: Path) -> None:
    """Put a Debian of the least packages into `folder`."""
    given = os.environ.get("DANLU_DEBIAN")
    if given:
        subprocess.run(["cp", "--archive", f"{given}/.", folder], check=True)
        return
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def pip_settings() -> dict[str, str]:
    """pip's settings on this machine as variables of its environment, whichever file they stand in."""
    listed = [sys.executable, "-m", "pip", "config", "list"]
    settings = {}
    for line in subprocess.check_output(listed, text=True).splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        if section in ("global", ":env:") and name not in ("cache-dir", "no-cache-dir"):
            settings[f"PIP_{name.upper().replace('-', '_')}"] = str(ast.literal_eval(value))
    return settings


def named_paths(settings: dict[str, str]) -> list[Path]:
    """Files and folders that pip's settings name; an index's pages point to files beside them."""
    words = [word for value in settings.values() for word in value.split()]
    paths = [Path(word) for word in words if word.startswith("/")]
    paths += [Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")]
    return [path for path in paths if path.exists()]


def certificates() -> dict[str, str]:
    """Where this machine's certificates lie, for every program that asks the environment."""
    bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return {"SSL_CERT_FILE": bundle, "PIP_CERT": bundle} if bundle else {}


class BareHost:
    """One fresh machine: its files in `root`, until `remove`."""

    def __init__(self, base: Path, root: Path, cut: bool = False):
        self.root, self.cut = root, cut
        subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
        self.env = {"HOME": HOME, "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.env |= {} if cut else certificates() | pip_settings()
        self.env |= {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        self.binds = list(dict.fromkeys([Path("/etc/resolv.conf"), *named_paths(self.env)]))
        for path in self.binds:
            self._make_room_for(path)
        (root / "etc/passwd").open("a").write(f"smith:x:{USER}:{USER}::{HOME}:/bin/bash\n")
        self._make_home()

    def _make_room_for(self, path: Path) -> None:
        inside = self.root / path.relative_to("/")
        if path.is_dir():
            inside.mkdir(parents=True, exist_ok=True)
        elif not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.unlink(missing_ok=True)
            inside.touch()

    def _make_home(self) -> None:
        home = self.root / HOME.lstrip("/")
        home.mkdir(parents=True)
        os.chown(home, USER, USER)

    def clone(self, name: str = "danlu") -> str:
        """Clone what is committed, as a user there would, and return where it lies inside."""
        place = self.root / HOME.lstrip("/") / name
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, place], check=True)
        subprocess.run(["chown", "--recursive", f"{USER}:{USER}", place], check=True)
        return f"{HOME}/{name}"

    def start(self, *words: str, cwd: str = HOME, **env: str) -> subprocess.Popen[str]:
        """Begin a command there; its standard error and output come as one pipe."""
        inside = [
            "/usr/bin/env",
            "-i",
            "-C",
            cwd,
            *(f"{key}={value}" for key, value in (self.env | env).items()),
        ]
        apart = ["--mount", "--pid", "--ipc", "--uts", *(["--net"] if self.cut else [])]
        command = ["unshare", *apart, "--fork", "--kill-child", "bash", "-c", ENTER, "-", str(self.root)]
        command += [str(USER), "\n".join(map(str, self.binds)), "cut" * self.cut, *inside, *words]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def interrupt(self, process: subprocess.Popen[str]) -> None:
        """Send what Ctrl-C sends to all that runs there, save to the shell that holds the namespace."""
        for one in psutil.Process(process.pid).children(recursive=True)[1:]:
            one.send_signal(signal.SIGINT)

    def says(self, line: str, cwd: str = HOME) -> str:
        """What a line of words prints there."""
        with self.start(*shlex.split(line), cwd=cwd) as process:
            return process.communicate()[0].strip()

    def remove(self) -> None:
        shutil.rmtree(self.root)
